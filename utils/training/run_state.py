"""How far a training run has come."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class RunState:
    """The progress of a run, which `Checkpoints` stores with the weights.

    Attributes:
        epoch: last complete epoch, counted from 1; 0 before the first.
        best_det_acc: highest accuracy of the boxes on the validation set, a fraction of one; None
            before the first validation.
        best_epoch: epoch after which it was measured.
    """

    epoch: int = 0
    best_det_acc: float | None = None
    best_epoch: int | None = None

    def is_improved_by(self, det_acc: float) -> bool:
        """Whether an accuracy exceeds the best one so far. NaN never does."""
        return det_acc > (-math.inf if self.best_det_acc is None else self.best_det_acc)

    def after(self, epoch: int, det_acc: float | None = None) -> "RunState":
        """Returns the state after an epoch.

        Args:
            epoch: the epoch.
            det_acc: accuracy on the validation set, None on a worker that does not validate.
        """
        if det_acc is None or not self.is_improved_by(det_acc):
            return replace(self, epoch=epoch)
        return RunState(epoch, best_det_acc=float(det_acc), best_epoch=epoch)
