"""Batches that are divided among replicas."""

from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from data.loading.pipeline import Share
from data.support.datasets import unwrap_errors
from utils.training.distributed.processes import Processes


def share_of(processes: Processes) -> Share:
    """The part of each batch that the replicas of this process compute."""
    return Share(processes.index * processes.local, processes.local, processes.replicas)


def divided(processes: Processes, batches: tf.data.Dataset, sizes: Iterable[int]) -> Iterator[Any]:
    """Divides the batches of this process among its replicas.

    Args:
        processes: the processes of the run.
        batches: of `data.loading.pipeline.training_batches`, for `share_of(processes)`.
        sizes: number of samples of each batch on all replicas.

    Yields:
        What `strategy.run` takes: the batch itself for one replica, or a part for each.

    Raises:
        DataError: a sample cannot be used.
    """
    share = share_of(processes)
    for batch, size in zip(unwrap_errors(batches), sizes, strict=True):
        if share.count == 1:
            yield batch
            continue
        before = share.rows(size).start
        parts = [
            {name: value[rows.start - before : rows.stop - before] for name, value in batch.items()}
            for rows in (replica.rows(size) for replica in share.each())
        ]
        yield processes.strategy.experimental_distribute_values_from_function(
            lambda context, parts=parts: parts[context.replica_id_in_sync_group % share.count]
        )
