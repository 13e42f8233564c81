"""Which processes train together, and which of them writes."""

import json
import socket
import threading

import pytest
import tensorflow as tf

from utils.training.distributed.cluster import (
    ClusterError,
    find_cluster,
    make_strategy,
)
from utils.training.launch import free_ports

HOSTS = ["host0:1", "host1:2"]


def test_one_device():
    strategy = make_strategy("one")
    assert strategy.num_replicas_in_sync == 1


def test_mirrored_without_gpus_is_one_replica():
    strategy = make_strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)


def tf_config(cluster=None, task=None):
    cluster = {"worker": HOSTS} if cluster is None else cluster
    task = {"type": "worker", "index": 1} if task is None else task
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


@pytest.fixture
def two_gpus(monkeypatch):
    """TensorFlow seems to see two GPUs."""
    listed = tf.config.list_physical_devices
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU") for n in range(2)]
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else listed(kind)
    )


def devices_of(cluster):
    """The devices on which a strategy with this cluster would train in this process."""
    extended = tf.distribute.MultiWorkerMirroredStrategy()._extended
    return extended._initialize_local_devices(cluster, "/job:worker/task:1")


def test_tf_config_names_the_processes(two_gpus):
    cluster = find_cluster(tf_config())
    assert cluster.cluster_spec().as_dict() == {"worker": HOSTS}
    assert (cluster.task_type, cluster.task_id) == ("worker", 1)
    assert cluster.num_accelerators() == {"GPU": 2}
    assert devices_of(cluster) == (
        ("/job:worker/task:1/device:GPU:0", "/job:worker/task:1/device:GPU:1"),
        "GPU",
    )


def test_processes_without_gpus_train_on_the_cpu():
    cluster = find_cluster(tf_config())
    assert devices_of(cluster) == (("/job:worker/task:1/device:CPU:0",), "CPU")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"distribute = multiworker: neither TF_CONFIG nor Slurm .*launch --workers N"),
        ({"TF_CONFIG": "{"}, r'^TF_CONFIG: "{" does not name a cluster and a task; it must look'),
        ({"TF_CONFIG": "[]"}, "does not name a cluster and a task"),
        (tf_config(cluster=["a:1"]), r'the cluster \["a:1"\] does not list the workers'),
        (tf_config(cluster={"ps": ["a:1"], "worker": HOSTS}), 'no job "ps" here, only workers'),
        (tf_config(cluster={"worker": ["a"]}), r'\["a"\] is not a list of addresses host:port'),
        (tf_config(cluster={"worker": ["a:1", "a:1"]}), "an address occurs twice"),
        (tf_config(task={"type": "worker", "index": 2}), 'task "worker" 2 is not one of the clus'),
        (tf_config(task={"type": "chief", "index": 0}), 'task "chief" 0 is not one of the cluster'),
        (tf_config(task={"type": [], "index": 0}), r"task \[\] 0 is not one of the cluster"),
    ],
)
def test_what_names_no_cluster_is_refused(environment, message):
    with pytest.raises(ClusterError, match=message):
        find_cluster(environment)


def test_a_process_that_has_left_again_is_missing(monkeypatch):
    """It listens, but no longer when the last one arrives."""
    own, left, late = (f"127.0.0.1:{port}" for port in free_ports(3))
    variables = tf_config({"worker": [own, left, late]}, {"type": "worker", "index": 0})
    monkeypatch.setenv("TF_CONFIG", variables["TF_CONFIG"])
    with socket.create_server(("127.0.0.1", int(left.rpartition(":")[2]))) as server:
        threading.Timer(0.5, server.close).start()
        with pytest.raises(ClusterError, match=f"^{left}, {late}: not started"):
            make_strategy("multiworker", timeout_s=1.5)


@pytest.mark.parametrize(
    ("number", "tasks", "nodes", "tasks_per_node", "addresses"),
    [
        (2, 3, "gpu[07-08]", "2,1", ["gpu07:21968", "gpu07:21969", "gpu08:21968"]),
        (0, 1, "gpu07", "1", ["gpu07:21968"]),
    ],
)
def test_slurm_names_the_processes(
    number, tasks, nodes, tasks_per_node, addresses, monkeypatch, two_gpus
):
    """Three tasks on two nodes, and one; the variables are those that srun sets."""
    variables = {
        "SLURM_JOB_ID": "70123",
        "SLURM_PROCID": str(number),
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks_per_node,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cluster = find_cluster(variables)
    assert cluster.cluster_spec().as_dict() == {"worker": addresses}
    assert (cluster.task_type, cluster.task_id) == ("worker", number)
    assert cluster.num_accelerators() == {"GPU": 2}


def test_a_missing_process_is_named(monkeypatch):
    present, missing = (f"127.0.0.1:{port}" for port in free_ports(2))
    variables = tf_config({"worker": [present, missing]}, {"type": "worker", "index": 0})
    monkeypatch.setenv("TF_CONFIG", variables["TF_CONFIG"])
    with pytest.raises(
        ClusterError, match=f"^{missing}: not started within worker_timeout_s = 0.3 seconds"
    ):
        make_strategy("multiworker", timeout_s=0.3)


def test_a_port_that_is_taken_is_named(monkeypatch):
    with socket.create_server(("", 0)) as taken:
        own, other = (f"127.0.0.1:{port}" for port in (taken.getsockname()[1], *free_ports(1)))
        variables = tf_config({"worker": [own, other]}, {"type": "worker", "index": 0})
        monkeypatch.setenv("TF_CONFIG", variables["TF_CONFIG"])
        with pytest.raises(ClusterError, match=f"^{own}: this process cannot listen on its port"):
            make_strategy("multiworker", timeout_s=5)
