"""The processes that train together, and how they exchange what they know."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import tensorflow as tf

from config.signals import Stopped, StopRequest
from utils.training.distributed.cluster import ClusterError

# In what TensorFlow raises where another process has ended or cannot be reached any more.
LOST = re.compile(
    "collective ops is aborted|heartbeat|unhealthy|socket closed|connection re|failed to connect",
    re.IGNORECASE,
)


class Processes:
    """The processes of a run under its strategy; one, unless several train together.

    Each method that exchanges something waits until all processes have called it.

    Args:
        strategy: the tf.distribute.Strategy of the run.

    Attributes:
        count: number of processes.
        index: of this process, from 0.
        chief: whether this process writes and reports.
        replicas: number of replicas of all processes.
        local: number of replicas of this process.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.strategy = strategy
        resolver = strategy.cluster_resolver
        jobs = resolver.cluster_spec().as_dict() if resolver and resolver.task_type else {}
        self.count = max(1, sum(map(len, jobs.values())))
        before = len(jobs.get("chief", ())) if jobs and resolver.task_type == "worker" else 0
        self.index = before + resolver.task_id if jobs else 0
        self.chief = self.index == 0
        self.replicas = strategy.num_replicas_in_sync
        self.local = self.replicas // self.count

    def __str__(self) -> str:
        if self.replicas == 1:
            return "one replica"
        processes = "one process" if self.count == 1 else f"each of {self.count} processes"
        devices = ", ".join(
            device.rpartition("device:")[2] for device in self.strategy.extended.worker_devices
        )
        return f"{self.replicas} replicas, on {devices} of {processes}"

    def gather(self, value: Any) -> list[Any]:
        """Exchanges plain values, as JSON has them: returns those of all processes, in order."""
        if self.count == 1:
            return [value]
        own = np.frombuffer(json.dumps(value).encode(), np.uint8)
        lengths = self._gather([len(own)])
        ends = np.cumsum(lengths)
        joined = self._gather(own).astype(np.uint8)
        # Each replica has sent what its process has: the first of them counts.
        texts = [joined[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        return [json.loads(text.tobytes()) for text in texts[:: self.local]]

    def barrier(self) -> None:
        """Waits for the other processes."""
        self.gather(None)

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """Lets the chief complete the block before the others enter it.

        For what is written to a disk that they may share.
        """
        if not self.chief:
            self.barrier()
        yield
        if self.chief:
            self.barrier()

    @contextmanager
    def leaving_together(self) -> Iterator[None]:
        """Waits for the other processes at the end of the block, also if all were asked to stop.

        TensorFlow takes a process that leaves early for crashed.
        """
        try:
            yield
        except Stopped:
            with suppress(tf.errors.OpError):  # Everything is saved: an exit like any other.
                self.barrier()
            raise
        self.barrier()

    def agreed_stop(self, stop: StopRequest) -> int | None:
        """The number of a signal that asked any of the processes to stop, or None."""
        return next((number for number in self.gather(stop.number) if number is not None), None)

    def _gather(self, numbers: Any) -> np.ndarray:
        # float32, which collective operations of every device exchange, holds a byte exactly.
        values = tf.constant(numbers, tf.float32)
        gathered = self._all_gather(values)
        return self.strategy.experimental_local_results(gathered)[0].numpy().astype(np.int64)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32)], autograph=False)
    def _all_gather(self, values: tf.Tensor) -> tf.Tensor:
        def in_replica(values):
            context = tf.distribute.get_replica_context()
            return context.all_gather(tf.identity(values), axis=0)

        return self.strategy.run(in_replica, args=(values,))


@contextmanager
def loss_reported() -> Iterator[None]:
    """Says in a sentence that another process was lost, where TensorFlow says it in many.

    Raises:
        ClusterError: another process of the run has ended or cannot be reached any more.
    """
    try:
        yield
    except tf.errors.OpError as error:
        reason = next((line for line in error.message.splitlines() if LOST.search(line)), None)
        if reason is None:
            raise
        raise ClusterError(
            "another process of this run has ended or cannot be reached any more "
            f"({reason.strip()[:200]}); its own output says why. "
            "Run the same command on all of them again to resume from the last state that was saved"
        ) from error
