"""The reference of the benchmarks computes the same, and FLOPs are counted correctly."""

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import bench, engines, precisions, records, scaling, starts
from benchmarks.flops import count_flops
from benchmarks.plain import build_plain_mcn, evaluate_plainly
from benchmarks.records import Figure
from benchmarks.sets import ANCHORS_PX, benchmark_config, synthetic_set
from benchmarks.timing import alternate, peak_memory
from config.errors import UserError
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
    assert len(table) == 1 + 2 + 10 + 3
    assert len(bench.figures(results)) == 2 + 8 + 2 + 3 + 1 + 4 + 1 + 2
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
    names = ["tensorflow float32", "openvino float32", [*engines.VARIANTS][-1]]
    monkeypatch.setattr(sys, "argv", [*command, "--variants", *names])
    engines.main()
    found = json.loads(output.read_text())
    assert [*found["variants"]] == names
    assert [list(variant)[1:-3] for variant in found["variants"].values()] == [
        [*engines.TASKS], [*engines.TASKS], ["pair", "evaluation"],
    ]  # fmt: skip
    for variant in found["variants"].values():
        assert all(variant[task][0] > 0 for task in engines.TASKS if task in variant)
        assert variant["peak_bytes"] > 1e8
        assert variant["box_px"] < 0.01
        assert variant["mask"] < 1e-4
    table = engines.format_table(found, {"variants": {names[0]: {"pair": [7, 0]}}})
    assert "(7000)" in table
    assert engines.short_table(found).count("ms (") == 6
    assert len(engines.figures(found)) == 4 + 4 + 2 + 2 * 3
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


def test_figures_are_recorded_for_each_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "machine", lambda: {"processor": "Some CPU (R) @ 3", "threads": 2})
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- bench -->\nold\n<!-- end of bench -->\nafter\n")
    one, two = Figure("pair", 0.5, "s", 0.25), Figure("peak", 1e9, "bytes")
    path = records.record("bench", [one, two], {document: "| table |"}, tmp_path / "results")
    assert path.name == "some-cpu-r-3-2-threads.csv"
    records.record("engines", [one], {}, tmp_path / "results")
    records.record("bench", [two], {}, tmp_path / "results")
    assert path.read_text().splitlines() == [
        "benchmark,task,value,unit,spread",
        "engines,pair,0.5,s,0.250",
        "bench,peak,1e+09,bytes,",
    ]
    assert document.read_text() == (
        "before\n<!-- bench -->\n\n| table |\n\n<!-- end of bench -->\nafter\n"
    )
    with pytest.raises(UserError, match=r"must have the lines <!-- engines -->"):
        records.record("engines", [one], {document: ""}, tmp_path / "results")


@pytest.mark.parametrize(
    ("document", "name"),
    [(records.README, "engines"), (records.BENCHMARKS_README, "engines"),
     (records.BENCHMARKS_README, "bench"), (records.BENCHMARKS_README, "scaling"),
     (records.BENCHMARKS_README, "starts")],
)  # fmt: skip
def test_the_documents_have_places_for_the_tables(document, name):
    assert "| one |" in records.placed(document, name, "| one |")


def test_growth_is_measured_and_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scaling, "peak_memory", lambda function, images: images * 1e7)
    monkeypatch.setattr(scaling, "_in_process", lambda function, *arguments: 0.5)
    monkeypatch.setattr(scaling, "assume_constant_weights", lambda: None)
    output = tmp_path / "scaling.json"
    arguments = ["--quick", "--repeats", "1", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["scaling.py", *arguments])
    scaling.main()
    found = json.loads(output.read_text())
    assert {name: [*points] for name, points in found.items()} == {
        "expressions": ["1", "2"], "input_size": ["96", "128"], "batch": ["1", "2"],
        "images": ["10", "20"], "memory": ["10", "20"], "threads": ["1", "2"],
    }  # fmt: skip
    assert all(value > 0 for points in found.values() for value in points.values())
    assert len(scaling.figures(found)) == 12
    with Image.open(output.with_suffix(".png")) as plots:
        assert plots.width == 1120
    assert "| Threads, one pair, s | 1: 0.5, 2: 0.5 |" in capsys.readouterr().out


def test_starts_are_those_of_commands_that_succeed(monkeypatch):
    monkeypatch.setattr(starts, "CACHES", Path("/nonexistent"))
    monkeypatch.setattr(starts, "commands", lambda folder: {"nothing": ["-c", "pass"]})
    times = starts.measure_starts(2)
    assert len(times["warm"]["nothing"]) == 2
    assert starts.format_table(times).splitlines()[2].endswith(" | – |")
    monkeypatch.setattr(starts, "commands", lambda folder: {"a fault": ["-c", "exit(3)"]})
    with pytest.raises(RuntimeError, match="failed"):
        starts.measure_starts(1)


def test_quick_runs_are_not_recorded(monkeypatch, capsys):
    for module in (bench, engines, scaling):
        monkeypatch.setattr(sys, "argv", ["benchmark", "--quick", "--record"])
        with pytest.raises(SystemExit):
            module.main()
        assert "--quick measures nothing; leave out one" in capsys.readouterr().err
