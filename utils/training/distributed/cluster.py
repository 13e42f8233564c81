"""Where a training step runs: on one device, on those of this machine, or on several machines."""

import contextlib
import faulthandler
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from config.errors import UserError, shown
from config.quiet import quiet_tensorflow
from config.signals import kept_handlers

POLL_S, CONNECT_TIMEOUT_S = 0.1, 2.0
# Jobs that share a machine under Slurm need ports of their own, one per task.
SLURM_PORTS = range(20_000, 30_000, 16)
TF_CONFIG_EXAMPLE = (
    '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)

# Addresses of the processes by job, and the job and number of this one.
_Place = tuple[dict[str, list[str]], str, int]


class ClusterError(UserError):
    """The processes that train together cannot be found; the message names what to set."""


def make_strategy(name: str, timeout_s: float = 120.0) -> tf.distribute.Strategy:
    """Creates the tf.distribute strategy of the config key `distribute`.

    Call it before TensorFlow is used for anything else: processes can only connect to each other
    when a program starts.

    Args:
        name: "one", the default device; "mirrored", all GPUs of this machine, or all logical CPUs
            if it has none; "multiworker", the devices of all processes that `find_cluster` finds.
        timeout_s: how long to wait for the other processes.

    Raises:
        ClusterError: as `find_cluster`; or one of the other processes does not start in time.
    """
    quiet_tensorflow()  # Enables memory growth in programs that did not call it themselves.
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multiworker":
        cluster = find_cluster(os.environ)
        _wait_for_all(cluster, timeout_s)
        # TensorFlow waits without a limit if another process leaves now, and no Python runs then.
        faulthandler.dump_traceback_later(timeout_s, exit=True)
        try:
            with kept_handlers():  # TensorFlow would take SIGTERM for itself.
                return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster)
        finally:
            faulthandler.cancel_dump_traceback_later()
    return tf.distribute.get_strategy()


def find_cluster(
    environment: Mapping[str, str],
) -> tf.distribute.cluster_resolver.ClusterResolver:
    """Finds the processes that train together, and which of them this one is.

    Args:
        environment: variables of the process. TF_CONFIG counts first, then those that Slurm sets
            for each task of `srun`.

    Returns:
        The cluster, with as many GPUs per process as this one sees.

    Raises:
        ClusterError: there is neither, or TF_CONFIG is not what TensorFlow reads.
    """
    if text := environment.get("TF_CONFIG"):
        jobs, kind, index = _of_tf_config(text)
    elif tasks := int(environment.get("SLURM_STEP_NUM_TASKS", 0)):
        jobs, kind, index = _of_slurm(int(environment.get("SLURM_JOB_ID", 0)), tasks)
    else:
        raise ClusterError(
            "distribute = multiworker: neither TF_CONFIG nor Slurm says which processes train "
            "together; start them with `python -m utils.training.launch --workers N` on one "
            "machine, with srun under Slurm, or set TF_CONFIG as docs/distributed.md shows"
        )
    # The strategy believes its resolver: without a number, it would train on the CPU.
    gpus = len(tf.config.list_physical_devices("GPU"))
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(jobs),
        task_type=kind,
        task_id=index,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )


def _wait_for_all(
    cluster: tf.distribute.cluster_resolver.ClusterResolver, timeout_s: float
) -> None:
    """Waits until every process of a cluster listens on its address.

    TensorFlow itself waits without a limit, and nothing can interrupt it.

    Raises:
        ClusterError: some of them do not listen in time, or this one cannot.
    """
    jobs = cluster.cluster_spec().as_dict()
    own = jobs[cluster.task_type][cluster.task_id]
    others = [host for hosts in jobs.values() for host in hosts if host != own]
    deadline = time.monotonic() + timeout_s
    with _listening(own) as server:
        # All of them at once: one that was there may have given up since.
        while missing := [address for address in others if not _listens(address)]:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{', '.join(missing)}: not started within worker_timeout_s = {timeout_s:g} "
                    "seconds, or out of reach of this machine; start the same command for each "
                    "process, check that the addresses can be reached, or raise worker_timeout_s"
                )
            _accept_for(server, POLL_S)


def _listening(address: str) -> socket.socket:
    """Listens on the port of an address."""
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    try:
        return socket.create_server(("", int(address.rpartition(":")[2])), family=family)
    except OSError as error:
        raise ClusterError(
            f"{address}: this process cannot listen on its port ({error.strerror}); end the "
            "program that does, or choose another port"
        ) from None


def _accept_for(server: socket.socket, seconds: float) -> None:
    """Accepts the connections of others for a while."""
    deadline = time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        server.settimeout(remaining)
        with contextlib.suppress(TimeoutError):
            server.accept()[0].close()


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _of_slurm(job: int, tasks: int) -> _Place:
    """The tasks of `srun`."""
    slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=SLURM_PORTS[job % len(SLURM_PORTS)],
        # Slurm itself assigns GPUs to tasks; these numbers only keep nvidia-smi from being run.
        gpus_per_node=tasks,
        gpus_per_task=1,
        auto_set_gpu=False,
    )
    jobs = slurm.cluster_spec().as_dict()  # Also finds out which task this is.
    return jobs, slurm.task_type, slurm.task_id


def _of_tf_config(text: str) -> _Place:
    """What TF_CONFIG describes: workers, one of which may be called chief."""

    def refuse(reason: str) -> ClusterError:
        return ClusterError(f"TF_CONFIG: {reason}; it must look like {TF_CONFIG_EXAMPLE}")

    try:
        value: Any = json.loads(text)
        jobs: dict[str, list[str]] = value["cluster"]
        kind, index = value["task"]["type"], value["task"]["index"]
    except (ValueError, TypeError, KeyError):
        raise refuse(f"{shown(text)} does not name a cluster and a task") from None
    if not isinstance(jobs, dict):
        raise refuse(f"the cluster {shown(jobs)} does not list the workers")
    for job, hosts in jobs.items():
        if job not in ("chief", "worker"):
            raise refuse(f"there is no job {shown(job)} here, only workers")
        if not isinstance(hosts, list) or not all(_is_address(host) for host in hosts):
            raise refuse(f"{shown(hosts)} is not a list of addresses host:port")
    every = [host for hosts in jobs.values() for host in hosts]
    if len(set(every)) < len(every):
        raise refuse("an address occurs twice")
    if type(index) is not int or kind not in list(jobs) or not 0 <= index < len(jobs[kind]):
        raise refuse(f"the task {shown(kind)} {shown(index)} is not one of the cluster")
    return jobs, kind, index


def _is_address(host: object) -> bool:
    return isinstance(host, str) and host.rpartition(":")[2].isdecimal() and ":" in host
