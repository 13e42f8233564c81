"""Several processes of one machine: started together, stopped together, and resumed."""

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from config.errors import UserError
from config.schema import PROJECT_ROOT
from tests.tiny import write_prepared_set
from utils.training.launch import GRACE_S, launch, worker_environments

TIMEOUT_S = 300


def test_each_process_knows_all_addresses_and_its_own_number():
    first, second = worker_environments(2, {"PATH": "/bin"}, [])
    [one, two] = (json.loads(each["TF_CONFIG"]) for each in (first, second))
    assert one["cluster"] == two["cluster"]
    assert len(set(one["cluster"]["worker"])) == 2
    assert [each["task"] for each in (one, two)] == [
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
    ]
    assert "CUDA_VISIBLE_DEVICES" not in first
    assert first["PATH"] == "/bin"


def test_gpus_are_shared_equally():
    environments = worker_environments(2, {}, ["0", "2", "3", "5"])
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["0,2", "3,5"]
    with pytest.raises(UserError, match=r"--workers 3: each process needs as many GPUs .* are 4"):
        worker_environments(3, {}, ["0", "2", "3", "5"])


def test_a_run_has_at_least_one_process():
    with pytest.raises(UserError, match="--workers 0: must be at least 1"):
        launch(0, [])


def test_no_process_is_left_if_one_of_them_cannot_be_started(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # Otherwise, nvidia-smi would be the first.
    started = []

    def popen(command, **settings):
        if started:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(Popen([sys.executable, "-c", "import time; time.sleep(600)"], **settings))
        return started[0]

    Popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(OSError, match="temporarily unavailable"):
        launch(2, [])
    assert [process.args[0] for process in started] == [sys.executable]
    assert started[0].returncode == -signal.SIGKILL


class Launched:
    """`utils.training.launch` with two processes on a config."""

    def __init__(self, config, output):
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "utils.training.launch", "--workers", "2",
                 "--config", str(config)],
                cwd=PROJECT_ROOT, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait_for(self, text):
        """Waits until the output contains a text."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()[-3000:]
            assert time.monotonic() < deadline, self.output.read_text()[-3000:]
            time.sleep(0.1)

    def workers(self):
        """Process ids of the processes that train, by their number."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in children.read_text().split()]

    def end(self):
        """Exit code and output, once it has ended."""
        return self.process.wait(TIMEOUT_S), self.output.read_text()


def progress_of(folder):
    """What the last state says: epochs, steps, records."""
    with h5py.File(folder / "last.state.h5") as file:
        return json.loads(file["run_state"][()].tobytes())


def values_of(folder):
    """Every array of the last state, and the progress of the run without durations."""
    state = progress_of(folder)
    for record in state["history"]:
        del record["train"]["seconds"], record["train"]["samples_per_s"]
    with h5py.File(folder / "last.state.h5") as file:
        arrays = {
            f"{group}/{key}": value[()]
            for group in ("model", "optimizer")
            for key, value in file[group].items()
        }
    return arrays, [state["epoch"], state["bests"]["best.weights.h5"]["epoch"], state["history"]]


@pytest.fixture(scope="module")
def config_of(tmp_path_factory):
    """`config_of(name)`: the config of a run of three epochs of twenty steps, and its log folder.

    Several processes save the state every ten steps.
    """
    root = tmp_path_factory.mktemp("launched")
    prepared = write_prepared_set(root)
    train = Path(prepared.paths["train_set"])
    train.write_text(8 * train.read_text())

    def written(name):
        folder, path = root / name, root / f"{name}.json"
        config = prepared.config(
            epoches=3, free_body=1, save_every_minutes=1e-6, log_path=str(folder)
        )
        path.write_text(json.dumps(config.to_dict()))
        return path, folder

    return written


@pytest.fixture(scope="module")
def uninterrupted(config_of):
    """`values_of` a run that nothing has stopped."""
    config, folder = config_of("whole")
    code, output = Launched(config, folder.with_suffix(".out")).end()
    assert code == 0, output[-3000:]
    assert output.count("Best Acc@0.5") == 1
    return values_of(folder)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.soak)])
def test_a_run_whose_processes_are_lost_and_stopped_ends_as_if_nothing_had_happened(
    victim, config_of, uninterrupted
):
    config, folder = config_of(f"stopped{victim}")
    lost = Launched(config, folder.with_suffix(".lost"))
    lost.wait_for("epoch 1:")
    while (state := progress_of(folder))["epoch"] == 1 and not state["step"]:
        assert lost.process.poll() is None
        time.sleep(0.01)
    workers = lost.workers()
    subprocess.run(["kill", "-KILL", str(workers[victim])], check=True)
    killed_at = time.monotonic()
    while Path(f"/proc/{workers[1 - victim]}").exists():  # Before it is killed after GRACE_S.
        assert time.monotonic() < killed_at + GRACE_S - 10
        time.sleep(0.1)
    code, output = lost.end()
    assert code == 128 + signal.SIGKILL
    assert "error: another process of this run has ended" in output
    assert "Traceback" not in output

    stopped = Launched(config, folder.with_suffix(".stopped"))
    stopped.wait_for("resuming in epoch 2 at step 10 of 20")
    stopped.wait_for("samples/s")
    subprocess.run(["kill", "-TERM", str(stopped.workers()[1])], check=True)
    code, output = stopped.end()
    assert code == 128 + signal.SIGTERM, output[-3000:]
    assert output.count("Stopped. Run the same command") == 2

    code, output = Launched(config, folder.with_suffix(".resumed")).end()
    assert code == 0, output[-3000:]
    assert ": resuming " in output
    arrays, progress = values_of(folder)
    expected, expected_progress = uninterrupted
    assert progress == expected_progress
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)
