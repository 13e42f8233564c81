"""The reference of the benchmarks computes the same, and FLOPs are counted correctly."""

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import bench, engines, precisions
from benchmarks.flops import count_flops
from benchmarks.plain import build_plain_mcn, evaluate_plainly
from benchmarks.sets import ANCHORS_PX, benchmark_config, synthetic_set
from benchmarks.timing import alternate, peak_memory
from model.mcn import build_mcn
from model.weights import save_weights
from tests.tiny import random_batch, scramble
from utils.evaluation.evaluator import build_evaluator
from utils.prediction.grounder import Grounder, load_grounder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def networks():
    config = benchmark_config("darknet", quick=True)
    model = scramble(build_mcn(config))
    return config, model, build_plain_mcn(config, model)


def test_the_plain_network_is_the_same_function(networks):
    config, model, plain = networks
    batch = random_batch(config)
    ours, theirs = model(batch, training=False), plain(batch, training=False)
    for name, value in theirs.items():
        scale = float(np.std(value)) or 1.0
        np.testing.assert_allclose(ours[name], value, atol=1e-4 * scale, rtol=1e-4)


def test_the_plain_evaluation_gives_the_same_results(networks, tmp_path):
    config, model, plain = networks
    data = synthetic_set(tmp_path, images=2, expressions=3, config=config)
    ours = data.evaluator().evaluate(Grounder(model, ANCHORS_PX), config.word_len)
    predict = tf.function(lambda image, words: plain({"image": image, "words": words}))
    theirs = evaluate_plainly(predict, data, config)
    assert ours["n_expressions"] == theirs["n_expressions"] == 6
    for key in ("det_acc", "seg_iou", "overall_iou", "ie_score"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-5)


def test_flops_of_a_small_network():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(5)(x))
    assert count_flops(model) == 2 * 8 * 8 * 4 * 3 * 3 * 3 + 2 * 4 * 5


def test_repetitions_alternate():
    calls = []
    times = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert all(median >= 0 for median, _ in times.values())


def test_every_measurement_is_tabulated(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "CONVOLUTIONS", bench.CONVOLUTIONS[-1:])
    monkeypatch.delitem(bench.TRAINING, "all layers")
    monkeypatch.setattr(bench, "peak_memory", lambda function, *arguments: 1_500_000_000)
    output = tmp_path / "results" / "bench.json"
    arguments = ["--quick", "--repeats", "1", "--backbones", "vgg", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
    bench.main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    results = json.loads(output.read_text())
    assert bench.format_table(results).splitlines()[2:] == table[1:]
    assert len(table) == 1 + 2 + 11 + 2
    assert "| vgg: peak memory, one image, one expression | 1.50 GB |" in table
    measured = results["backbones"]["vgg"]
    assert measured["evaluation"]["expressions"] == 21
    assert measured["evaluation"]["largest_difference"] < 1e-5
    assert set(measured["training"]["seconds"]) == set(bench.TRAINING)
    assert results["versions"]["device"]


@pytest.mark.skipif(not Path("/proc").exists(), reason="peak memory is read from /proc")
def test_peak_memory_is_that_of_the_call():
    small, large = peak_memory(os.urandom, 1), peak_memory(os.urandom, 200_000_000)
    assert 150_000_000 < large - small < 250_000_000
    with pytest.raises(RuntimeError, match="exit code 1"):
        peak_memory(os.urandom, -1)


def test_engines_are_measured_side_by_side(monkeypatch, tmp_path, capsys):
    pytest.importorskip("openvino")
    pytest.importorskip("tf2onnx")
    output = tmp_path / "engines.json"
    command = ["engines.py", "--quick", "--repeats", "1", "--output", str(output)]
    names = ["tensorflow float32", "openvino float32"]
    monkeypatch.setattr(sys, "argv", [*command, "--variants", *names])
    engines.main()
    found = json.loads(output.read_text())
    assert [*found["variants"]] == names
    for variant in found["variants"].values():
        assert variant["pair"][0] > 0
        assert variant["expression"][0] > 0
        assert variant["peak_bytes"] > 1e8
        assert variant["box_px"] < 0.01
        assert variant["mask"] < 1e-4
    table = engines.format_table(
        found, {"variants": {names[0]: {"pair": [7, 0], "expression": [8, 0]}}}
    )
    assert "(7000)" in table
    assert "| openvino float32 | " in capsys.readouterr().out


def test_answers_of_engines_and_precisions_are_compared(tiny_set, tmp_path):
    pytest.importorskip("openvino")
    pytest.importorskip("tf2onnx")
    weights = tmp_path / "best.weights.h5"
    keras.utils.set_random_seed(1)
    save_weights(build_mcn(tiny_set.config()), weights)
    # Of such weights, without the boxes, masks are neither empty nor full.
    changes = {"use_nls": 0, "segment_thresh": 0.5}
    config = tiny_set.config(evaluate_model=str(weights), **changes)
    variants = [("tensorflow", "float32"), ("openvino", "float32"), ("tensorflow", "mixed_float16")]
    lines = precisions.compare_answers(config, ["val"], variants).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]
    assert [row[0] for row in rows] == [
        "tensorflow float32", "openvino float32", "tensorflow float16",
    ]  # fmt: skip
    # All engines agree in float32; half precision differs a little.
    assert rows[0][3:] == rows[1][3:] == ["0.00", "0.0 %", "0.0000"]
    result = build_evaluator(config).evaluate(load_grounder(config), config.word_len)
    assert rows[0][1:3] == [f"{100 * result[key]:.2f}" for key in ("det_acc", "seg_iou")]
    assert float(rows[2][5]) > 0
