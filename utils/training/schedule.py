"""The learning rate of each optimizer step."""

import math
from collections.abc import Sequence


def learning_rate(
    epoch: int,
    step: int,
    steps_per_epoch: int,
    *,
    initial: float,
    epochs: int,
    schedule: str,
    divide_at: Sequence[int],
    warmup: int = 0,
) -> float:
    """Returns the learning rate of one step.

    Args:
        epoch: number of the epoch, counted from 1.
        step: number of the step within the epoch, counted from 0.
        steps_per_epoch: number of steps per epoch.
        initial: rate after the warm-up.
        epochs: total number of epochs.
        schedule: "steps" divides the rate by 10 at the start of each epoch of `divide_at`;
            "cosine" decays it along half a cosine to 0 at the end of the last epoch.
        divide_at: ascending epochs, counted from 1.
        warmup: number of steps over which the rate rises linearly from initial / warmup.
    """
    done = (epoch - 1) * steps_per_epoch + step
    if schedule == "cosine":
        total = max(epochs * steps_per_epoch, 1)
        rate = initial * 0.5 * (1.0 + math.cos(math.pi * min(done / total, 1.0)))
    else:
        rate = initial / 10.0 ** sum(divider <= epoch for divider in divide_at)
    return rate * min((done + 1) / warmup, 1.0) if warmup else rate
