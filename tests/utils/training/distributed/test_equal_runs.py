"""A run on several devices or in several processes computes what one device computes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from config.schema import PROJECT_ROOT
from tests.tiny import write_prepared_set
from utils.training.launch import worker_environments

pytestmark = pytest.mark.slow

PROGRAM = "tests.utils.training.distributed.recorded_run"
BATCH_SIZE, STEPS, LR, TIMEOUT_S = 7, 24, 5e-5, 900
HALF = {"precision": "mixed_float16", "cache_features": 1, "epoches": 1, "last_batch": "short"}
HALF |= {"flip": 0.0, "scale_jitter": 0.0, "color_jitter": 0.0}
# Biases whose gradient is zero but for rounding, of which Adam makes steps of its own size: the
# softmax after the first three ignores a constant, and BatchNorm after the last one subtracts it.
CANCELED = ("cem_box/bias", "cem_mask/bias", "key_bias", "fusion_text_dense/bias")
CANCELED += ("fusion_text_bn/moving_mean",)  # Contains the last of them.


@pytest.fixture(scope="module")
def larger_set(tmp_path_factory):
    """The tiny set with every training referent eight times: 40 in six steps of 7."""
    prepared = write_prepared_set(tmp_path_factory.mktemp("set"))
    train = Path(prepared.paths["train_set"])
    train.write_text(8 * train.read_text())
    return prepared


@pytest.fixture(scope="module")
def run(larger_set, tmp_path_factory):
    """`run(distribute, devices, processes, **settings)`: the records of all processes."""

    def started(distribute, devices=1, processes=1, **settings):
        folder = tmp_path_factory.mktemp(distribute)
        values = {
            "batch_size": BATCH_SIZE,
            "eval_batch_size": 1,
            "epoches": 4,
            "free_body": 1,
            "lr": LR,
            "rnn_drop_out": 0.3,
            "ema": 0.9,
            "flip": 0.5,
            "scale_jitter": 0.3,
            "color_jitter": 0.3,
            "distribute": distribute,
            "log_path": str(folder / "log"),
            **settings,
        }
        config = folder / "config.json"
        config.write_text(json.dumps(larger_set.config(**values).to_dict()))
        environments = worker_environments(processes, os.environ, []) if processes > 1 else [None]
        command = [sys.executable, "-m", PROGRAM, config, folder / "run", str(devices)]
        running = [
            subprocess.Popen(
                command, cwd=PROJECT_ROOT, env=each, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            for each in environments
        ]  # fmt: skip
        outputs = [each.communicate(timeout=TIMEOUT_S)[0] for each in running]
        for process, output in zip(running, outputs, strict=True):
            assert process.returncode == 0, output[-3000:]
        return SimpleNamespace(
            records=[dict(np.load(f"{folder}/run.{k}.npz")) for k in range(processes)],
            outputs=outputs,
            folder=folder,
        )

    return started


@pytest.fixture(scope="module")
def one(run):
    """The run on one device."""
    return run("one")


@pytest.fixture(
    scope="module",
    params=[
        "mirrored",
        pytest.param("two processes", marks=pytest.mark.soak),
        "three processes",
    ],
)
def several(request, run):
    """A run on two devices of one process, or in two or three processes: 7 = 3 + 4 = 2 + 2 + 3."""
    if request.param == "mirrored":
        return run("mirrored", devices=2)
    return run("multiworker", processes={"two": 2, "three": 3}[request.param.split()[0]])


def differences(record, expected, prefix):
    """Largest difference of each array, relative to its largest value."""
    return {
        name: np.abs(record[name] - expected[name]).max() / max(np.abs(expected[name]).max(), 1e-6)
        for name in expected
        if name.startswith(prefix) and expected[name].size
    }


def test_losses_weights_and_statistics_are_those_of_one_device(one, several):
    [expected] = one.records
    assert len(expected["loss/loss"]) == STEPS
    for record in several.records:
        for name, difference in differences(record, expected, "loss/").items():
            assert difference < (1e-4 if "norm" in name else 1e-5), (name, difference)
        weights = differences(record, expected, "weight/")
        assert sum(name.endswith("moving_variance") for name in weights) > 20
        for name, difference in weights.items():
            if name.endswith(CANCELED):
                assert np.abs(record[name] - expected[name]).max() < 2 * STEPS * LR, name
            else:
                assert difference < 1e-5, (name, difference)
        averages = differences(record, expected, "optimizer/")
        averages = {name: value for name, value in averages.items() if name.endswith("_average")}
        assert len(averages) > 50
        for name, difference in averages.items():
            if not name.endswith(tuple(f"{end.replace('/', '_')}_average" for end in CANCELED)):
                assert difference < 1e-5, (name, difference)


def test_each_sample_of_a_step_is_loaded_by_one_replica(one, several):
    [expected] = one.records
    steps = json.loads(str(expected["rows"]))
    parts = [json.loads(str(record["rows"])) for record in several.records]
    for number, [whole] in enumerate(steps):
        divided = [rows for part in parts for rows in part[number]]
        assert [row for rows in divided for row in rows] == whole
        assert max(map(len, divided)) - min(map(len, divided)) <= 1
    assert expected["decoded"] == STEPS * BATCH_SIZE
    assert sum(int(record["decoded"]) for record in several.records) == STEPS * BATCH_SIZE


def test_evaluations_are_those_of_one_device(several):
    """Of the same weights, image by image, so that only the order of the sums differs."""
    histories = [json.loads(str(record["history"])) for record in several.records]
    assert all(history == histories[0] for history in histories)
    alone = json.loads(str(several.records[0]["alone"]))
    assert alone["n_expressions"] == 12
    assert flattened(histories[0][-1]) == pytest.approx(flattened(alone), rel=1e-12)


def flattened(result):
    """The numbers of a result by the names of metric and part."""
    parts = {name: value for name, value in result.items() if isinstance(value, dict)}
    numbers = {name: value for name, value in result.items() if name not in parts}
    return numbers | {f"{name} {k}": v for name, part in parts.items() for k, v in part.items()}


def test_a_step_is_traced_once(several):
    assert [int(record["traces"]) for record in several.records] == [1] * len(several.records)


def test_the_devices_of_all_replicas_are_printed_and_recorded(several):
    line = {
        1: "2 replicas, on CPU:0, CPU:1 of one process",
        2: "2 replicas, on CPU:0 of each of 2 processes",
        3: "3 replicas, on CPU:0 of each of 3 processes",
    }[len(several.outputs)]
    assert f"\n{line}\n" in several.outputs[0]
    recorded = json.loads((several.folder / "log" / "versions.json").read_text())
    assert recorded["replicas"] == line


def test_only_the_first_process_prints(several):
    for output in several.outputs[1:]:
        assert "epoch" not in output
        assert "data:" not in output


@pytest.fixture(scope="module")
def half(run):
    """The first epoch in half precision on cached features, on one device."""
    return run("one", **HALF)


@pytest.mark.soak
@pytest.mark.parametrize(
    "started",
    [{"distribute": "mirrored", "devices": 2}, {"distribute": "multiworker", "processes": 2}],
)
def test_half_precision_and_cached_features(half, run, started):
    several = run(**started, **HALF)
    [expected] = half.records
    for record in several.records:
        for name, difference in differences(record, expected, "loss/").items():
            assert difference < 0.02, (name, difference)
    assert sum(int(record["decoded"]) for record in several.records) == expected["decoded"]
    stored = [output.count("computing features") for output in several.outputs]
    assert stored == [1] + [0] * (len(stored) - 1)


@pytest.mark.soak
def test_gradients_are_clipped_jointly(run):
    """After one step, the first moment of Adam is a tenth of the gradient, of norm 1."""
    settings = {"batch_size": 40, "epoches": 1, "clip_norm": 1.0}
    [expected], [record] = (
        run(**started, **settings).records
        for started in ({"distribute": "one"}, {"distribute": "mirrored", "devices": 2})
    )
    momenta = [name for name in expected if name.endswith("_momentum")]
    assert len(momenta) > 50
    for gradients in (expected, record):
        norm = np.sqrt(sum(np.sum((10 * gradients[name]) ** 2) for name in momenta))
        assert norm == pytest.approx(1.0, rel=1e-3)
    for name in momenta:
        np.testing.assert_allclose(record[name], expected[name], atol=1e-5, err_msg=name)
