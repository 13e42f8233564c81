"""How far a training run has come."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from config.run_folder import BEST_WEIGHTS


@dataclass(frozen=True)
class LossMeans:
    """Means of loss terms over samples.

    Attributes:
        samples: number of samples added.
        sums: sum of each term over the samples.
    """

    samples: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def with_step(self, terms: Mapping[str, float], samples: float) -> "LossMeans":
        """Returns the means with those of one more training step.

        Args:
            terms: mean of each term over the samples of the step.
            samples: their number.
        """
        sums = {
            name: self.sums.get(name, 0.0) + samples * float(value) for name, value in terms.items()
        }
        return LossMeans(self.samples + samples, sums)

    def result(self) -> dict[str, float]:
        """The mean of each term; empty before the first step."""
        return {name: total / self.samples for name, total in self.sums.items()}


@dataclass(frozen=True)
class Best:
    """Weights that were the best so far.

    Attributes:
        score: by which they are the best, a fraction of one.
        epoch: epoch after which it was measured.
        checksum: of their file, see `Checkpoints.save_best`; None if unknown.
    """

    score: float
    epoch: int
    checksum: str | None = None


@dataclass(frozen=True)
class RunState:
    """The progress of a run, which `Checkpoints` stores with the weights.

    Attributes:
        epoch: last complete epoch, counted from 1; 0 before the first.
        step: training steps done in the epoch after it.
        losses: means over these steps.
        seconds: time that these steps took.
        skipped: steps of the run that were skipped because loss or gradients were not finite.
        history: the record of each complete epoch, oldest first: plain values with the key
            "epoch".
        settings: of `utils.training.run.settings.run_settings`.
        bests: the best weights so far, by the name of their file; see `config.run_folder`.
        steps_before: training steps of the run before this epoch. After a change of the batch size
            it is no multiple of the steps of an epoch.
    """

    epoch: int = 0
    step: int = 0
    losses: LossMeans = field(default_factory=LossMeans)
    seconds: float = 0.0
    skipped: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    bests: dict[str, Best] = field(default_factory=dict)
    steps_before: int = 0

    @property
    def position(self) -> str:
        """The last step done, for messages."""
        if self.step:
            return f"epoch {self.epoch + 1}, step {self.step}"
        return f"epoch {self.epoch}"

    @property
    def best_det_acc(self) -> float | None:
        """Highest accuracy of the boxes on the validation set, a fraction of one; None if none."""
        return self.bests[BEST_WEIGHTS].score if BEST_WEIGHTS in self.bests else None

    @property
    def best_epoch(self) -> int | None:
        """Epoch after which it was measured."""
        return self.bests[BEST_WEIGHTS].epoch if BEST_WEIGHTS in self.bests else None

    def is_improved_by(self, score: float, file: str = BEST_WEIGHTS) -> bool:
        """Whether a score exceeds that of the best weights in a file so far. NaN never does."""
        best = self.bests.get(file)
        return score > (-math.inf if best is None else best.score)

    def after_epoch(
        self,
        record: Mapping[str, Any] | None = None,
        bests: Mapping[str, Best] | None = None,
    ) -> "RunState":
        """Returns the state after the epoch whose steps are done.

        Args:
            record: what is logged of it; None for nothing.
            bests: the best weights that are those of this epoch, by the name of their file.
        """
        epoch = self.epoch + 1
        history = self.history
        if record is not None:
            history = [*history, {"epoch": epoch, **record}]
        return replace(
            self,
            epoch=epoch,
            step=0,
            steps_before=self.steps_before + self.step,
            losses=LossMeans(),
            seconds=0.0,
            history=history,
            bests={**self.bests, **(bests or {})},
        )

    def without_best(self, file: str = BEST_WEIGHTS) -> "RunState":
        """Returns the state with the best weights in a file forgotten."""
        return replace(self, bests={name: b for name, b in self.bests.items() if name != file})

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, which `from_dict` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunState":
        """Makes a state from `to_dict`, also from that of an earlier version.

        Raises:
            TypeError: the values are not those of a state.
        """
        values = dict(values)
        # Earlier versions knew one best, in three values.
        score, epoch, checksum = (
            values.pop(f"best_{name}", None) for name in ("det_acc", "epoch", "checksum")
        )
        bests = {file: Best(**best) for file, best in values.pop("bests", {}).items()}
        if score is not None and epoch is not None:
            bests[BEST_WEIGHTS] = Best(score, epoch, checksum)
        losses = LossMeans(**values.pop("losses", {}))
        return cls(**values, losses=losses, bests=bests)
