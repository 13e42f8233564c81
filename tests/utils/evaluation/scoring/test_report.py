"""Scores of predictions on a prepared set, and the files that they write."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import test as evaluation
from config.errors import UserError
from config.files import file_sha256
from data.loading.annotations import write_annotations
from data.loading.errors import DataError
from data.preparation.manifest import Manifest, write_manifests
from data.preparation.sidecars.ids import ReferentIds, write_ids
from model.weights import save_weights
from tests.test_imports import ROOT
from tests.tiny import IMAGES
from tests.utils.prediction.results import prediction
from utils.evaluation.report import report
from utils.evaluation.scoring import reading
from utils.evaluation.scoring import report as scoring_report
from utils.evaluation.scoring.report import report_predictions
from utils.evaluation.scoring.rows import read_rows
from utils.prediction.prediction import to_record
from utils.visualization.gallery import is_gallery


def plain_iou(a, b):
    """IoU of two boxes of whole numbers by counting pixels."""
    canvas = np.zeros((2, 400, 400), bool)
    for layer, (x1, y1, x2, y2) in zip(canvas, (a, b), strict=True):
        layer[y1:y2, x1:x2] = True
    return canvas.all(axis=0).sum() / canvas.any(axis=0).sum()


@pytest.fixture(scope="module")
def predicted(tiny_set):
    """Rows with a box and mask per expression of val, from right to wrong, and their overlaps."""
    rows, boxes, masks = [], [], []
    for referent in tiny_set.val:
        truth = np.load(tiny_set.masks / f"{referent.mask_id}.npy")
        for expression in referent.expressions:
            shift = 2 * len(rows)
            x1, y1, x2, y2 = referent.box_xyxy_px
            box = [x1 + shift, y1, x2 + shift, y2]
            mask = np.roll(truth, shift // 2, axis=0)
            rows.append({"image": referent.image, "expression": expression, "box_xyxy": box,
                         "mask": encoded(mask), "score": 0.5})  # fmt: skip
            boxes.append(plain_iou(box, referent.box_xyxy_px))
            masks.append(((mask & truth).sum(), (mask | truth).sum()))
    return rows, np.array(boxes), np.array(masks)


def encoded(mask):
    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode()}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def score(tiny_set, path, output, **options):
    settings = options.pop("settings", {})
    results = report_predictions(tiny_set.config(**settings), path, [], output, "scored", **options)
    return results[0], json.loads((output / "scored" / "result.json").read_text())


def test_scores_are_those_of_the_overlaps(tiny_set, predicted, tmp_path, capsys):
    rows, boxes, masks = predicted
    ious = masks[:, 0] / masks[:, 1]
    path = write(tmp_path / "p.jsonl", rows)
    result, written = score(
        tiny_set, path, tmp_path, dump=str(tmp_path / "d.jsonl"), breakdown=True
    )
    assert result["n_expressions"] == 12
    assert result["det_acc"] == pytest.approx((boxes > 0.5).mean())
    assert 0 < result["det_acc"] < 1
    assert result["box_acc"]["0.75"] == pytest.approx((boxes > 0.75).mean())
    assert result["seg_iou"] == pytest.approx(ious.mean(), abs=1e-9)
    assert result["overall_iou"] == pytest.approx(masks[:, 0].sum() / masks[:, 1].sum())
    assert result["seg_prec"]["0.7"] == pytest.approx((ious > 0.7).mean())
    assert result["ie_score"] == pytest.approx(((boxes > 0.5) != (ious > 0.5)).mean())
    assert written["predictions"]["rows"] == 12
    assert written["predictions"]["missing"] == {"count": 0, "first": []}
    assert written["settings"]["predictions"] == str(path)
    assert written["weights_sha256"] is None
    assert "tensorflow" in written["versions"]
    output = capsys.readouterr()
    assert "warning" not in output.err
    assert "size of the object" in output.out
    assert (tmp_path / "scored/result.txt").read_text().startswith(str(tiny_set.root / "val.txt"))
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([line["det_iou"] for line in lines], boxes, atol=1e-6)
    np.testing.assert_array_equal([line["union"] for line in lines], masks[:, 1])
    assert lines[0]["box_xyxy_input"] is None


@pytest.mark.parametrize("form", ["list", "uncompressed", "png", "ref_id", "coco", "dumped"])
def test_forms_of_the_same_predictions(tiny_set, predicted, tmp_path, form):
    rows, _, _ = predicted
    expected, _ = score(tiny_set, write(tmp_path / "p.jsonl", rows), tmp_path / "one")
    path, changed = tmp_path / "q.json", []
    ids = [r.mask_id for r in tiny_set.val for _ in r.expressions]
    for number, row in enumerate(rows):
        row, mask = dict(row), coco_mask.decode(row["mask"])
        if form == "uncompressed":
            flat = mask.T.ravel()  # down the columns
            edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
            runs = np.diff([0, *edges, flat.size]).tolist()
            row["segmentation"] = {"size": list(mask.shape), "counts": runs}
            del row["mask"]
        elif form == "png":
            Image.fromarray(mask * 255).save(tmp_path / f"{number}.png")
            row["mask"] = f"{number}.png"
        elif form == "ref_id":
            row["ref_id"] = ids[number]
            del row["image"]
        elif form == "coco":
            x1, y1, x2, y2 = row.pop("box_xyxy")
            row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        changed.append(row)
    if form == "list":
        path.write_text(json.dumps(changed))
    elif form == "dumped":
        score(tiny_set, tmp_path / "p.jsonl", tmp_path / "one", dump=str(path), dump_masks=True)
    else:
        write(path, changed)
    result, _ = score(tiny_set, path, tmp_path / "two")
    assert result == expected


def test_polygons(tiny_set, tmp_path):
    name, referent = "c.png", next(r for r in tiny_set.val if r.image == "c.png")
    width, height = IMAGES[name]
    row = {"image": name, "expression": referent.expressions[0]}
    path = write(tmp_path / "p.jsonl", [
        row | {"mask": [[0, 0, width, 0, width, height, 0, height]]},
    ])  # fmt: skip
    score(tiny_set, path, tmp_path, dump=str(tmp_path / "d.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    (line,) = [one for one in lines if one["expression"] == row["expression"]]
    truth = np.load(tiny_set.masks / f"{referent.mask_id}.npy")
    assert (line["intersection"], line["union"]) == (truth.sum(), width * height)


@pytest.mark.parametrize("task", ["REC", "RES"])
def test_predictions_of_one_task_have_its_metrics_only(tiny_set, predicted, tmp_path, task):
    key, names = {
        "REC": ("mask", {"det_acc", "box_acc"}),
        "RES": ("box_xyxy", {"seg_iou", "overall_iou", "seg_prec"}),
    }[task]
    rows = [{k: v for k, v in row.items() if k != key} for row in predicted[0]]
    path = write(tmp_path / "p.jsonl", rows)
    # Boxes are compared without images and masks.
    settings = {"image_path": "none", "seg_gt_path": "none"} if task == "REC" else {}
    dump = str(tmp_path / "d.jsonl")
    result, written = score(
        tiny_set, path, tmp_path, settings=settings, dump=dump, dump_masks=task == "RES"
    )
    assert result.keys() == {"n_expressions"} | names
    assert written["intervals_95"].keys() == names
    breakdown = written["breakdown"]
    small = breakdown["box_size"]["small"]
    assert small.keys() - {"n_expressions", "intervals_95"} == names
    assert ("size" in breakdown) == (task == "RES")
    assert ("image_path" in written["settings"]) == (task == "RES")
    line = json.loads((tmp_path / "d.jsonl").read_text().splitlines()[0])
    assert (line["det_iou"] is None, line["seg_iou"] is None) == (task == "RES", task == "REC")
    again, _ = score(tiny_set, tmp_path / "d.jsonl", tmp_path / "again", settings=settings)
    assert again == result


def test_missing_predictions_are_wrong_and_named(tiny_set, predicted, tmp_path, capsys):
    rows, boxes, masks = predicted
    kept = [row for number, row in enumerate(rows) if number not in (0, 3)]
    kept[4] = {k: v for k, v in kept[4].items() if k != "mask"}
    kept += [kept[0], {"image": "z.png", "expression": "cat", "box_xyxy": [0, 0, 1, 1]}]
    path = write(tmp_path / "p.jsonl", kept)
    result, written = score(tiny_set, path, tmp_path)
    right = np.where(np.isin(np.arange(12), (0, 3)), 0, boxes) > 0.5
    assert result["det_acc"] == pytest.approx(right.mean())
    ious = masks[:, 0] / masks[:, 1]
    ious[[0, 3, 6]] = 0  # Number 4 of the rows that are left is number 6.
    assert result["seg_iou"] == pytest.approx(ious.mean(), abs=1e-9)
    counts = written["predictions"]
    first = f'{rows[0]["image"]}: "{rows[0]["expression"]}"'
    assert counts["missing"]["count"] == 2
    assert counts["missing"]["first"][0] == first
    assert counts["duplicate"] == {"count": 1, "first": [f"{path}:11"]}
    assert counts["unknown"]["first"] == [f'{path}:12: no image is named "z.png"']
    assert (counts["without_box"], counts["without_mask"]) == (0, 1)
    printed = capsys.readouterr().err
    assert (
        f"warning: expressions without a prediction, which count as wrong: 2 ({first}; " in printed
    )
    assert f"first ones count: 1 ({path}:11)" in printed
    assert "val.txt: 1 prediction without a mask, which counts as wrong" in printed


def test_categories_have_the_names_of_the_set(tiny_set, tmp_path):
    image = "COCO_train2014_000000581857.jpg"
    (folder := tmp_path / "set").mkdir()
    lines = f"{image} 0,0,9,9,16,1 ~ dog\n{image} 9,9,40,40,1,2 ~ bike\n"
    (folder / "val.txt").write_text(lines)
    path = write(tmp_path / "p.jsonl", [{"ref_id": i, "box_xyxy": [0, 0, 9, 9]} for i in (1, 2)])
    settings = {"evaluate_set": str(folder / "val.txt")}
    _, written = score(tiny_set, path, tmp_path, settings=settings)
    assert written["breakdown"]["category"].keys() == {"category 16", "category 1"}
    names = {"1": "bicycle", "16": "dog"}
    write_manifests(Manifest("refcoco", "unc", {}, False, categories=names), {}, [folder])
    _, written = score(tiny_set, path, tmp_path, settings=settings)
    assert written["breakdown"]["category"].keys() == {"dog", "bicycle"}


@pytest.fixture
def three_splits(tiny_set, tmp_path):
    """A config whose set has the splits val and train, and rows for both."""
    for split in ("val", "train"):
        (tmp_path / f"{split}.txt").write_text((tiny_set.root / f"{split}.txt").read_text())
    rows = {
        split: [
            {"ref_id": r.mask_id, "expression": e, "box_xyxy": list(r.box_xyxy_px)}
            for r in getattr(tiny_set, split)
            for e in r.expressions
        ]
        for split in ("val", "train")
    }
    return tiny_set.config(evaluate_set=str(tmp_path / "val.txt")), rows


def test_each_split_has_its_file(three_splits, tmp_path, capsys):
    config, rows = three_splits
    for split, some in rows.items():
        write(tmp_path / f"p_{split}.jsonl", some)
    path = tmp_path / "p.jsonl"
    results = report_predictions(config, path, ["val", "train"], tmp_path / "out", "mine")
    assert [result["n_expressions"] for result in results] == [12, 9]
    assert all(result["det_acc"] == 1 for result in results)
    table = (tmp_path / "out/mine_splits.txt").read_text()
    assert table.splitlines()[2].split() == ["val", "100.00", "–"]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "mine_val", "mine_train", "mine_splits.txt",
    }  # fmt: skip
    assert "warning" not in capsys.readouterr().err
    (tmp_path / "p_train.jsonl").unlink()
    with pytest.raises(
        UserError, match=r"p\.jsonl: no such file, and neither is .*p_train\.jsonl;"
    ):
        report_predictions(config, path, ["val", "train"], tmp_path / "out", "mine")


def test_one_file_for_all_splits(three_splits, tmp_path, capsys):
    config, rows = three_splits
    shared = {(row["ref_id"], row["expression"]) for row in rows["val"]}
    more = [row for row in rows["train"] if (row["ref_id"], row["expression"]) not in shared]
    path = write(tmp_path / "p.jsonl", [*rows["val"], *more])
    results = report_predictions(config, path, ["val", "train"], tmp_path / "out")
    assert [result["det_acc"] for result in results] == [1, 1]
    assert "warning" not in capsys.readouterr().err
    name = f"{tmp_path.name}_p"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        f"{name}_val", f"{name}_train", f"{name}_splits.txt",
    }  # fmt: skip


def test_results_of_other_predictions_are_replaced_only_on_request(tiny_set, predicted, tmp_path):
    rows = predicted[0]
    path = write(tmp_path / "p.jsonl", rows)
    score(tiny_set, path, tmp_path, pictures=1)
    with Image.open(tmp_path / "scored/pictures.png") as sheet:
        assert sheet.width > 200
    assert is_gallery(tmp_path / "scored/index.html", "test.py")
    other = write(tmp_path / "same.jsonl", rows)
    score(tiny_set, other, tmp_path)
    write(other, rows[:-1])
    before = (tmp_path / "scored/result.json").read_bytes()
    with pytest.raises(
        UserError, match=r"results of other contents of predictions; give .* --name"
    ):
        score(tiny_set, other, tmp_path)
    assert (tmp_path / "scored/result.json").read_bytes() == before
    score(tiny_set, other, tmp_path, overwrite=True)
    assert not (tmp_path / "scored/pictures.png").exists()
    assert not (tmp_path / "scored/index.html").exists()


def test_mask_images_are_part_of_the_predictions(tiny_set, predicted, tmp_path, monkeypatch):
    rows = [dict(row) for row in predicted[0]]
    for number, row in enumerate(rows):
        Image.fromarray(coco_mask.decode(row["mask"]) * 255).save(tmp_path / f"{number}.png")
        row["mask"] = f"{number}.png"
    path = write(tmp_path / "p.jsonl", rows)
    score(tiny_set, path, tmp_path)
    score(tiny_set, path, tmp_path)  # They are the same ones.
    height, width = predicted[0][3]["mask"]["size"]
    empty = Image.new("L", (width, height))
    empty.save(tmp_path / "3.png")
    with pytest.raises(UserError, match=r"results of other contents of mask_images; give .*--name"):
        score(tiny_set, path, tmp_path)

    def meanwhile(self, *arguments):
        measured = measure(self, *arguments)
        Image.new("L", empty.size, 255).save(tmp_path / "3.png")
        return measured

    measure = scoring_report.Scorer.measure
    monkeypatch.setattr(scoring_report.Scorer, "measure", meanwhile)
    with pytest.raises(UserError, match=r": mask images .* changed while they were read; run"):
        score(tiny_set, path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_mask_images_with_other_values_are_counted(tiny_set, predicted, tmp_path, capsys):
    """A soft mask whose background is 1 marks the whole image, one of gray values its border."""
    rows = [dict(row) for row in predicted[0]]
    for number, (low, middle) in enumerate([(1, 255), (1, 255), (0, 40), (0, 255)]):
        mask = coco_mask.decode(rows[number]["mask"])
        soft = np.where(mask > 0, 255, low).astype(np.uint8)
        soft[0, 0] = middle
        Image.fromarray(soft).save(tmp_path / f"{number}.png")
        rows[number]["mask"] = f"{number}.png"
    path = write(tmp_path / "p.jsonl", rows)
    score(tiny_set, path, tmp_path, pictures=1)
    said = capsys.readouterr().err
    assert (
        "warning: mask images without 0, which must be outside: the whole image is the object: "
        f"2 ({path}:1; {path}:2)" in said
    )
    assert f"two values: all values but 0 are the object: 1 ({path}:3)" in said
    assert said.count("mask images") == 2


def test_some_inverted_boxes_are_wrong_and_counted(tiny_set, predicted, tmp_path, capsys):
    rows, boxes, _ = predicted
    changed = [dict(row) for row in rows]
    x1, y1, x2, y2 = changed[1]["box_xyxy"]
    changed[1]["box_xyxy"] = [x2, y1, x1, y2]
    assert boxes[1] > 0.5
    path = write(tmp_path / "p.jsonl", changed)
    result, written = score(tiny_set, path, tmp_path)
    assert result["det_acc"] == pytest.approx(((boxes > 0.5).sum() - 1) / 12)
    assert written["predictions"]["inverted_boxes"] == 1
    assert written["predictions"]["without_box"] == 0
    said = capsys.readouterr().err
    assert f"boxes that end before they begin, which count as wrong: 1 ({path}:2)" in said


def test_boxes_in_another_format_are_doubted(tiny_set, predicted, tmp_path, capsys):
    rows = [{**row, "bbox": row["box_xyxy"]} for row in predicted[0]]
    for row in rows:
        del row["box_xyxy"], row["mask"]
    path = write(tmp_path / "p.jsonl", rows)
    score(tiny_set, path, tmp_path)
    said = capsys.readouterr().err
    assert f"warning: {tiny_set.root / 'val.txt'}: boxes are read as left, top, width" in said


@pytest.mark.parametrize(
    ("key", "kept", "dropped"), [("mask", "box", "mask"), ("box_xyxy", "mask", "box")]
)
def test_pages_say_nothing_about_what_was_not_predicted(
    tiny_set, predicted, tmp_path, key, kept, dropped
):
    rows = [{name: row[name] for name in row if name != key} for row in predicted[0]]
    score(tiny_set, write(tmp_path / "p.jsonl", rows), tmp_path, pictures=2)
    page = (tmp_path / "scored/index.html").read_text().partition("<script>")[0]
    assert page.count("<figure") == 6
    assert page.count(f"mean {kept} IoU") == 3
    for unsaid in (f"{dropped} IoU", f"{dropped.title()} IoU", f"{dropped} wrong", "onsisten"):
        assert unsaid not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": {"size": [9, 9], "counts": [81]}}, r":1: key 'mask': the run lengths have"),
        ({"mask": "none.png"}, r"p\.jsonl:1: key 'mask': .*none\.png: no such file"),
        ({"segmentation": [[1, 2]], "mask": None}, r":1: key 'segmentation': a polygon needs"),
        ({"box_xyxy": None, "mask": None}, r"p\.jsonl: holds neither boxes nor masks"),
    ],
)  # fmt: skip
def test_predictions_that_cannot_be_used(tiny_set, predicted, tmp_path, change, message):
    path = write(tmp_path / "p.jsonl", [predicted[0][0] | change])
    with pytest.raises(UserError, match=message):
        score(tiny_set, path, tmp_path)
    assert not (tmp_path / "scored").exists()


def test_records_of_predict_are_read_as_they_are(tiny_set, predicted, tmp_path):
    rows, _, _ = predicted
    records = []
    for row in rows:
        mask = coco_mask.decode(row["mask"]).astype(bool)
        found = prediction(row["expression"], box_xyxy=np.array(row["box_xyxy"], float), mask=mask)
        records.append(to_record(tiny_set.images / row["image"], found) | {"mask": "1_mask.png"})
    nothing = prediction(rows[0]["expression"], mask=np.ones((60, 80), bool), min_score=0.9)
    records[0] = to_record(rows[0]["image"], nothing)
    result, written = score(tiny_set, write(tmp_path / "p.jsonl", records), tmp_path)
    expected, _ = score(tiny_set, write(tmp_path / "q.jsonl", rows[1:]), tmp_path / "other")
    assert result == expected
    assert written["predictions"]["without_box"] == 1
    assert written["predictions"]["missing"]["count"] == 0


def test_predictions_that_change_while_they_are_read_are_refused(
    tiny_set, predicted, tmp_path, monkeypatch
):
    path = write(tmp_path / "p.jsonl", predicted[0])

    def meanwhile(file):
        rows = read_rows(file)
        write(file, predicted[0][:3])
        return rows

    monkeypatch.setattr(reading, "read_rows", meanwhile)
    with pytest.raises(UserError, match=r"p\.jsonl changed while it was read; run the same"):
        score(tiny_set, path, tmp_path)
    assert not (tmp_path / "scored").exists()


def test_images_that_cannot_be_used_are_skipped_on_request(tiny_set, predicted, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (images / name).write_bytes((tiny_set.images / name).read_bytes())
    path, settings = write(tmp_path / "p.jsonl", predicted[0]), {"image_path": str(images)}
    with pytest.raises(DataError, match=r"d\.png: no such image"):
        score(tiny_set, path, tmp_path, settings=settings)
    skip = settings | {"on_bad_sample": "skip"}
    result, written = score(tiny_set, path, tmp_path, settings=skip)
    assert result["n_expressions"] == 10
    assert [(one["image"], one["expressions"]) for one in written["skipped"]] == [("d.png", 2)]
    assert "1 image with 2 expressions cannot be used" in capsys.readouterr().err
    for name in ("a.png", "b.png", "c.png"):
        (images / name).unlink()
    with pytest.raises(DataError, match="no image of the set can be used"):
        score(tiny_set, path, tmp_path / "none", settings=skip)


@pytest.mark.slow
def test_a_dump_scores_as_its_network(tiny_set, network, tmp_path):
    weights, dump = tmp_path / "tiny.weights.h5", tmp_path / "d.jsonl"
    save_weights(network(), weights)
    config = tiny_set.config(segment_thresh=0.4, det_acc_thresh=0.2)
    report(config, tmp_path / "network", weights, dump, dump_masks=True)
    expected = json.loads((tmp_path / "network/result.json").read_text())
    settings = {"det_acc_thresh": 0.2}
    result, written = score(tiny_set, dump, tmp_path, settings=settings)
    for key, value in result.items():
        assert value == pytest.approx(expected[key], abs=1e-12), key
    assert written["breakdown"] == expected["breakdown"]
    assert written["settings"]["input_size"] == 96
    with pytest.raises(UserError, match=r"d\.jsonl:1: box_xyxy .* in an input of 416 pixels; give"):
        score(tiny_set, dump, tmp_path / "other", settings=settings | {"input_size": 416})
    # Those of one network are never mistaken for those of another system.
    with pytest.raises(UserError, match="holds the results of other weights"):
        report(config, tmp_path / "scored", weights)


RUN = """
import runpy, sys
sys.argv = {arguments!r}
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as stop:
    print("EXIT", stop.code, sorted(set(sys.modules) & {{"tensorflow", "keras"}}))
"""


def test_the_command_does_not_load_tensorflow(tiny_set, predicted, tmp_path):
    path = write(tmp_path / "p.jsonl", predicted[0])
    settings = [f"{key}={value}" for key, value in tiny_set.paths.items() if "set" in key
                or key in ("image_path", "seg_gt_path")]  # fmt: skip
    arguments = ["test.py", "--predictions", str(path), "--output", str(tmp_path), "--name", "x",
                 "--set", *settings]  # fmt: skip
    code = RUN.format(arguments=arguments, script=str(ROOT / "test.py"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.splitlines()[-1] == "EXIT 0 []", done.stdout + done.stderr
    assert "Acc@0.5:0.95" in done.stdout
    both = RUN.format(arguments=[*arguments[:3], "--weights", "w.h5"], script=str(ROOT / "test.py"))
    done = subprocess.run(
        [sys.executable, "-c", both], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert "--predictions needs no network; leave out --weights" in done.stderr


def test_predictions_need_no_engine(monkeypatch, capsys):
    command = ["test.py", "--predictions", "p.jsonl", "--engine", "openvino"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        evaluation.main()
    assert "needs no network; leave out --engine and --precision" in capsys.readouterr().err


def test_rows_are_matched_by_the_ids_beside_the_lines(tiny_set, tmp_path):
    lines = tmp_path / "val.txt"
    write_annotations(lines, tiny_set.val)
    ids, rows = [], []
    for referent in tiny_set.val:
        first = len(rows)
        rows += [
            {"sent_id": first + k, "box_xyxy": referent.box_xyxy_px}
            for k in range(len(referent.expressions))
        ]
        pairs = tuple(enumerate(referent.expressions, start=first))
        ids.append(ReferentIds(referent.mask_id, (referent.mask_id + 50,), pairs))
    write_ids(tmp_path, ids)
    path = write(tmp_path / "p.jsonl", rows[::-1])
    settings = {"evaluate_set": str(lines)}
    result, written = score(tiny_set, path, tmp_path / "out", settings=settings)
    assert result["det_acc"] == 1
    assert written["predictions"]["missing"]["count"] == 0
    assert written["data_sha256"]["ids.jsonl"] == file_sha256(tmp_path / "ids.jsonl")

    (tmp_path / "ids.jsonl").unlink()
    with pytest.raises(UserError, match=r"p\.jsonl:1: key 'sent_id': there is no ids\.jsonl"):
        score(tiny_set, path, tmp_path / "out", settings=settings)
