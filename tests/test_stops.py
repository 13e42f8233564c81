"""train.py, killed and stopped at random moments, ends with what an uninterrupted run computes."""

import fcntl
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
READY = "parameters: "
# Other in each run: times, and settings, among them the folder of the run.
OTHER = ("train/seconds", "train/samples_per_s", "settings", "_hparams_/session_start_info")


class Run:
    """A training in a folder of its own, by the real script.

    Args:
        folder: where its config and its log are kept.
        tiny_set: of the fixture.
        epochs: of five steps each; the state is saved after each of them.
    """

    def __init__(self, folder, tiny_set, epochs):
        folder.mkdir()
        self.log, self.settings = folder / "log", folder / "settings.json"
        config = tiny_set.config(
            epoches=epochs, batch_size=1, free_body=1, lr=2e-3, save_every_minutes=1e-6,
            log_images=1, log_path=str(self.log),
        )  # fmt: skip
        self.settings.write_text(json.dumps(config.to_dict()))

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "train.py", "--config", str(self.settings), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *arguments):
        """Runs to the end; returns (exit code, standard output, standard error)."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    def interrupt(self, number, moment):
        """Sends a signal at a moment: seconds after the network is built, or "saving".

        Returns:
            (exit code, standard error).
        """
        with self.start() as process:
            for line in process.stdout:
                if line.startswith(READY):
                    break
            if moment == "saving":
                while process.poll() is None and not list(self.log.glob(".next.state.h5.*.tmp")):
                    pass
            else:
                time.sleep(moment)
            process.send_signal(number)
            _, err = process.communicate(timeout=600)
        return process.returncode, err

    def results(self):
        """Everything that a run leaves, without times: arrays, records, events."""
        found = {}
        for name in ("last.state.h5", "best.weights.h5"):
            with h5py.File(self.log / name) as file:
                file.visititems(lambda key, item, name=name: add(found, f"{name}/{key}", item))
        del found["last.state.h5/run_state"]  # Holds times and paths.
        lines = (self.log / "epochs.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        for record in records:
            del record["train"]["seconds"], record["train"]["samples_per_s"]
        found["records"] = records
        events = EventAccumulator(str(self.log), size_guidance={"tensors": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            values = [
                (e.step, tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)
            ]
            steps = [step for step, _ in values]
            found[f"steps of {tag}"] = steps
            if tag not in OTHER:
                found[f"events of {tag}"] = np.stack([value for _, value in values])
        return found


def add(found, key, item):
    if isinstance(item, h5py.Dataset):
        found[key] = item[()]


def assert_equal(results, expected):
    assert set(results) == set(expected)
    for key, value in expected.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(results[key], value, err_msg=key)
        else:
            assert results[key] == value, key


def leftovers(log):
    return [path.name for path in log.rglob("*") if path.name.endswith(".tmp")]


def stop_and_resume(tmp_path, tiny_set, epochs, stops):
    """Interrupts a run at each of `stops`, (signal, moment), then compares it with another one."""
    expected = Run(tmp_path / "uninterrupted", tiny_set, epochs)
    assert expected.finish()[0] == 0
    run = Run(tmp_path / "interrupted", tiny_set, epochs)
    stopped = 0
    for number, moment in stops:
        code, err = run.interrupt(number, moment)
        if code == 0:
            break
        stopped += 1
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert code == 128 + number, err
            assert re.search(r"Stopped\. .*[Rr]un the same command", err)
            assert "Traceback" not in err
    code, _, err = run.finish()
    assert code == 0, err
    assert_equal(run.results(), expected.results())
    assert leftovers(run.log) == []
    return stopped


def test_a_run_killed_and_stopped_is_bit_identical(tmp_path, tiny_set):
    stops = [(signal.SIGKILL, "saving"), (signal.SIGTERM, "saving"), (signal.SIGKILL, 0.5)]
    assert stop_and_resume(tmp_path, tiny_set, 6, stops) >= 2


@pytest.mark.soak
def test_twenty_kills_and_ten_stops_are_bit_identical(tmp_path, tiny_set):
    moments = random.Random(0)
    stops = [
        (signal.SIGKILL, "saving" if number % 4 == 0 else moments.uniform(0, 2.5))
        for number in range(20)
    ]
    stops += [
        ((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[number % 3],
         "saving" if number % 4 == 0 else moments.uniform(0, 2.5))
        for number in range(10)
    ]  # fmt: skip
    moments.shuffle(stops)
    stopped = stop_and_resume(tmp_path, tiny_set, 150, stops)
    print(f"stopped {stopped} of {len(stops)} times")
    assert stopped == len(stops)


def test_a_stop_before_overwriting_says_that_nothing_was_moved(tmp_path, tiny_set):
    run = Run(tmp_path / "run", tiny_set, 1)
    assert run.finish()[0] == 0
    before = (run.log / "last.state.h5").read_bytes()
    with run.start("--overwrite") as process:
        for line in process.stdout:
            if line.startswith("device: "):
                break
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.splitlines()[-1] == (
        "Stopped. Nothing was trained, and an earlier run in log_path is unchanged; run the same "
        "command again."
    )
    assert (run.log / "last.state.h5").read_bytes() == before
    assert [path.name for path in run.log.parent.glob("log*")] == ["log"]


def test_a_second_training_in_the_same_folder_gets_one_sentence(tmp_path, tiny_set):
    run = Run(tmp_path / "run", tiny_set, 2)
    run.log.mkdir()
    with (run.log / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = run.finish()
    assert code == 2
    assert f"error: {run.log}: another process is training in this folder" in err
    assert "Traceback" not in err
    assert [path.name for path in run.log.iterdir()] == [".lock"]


def test_a_full_disk_stops_with_a_sentence_and_resumes(tmp_path, tiny_set, small_disk):
    run = Run(tmp_path / "run", tiny_set, 1)
    disk = small_disk(30_000_000)
    settings = json.loads(run.settings.read_text())
    run.log = disk / "log"
    run.settings.write_text(json.dumps({**settings, "log_path": str(run.log)}))
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(30_000_000 - 2_200_000))  # Room for one state, not for two.
    code, _, err = run.finish()
    assert code == 2, err
    assert "next.state.h5: needs" in err
    assert "the disk is full" in err
    assert "Traceback" not in err
    assert [path.name for path in run.log.glob("*.h5")] == ["last.state.h5"]
    assert leftovers(run.log) == []
    ballast.unlink()
    code, out, err = run.finish()
    assert code == 0, err
    assert "resuming in epoch 1 at step 1 of 5" in out
