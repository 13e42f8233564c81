"""The files and the table that an evaluation writes."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from data.loading.errors import DataError
from model.weights import WeightsError, save_weights
from tests.tiny import NETWORK
from utils.evaluation.evaluator import build_evaluator
from utils.evaluation.report import report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    save_weights(network(), path)
    return str(path)


@pytest.fixture(scope="module")
def reported(tiny_set, weights, tmp_path_factory):
    """(config, folder of the results, table, dumped lines)."""
    root = tmp_path_factory.mktemp("reported")
    config = tiny_set.config(segment_thresh=0.4, det_acc_thresh=0.2)
    folder = root / "result" / "tiny"
    table = report(config, folder, weights, str(root / "out" / "dump.jsonl"), pictures=2)
    lines = (root / "out" / "dump.jsonl").read_text(encoding="utf-8").splitlines()
    return config, folder, table, [json.loads(line) for line in lines]


def test_results_are_those_of_the_evaluation(reported, grounder):
    config, folder, _, _ = reported
    evaluator = build_evaluator(config)
    expected = evaluator.evaluate(grounder, NETWORK["word_len"])
    written = json.loads((folder / "result.json").read_text())
    for key, value in expected.items():
        assert written[key] == pytest.approx(value, abs=1e-6), key


def test_results_are_written_with_the_settings_they_depend_on(reported, weights):
    config, folder, table, _ = reported
    written = json.loads((folder / "result.json").read_text())
    assert written["settings"]["segment_thresh"] == 0.4
    assert written["settings"]["evaluate_model"] == weights
    assert written["settings"]["anchors_file"] == config.anchors_file
    assert written["settings"]["aspp_dilations"] == config.aspp_dilations
    assert written["versions"]["tensorflow"]
    assert written["versions"]["device"]
    text = (folder / "result.txt").read_text(encoding="utf-8")
    assert text.startswith(table)
    assert "segment_thresh = 0.4\n" in text
    assert "Acc@0.2" in table
    assert "12 expressions" in table


def test_dump_has_one_line_per_expression_in_the_order_of_the_set(reported, tiny_set):
    lines = reported[3]
    expected = [(r.image, e) for r in tiny_set.val for e in r.expressions]
    assert [(line["image"], line["expression"]) for line in lines] == expected
    written = json.loads((reported[1] / "result.json").read_text())
    ious = [line["seg_iou"] for line in lines]
    assert np.mean(ious) == pytest.approx(written["seg_iou"])
    assert np.mean([line["det_iou"] > 0.2 for line in lines]) == pytest.approx(written["det_acc"])


def test_the_start_is_reported(tiny_set, weights, tmp_path, capsys):
    report(tiny_set.config(evaluate_model=weights), tmp_path)
    device, data, loaded, *_, parameters = capsys.readouterr().out.splitlines()
    assert device.startswith("device: ")
    assert data == "data: 12 expressions in 4 images"
    assert loaded.startswith(weights)
    assert re.fullmatch(r"parameters: [\d,]+ trained, [\d,]+ frozen", parameters)


def test_pictures(reported):
    with Image.open(reported[1] / "pictures.png") as sheet:
        assert sheet.width > 200
        assert sheet.height > 200


def test_nothing_is_written_for_weights_that_do_not_fit(tiny_set, weights, tmp_path):
    other = tiny_set.config(evaluate_model=weights, rnn_cell="gru")
    with pytest.raises(WeightsError, match="rnn_cell=lstm"):
        report(other, tmp_path / "result")
    missing = tiny_set.config(evaluate_model=str(tmp_path / "none.weights.h5"))
    with pytest.raises((WeightsError, OSError), match=r"none\.weights\.h5"):
        report(missing, tmp_path / "result")
    assert not (tmp_path / "result").exists()


def test_nothing_is_written_for_a_set_that_cannot_be_read(tiny_set, weights, tmp_path):
    config = tiny_set.config(evaluate_model=weights, image_path=str(tmp_path))
    with pytest.raises(DataError, match=r"a\.png: no such image"):
        report(config, tmp_path / "result")
    assert not (tmp_path / "result").exists()
