"""How far a training run has come."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


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
class RunState:
    """The progress of a run, which `Checkpoints` stores with the weights.

    Attributes:
        epoch: last complete epoch, counted from 1; 0 before the first.
        step: training steps done in the epoch after it.
        losses: means over these steps.
        seconds: time that these steps took.
        skipped: steps of the run that were skipped because loss or gradients were not finite.
        best_det_acc: highest accuracy of the boxes on the validation set, a fraction of one; None
            before the first validation.
        best_epoch: epoch after which it was measured.
        best_checksum: of the file with these weights, see `Checkpoints.save_best`; None if unknown.
        history: the record of each complete epoch, oldest first: plain values with the key
            "epoch".
        settings: of `utils.training.run.settings.run_settings`.
    """

    epoch: int = 0
    step: int = 0
    losses: LossMeans = field(default_factory=LossMeans)
    seconds: float = 0.0
    skipped: int = 0
    best_det_acc: float | None = None
    best_epoch: int | None = None
    best_checksum: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def position(self) -> str:
        """The last step done, for messages."""
        if self.step:
            return f"epoch {self.epoch + 1}, step {self.step}"
        return f"epoch {self.epoch}"

    def is_improved_by(self, det_acc: float) -> bool:
        """Whether an accuracy exceeds the best one so far. NaN never does."""
        return det_acc > (-math.inf if self.best_det_acc is None else self.best_det_acc)

    def after_epoch(
        self,
        record: Mapping[str, Any] | None = None,
        det_acc: float | None = None,
        best_checksum: str | None = None,
    ) -> "RunState":
        """Returns the state after the epoch whose steps are done.

        Args:
            record: what is logged of it; None for nothing.
            det_acc: accuracy on the validation set; None if it was not measured.
            best_checksum: of the file of the best weights, if they are those of this epoch.
        """
        epoch = self.epoch + 1
        history = self.history
        if record is not None:
            history = [*history, {"epoch": epoch, **record}]
        state = replace(self, epoch=epoch, step=0, losses=LossMeans(), seconds=0.0, history=history)
        if det_acc is not None and self.is_improved_by(det_acc):
            state = replace(
                state, best_det_acc=float(det_acc), best_epoch=epoch, best_checksum=best_checksum
            )
        return state

    def without_best(self) -> "RunState":
        """Returns the state with the best accuracy forgotten."""
        return replace(self, best_det_acc=None, best_epoch=None, best_checksum=None)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, which `from_dict` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunState":
        """Makes a state from `to_dict`.

        Raises:
            TypeError: the values are not those of a state.
        """
        return cls(**{**values, "losses": LossMeans(**values.get("losses", {}))})
