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


def values_of(folder):
    """Every array of the last state, and the progress of the run without durations."""
    with h5py.File(folder / "last.state.h5") as file:
        arrays = {
            f"{group}/{key}": value[()]
            for group in ("model", "optimizer")
            for key, value in file[group].items()
        }
        state = json.loads(file["run_state"][()].tobytes())
    for record in state["history"]:
        del record["train"]["seconds"], record["train"]["samples_per_s"]
    return arrays, [state["epoch"], state["best_epoch"], state["history"]]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
def test_a_run_whose_processes_are_lost_and_stopped_ends_as_if_nothing_had_happened(tmp_path):
    prepared = write_prepared_set(tmp_path)
    train = Path(prepared.paths["train_set"])
    train.write_text(8 * train.read_text())

    def config_of(name):
        config = prepared.config(
            epoches=3, free_body=1, batch_size=4, log_path=str(tmp_path / name)
        )
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(config.to_dict()))
        return path

    code, output = Launched(config_of("whole"), tmp_path / "whole.out").end()
    assert code == 0, output[-3000:]
    assert output.count("Best Acc@0.5") == 1

    config = config_of("stopped")
    lost = Launched(config, tmp_path / "lost.out")
    lost.wait_for("epoch 1:")
    survivor, victim = lost.workers()
    subprocess.run(["kill", "-KILL", str(victim)], check=True)
    killed_at = time.monotonic()
    while Path(f"/proc/{survivor}").exists():  # Before it would be killed after GRACE_S.
        assert time.monotonic() < killed_at + GRACE_S - 10
        time.sleep(0.1)
    code, output = lost.end()
    assert code == 128 + signal.SIGKILL
    assert "error: another process of this run has ended" in output
    assert "Traceback" not in output

    stopped = Launched(config, tmp_path / "stopped.out")
    stopped.wait_for("resuming after epoch 1")
    stopped.wait_for("samples/s")
    subprocess.run(["kill", "-TERM", str(stopped.workers()[1])], check=True)
    code, output = stopped.end()
    assert code == 128 + signal.SIGTERM, output[-3000:]
    assert output.count("Stopped. Run the same command") == 2

    code, output = Launched(config, tmp_path / "resumed.out").end()
    assert code == 0, output[-3000:]
    assert ": resuming " in output
    arrays, progress = values_of(tmp_path / "stopped")
    expected, expected_progress = values_of(tmp_path / "whole")
    assert progress == expected_progress
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)
