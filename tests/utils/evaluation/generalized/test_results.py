"""test.py on a set with expressions that have no target: a network, and predictions."""

import json
import shutil

import numpy as np
import pytest

import test
from config.errors import UserError
from config.files import file_sha256
from data.loading.annotations import write_annotations
from data.preparation.sidecars.ids import ReferentIds, write_ids
from data.preparation.sidecars.no_target import NoTarget, write_no_target
from model.weights import save_weights
from tests.tiny import IMAGES
from utils.evaluation.generalized.network import report_generalized
from utils.evaluation.generalized.predictions import report_generalized_predictions
from utils.evaluation.generalized.targets import is_generalized
from utils.evaluation.results.measurement import encode_mask

NONE = NoTarget(90, ("val", "testA"), "c.png", ("the horse", "red thing"))


@pytest.fixture(scope="module")
def generalized(tiny_set, tmp_path_factory):
    """The folder of the lines of the tiny set with expressions without a target."""
    folder = tmp_path_factory.mktemp("generalized")
    for split in ("val", "testA"):
        write_annotations(folder / f"{split}.txt", tiny_set.val)
    write_no_target(folder, [NONE])
    return folder


@pytest.fixture
def config(tiny_set, generalized):
    return tiny_set.config(evaluate_set=str(generalized / "val.txt"))


def truth(tiny_set, referent):
    return np.load(tiny_set.masks / f"{referent.mask_id}.npy")


def test_predictions_are_scored_by_the_rules_of_no_target(tiny_set, config, tmp_path, capsys):
    rows, ious, areas = [], [], []
    for referent in tiny_set.val:
        true = truth(tiny_set, referent)
        for number, expression in enumerate(referent.expressions):
            half = true.copy()
            half[true.shape[0] // 2 :] = 0
            mask = (true, half)[number % 2]
            ious.append(mask.sum() / true.sum())
            areas.append((int(mask.sum()), int(true.sum())))
            rows.append({"ref_id": referent.mask_id, "expression": expression,
                         "mask": encode_mask(mask), "score": 0.9})  # fmt: skip
    width, height = IMAGES["c.png"]
    wrong = np.zeros((height, width), np.uint8)
    wrong[:5, :4] = 1
    rows[0]["mask"], ious[0] = [], 0.0  # A target that is missed.
    rows.append({"image": "c.png", "expression": "the horse", "mask": []})
    rows.append({"image": "c.png", "expression": "red thing", "mask": encode_mask(wrong),
                 "score": 0.4})  # fmt: skip
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    n = len(ious)
    (result,) = report_generalized_predictions(config, path, [], tmp_path / "out", "scored")
    assert result["n_expressions"] == n + 2
    assert result["n_no_target"] == 2
    assert result["g_iou"] == pytest.approx((sum(ious) + 1) / (n + 2))
    overlap = sum(part for part, _ in areas[1:])
    assert result["c_iou"] == pytest.approx(overlap / (sum(whole for _, whole in areas) + 20))
    found = sum(part > 0 for part, _ in areas[1:])  # One of the halves is empty.
    assert found == n - 2
    assert (result["n_acc"], result["t_acc"]) == (0.5, pytest.approx(found / n))
    written = json.loads((tmp_path / "out/scored/result.json").read_text())
    assert written["g_iou"] == result["g_iou"]
    assert written["min_score"] is None
    low, high = written["intervals_95"]["g_iou"]
    assert 0 <= low < result["g_iou"] < high <= 1
    assert written["intervals_95"]["n_acc"] == [None, None]  # Both are on one image.
    assert "gIoU" in (tmp_path / "out/scored/result.txt").read_text()

    (calibrated,) = report_generalized_predictions(
        config, path, ["val"], tmp_path / "out", calibrate=True
    )
    assert calibrated["n_acc"] == 1.0
    assert "min_score 0.65: has the highest gIoU on val" in capsys.readouterr().out


@pytest.mark.parametrize("min_score", [None, 0.5, 1e9])
def test_expressions_without_a_row_count_as_wrong(tiny_set, config, tmp_path, min_score):
    referent = tiny_set.val[0]
    row = {"ref_id": referent.mask_id, "expression": referent.expressions[0],
           "mask": encode_mask(truth(tiny_set, referent)), "score": 2e9}  # fmt: skip
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row))
    options = {"min_score": min_score}
    (result,) = report_generalized_predictions(config, path, [], tmp_path, "scored", **options)
    n = sum(len(one.expressions) for one in tiny_set.val)
    assert result["g_iou"] == pytest.approx(1 / (n + 2))
    assert (result["n_acc"], result["t_acc"]) == (0.0, pytest.approx(1 / n))


@pytest.fixture
def answer(tiny_set):
    """The row of an expression, with its true mask, or another one."""

    def row(referent, number=0, **more):
        text = referent.expressions[number]
        mask = encode_mask(truth(tiny_set, referent))
        return {"ref_id": referent.mask_id, "expression": text, "mask": mask} | more

    return row


def write_rows(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_masks_need_a_score_for_a_threshold_only(tiny_set, config, tmp_path, answer):
    nothing = {"ref_id": 90, "expression": "the horse", "mask": []}
    path = write_rows(tmp_path / "p.jsonl", nothing, answer(tiny_set.val[0]))
    (result,) = report_generalized_predictions(config, path, [], tmp_path, "scored")
    assert result["t_acc"] > 0
    for options in ({"min_score": 0.3}, {"calibrate": True}):
        with pytest.raises(UserError, match=r"p\.jsonl:2: key 'score' is missing, but --min_score"):
            report_generalized_predictions(config, path, [], tmp_path, "other", **options)
    path = write_rows(tmp_path / "p.jsonl", nothing, answer(tiny_set.val[0], score=-3.5))
    (result,) = report_generalized_predictions(config, path, [], tmp_path, "logits")
    assert result["t_acc"] > 0
    (result,) = report_generalized_predictions(config, path, [], tmp_path, "low", min_score=-3.0)
    assert result["t_acc"] == 0


def test_each_split_may_have_its_own_file(tiny_set, config, generalized, tmp_path, answer):
    referent = tiny_set.val[0]
    for split, score in (("val", 0.5), ("testA", 0.1)):
        write_rows(tmp_path / f"p_{split}.jsonl", answer(referent, score=score))
    options = {"output": tmp_path / "out", "name": "both"}
    of_val, of_test = report_generalized_predictions(
        config, tmp_path / "p.jsonl", ["val", "testA"], **options, min_score=0.3
    )
    assert of_val["t_acc"] > of_test["t_acc"] == 0
    with pytest.raises(UserError, match=r"q\.jsonl: no such file, and neither is"):
        report_generalized_predictions(config, tmp_path / "q.jsonl", ["val", "testA"], **options)


def test_a_calibrated_result_follows_from_the_split_val(
    tiny_set, config, generalized, tmp_path, answer, monkeypatch
):
    folder = tmp_path / "set"
    shutil.copytree(generalized, folder)
    config = config.replace(evaluate_set=str(folder / "val.txt"))
    path = write_rows(tmp_path / "p.jsonl", answer(tiny_set.val[0], score=0.5))
    options = {"output": tmp_path / "out", "name": "c", "calibrate": True}
    splits = ["testA", "val"]
    report_generalized_predictions(config, path, splits, **options)
    report_generalized_predictions(config, path, splits, **options)
    write_annotations(folder / "val.txt", tiny_set.val[:2])
    with pytest.raises(UserError, match=r"c_testA.*: holds .* contents of evaluate_set of val"):
        report_generalized_predictions(config, path, splits, **options)


def test_results_by_ids_follow_from_the_ids(tiny_set, config, generalized, tmp_path, answer):
    folder = tmp_path / "set"
    shutil.copytree(generalized, folder)
    config = config.replace(evaluate_set=str(folder / "val.txt"))
    referent = tiny_set.val[0]
    write_ids(folder, [
        ReferentIds(referent.mask_id, (5,), ((70, referent.expressions[0]),)),
        ReferentIds(90, (), ((71, "the horse"), (72, "red thing"))),
    ])  # fmt: skip
    row = answer(referent) | {"sent_id": 70, "ref_id": None}
    nothing = [{"sent_id": number, "mask": []} for number in (71, 72)]
    path = write_rows(tmp_path / "p.jsonl", row, *nothing)
    (result,) = report_generalized_predictions(config, path, [], tmp_path / "out", "ids")
    assert result["n_acc"] == 1.0
    written = json.loads((tmp_path / "out/ids/result.json").read_text())
    assert written["data_sha256"]["ids.jsonl"] == file_sha256(folder / "ids.jsonl")
    assert written["predictions"]["unknown"]["count"] == 0


def test_a_mask_id_that_has_no_target_is_refused(tiny_set, config, generalized, tmp_path, answer):
    folder = tmp_path / "set"
    shutil.copytree(generalized, folder)
    mask_id = tiny_set.val[0].mask_id
    write_no_target(folder, [NoTarget(mask_id, ("val",), "c.png", ("the horse",))])
    config = config.replace(evaluate_set=str(folder / "val.txt"))
    path = write_rows(tmp_path / "p.jsonl", answer(tiny_set.val[0]))
    with pytest.raises(UserError, match=rf"no_target\.jsonl: 'ref_id' {mask_id} is also the mask"):
        report_generalized_predictions(config, path, [], tmp_path, "scored")


def test_files_without_masks_are_refused(config, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"ref_id": 90, "expression": "the horse", "box_xyxy": [0, 0, 1, 1]}))
    with pytest.raises(UserError, match=r"p\.jsonl: holds no mask"):
        report_generalized_predictions(config, path, [], tmp_path, "scored")


def test_a_network_is_calibrated_on_val_and_tested_on_all_splits(
    tiny_set, config, network, generalized, tmp_path, capsys
):
    weights = tmp_path / "w.weights.h5"
    save_weights(network(), weights)
    assert is_generalized(config.evaluate_set)
    assert not is_generalized(tiny_set.paths["evaluate_set"])
    options = {"splits": ["testA", "val"], "output": tmp_path / "out", "name": "net"}
    chosen = report_generalized(config, str(weights), **options, calibrate=True)
    assert chosen[0] == chosen[1]  # The splits are equal, so one threshold serves both.
    written = json.loads((tmp_path / "out/net_testA/result.json").read_text())
    assert written["settings"]["min_score"] == "calibrated on val"
    threshold = "no min_score" if (t := written["min_score"]) is None else f"min_score {t!r}"
    assert f"{threshold}: has" in capsys.readouterr().out
    options = options | {"splits": ["val"], "min_score": 1.0}
    with pytest.raises(UserError, match="--overwrite"):
        report_generalized(config, str(weights), **options)
    (nothing,) = report_generalized(config, str(weights), **options, overwrite=True)
    assert (nothing["n_acc"], nothing["t_acc"]) == (1.0, 0.0)
    assert nothing["g_iou"] == pytest.approx(2 / nothing["n_expressions"])
    written = json.loads((tmp_path / "out/net_val/result.json").read_text())
    assert written["settings"]["min_score"] == written["min_score"] == 1.0
    with pytest.raises(UserError, match=r"--calibrate chooses min_score on the split val; add"):
        report_generalized(config, str(weights), ["testA"], tmp_path / "other", calibrate=True)


@pytest.mark.parametrize(
    ("target", "options", "fault"),
    [
        ("generalized", ["--dump_masks"], "--dump_masks: not available for sets with expressions"),
        ("generalized", ["--calibrate", "--min_score", "0"], "--calibrate chooses --min_score; "),
        ("ordinary", ["--min_score", "0"], "every expression has a target there"),
        ("generalized", ["--dump", "d.jsonl"], "--dump: not available for sets with expressions"),
        ("generalized", ["--pictures", "3", "--breakdown"], "--pictures, --breakdown: not avail"),
        ("ordinary", ["--calibrate"], "every expression has a target there"),
        ("ordinary", ["--min_score", "0.5"], "every expression has a target there"),
    ],
)
def test_options_that_do_not_fit_the_set_are_refused(
    tiny_set, generalized, tmp_path, monkeypatch, target, options, fault
):
    lines = generalized / "val.txt" if target == "generalized" else tiny_set.root / "val.txt"
    (tmp_path / "p.jsonl").write_text("{}")
    arguments = ["test.py", "--predictions", str(tmp_path / "p.jsonl"), *options]
    monkeypatch.setattr("sys.argv", [*arguments, "--set", f"evaluate_set={lines}"])
    with pytest.raises(UserError, match=fault):
        test.main()
