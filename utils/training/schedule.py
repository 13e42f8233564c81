"""The learning rate of every optimiser step."""

import math


def learning_rate(epoch, step, steps_per_epoch, *, initial, epochs, schedule, divide_at, warmup=0):
    """The learning rate of one step.

    Args:
        epoch: number of the epoch, from 1.
        step: step within the epoch, from 0.
        steps_per_epoch: steps of an epoch.
        initial: rate after the warm-up.
        epochs: epochs in all.
        schedule: "steps", a tenth at each epoch of `divide_at` (counted from 1, that epoch
            included), or "cosine", half a cosine down to zero at the end of the last epoch.
        divide_at: ascending epochs.
        warmup: steps over which the rate rises linearly from initial / warmup.

    Returns:
        float.
    """
    done = (epoch - 1) * steps_per_epoch + step
    if schedule == "cosine":
        total = max(epochs * steps_per_epoch, 1)
        rate = initial * 0.5 * (1.0 + math.cos(math.pi * min(done / total, 1.0)))
    else:
        rate = initial / 10.0 ** sum(divider <= epoch for divider in divide_at)
    return rate * min((done + 1) / warmup, 1.0) if warmup else rate
