"""Evaluation gives the results of a plain loop that runs the whole network per expression."""

import dataclasses
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.letterbox import letterbox_image
from data.loading.masks import open_masks, write_masks
from model.mcn import build_mcn
from tests.limits import memory_within
from tests.tiny import ANCHORS, IMAGES, NETWORK, UNKNOWN_WORD, network_config
from utils.evaluation.evaluator import build_evaluator
from utils.evaluation.metrics import PRECISION_THRESHOLDS
from utils.prediction.grounder import Grounder, NotFiniteError

SIDE, WORD_LEN = NETWORK["input_size"], NETWORK["word_len"]


def vectors_of(expression, words):
    vectors = np.zeros((1, WORD_LEN, NETWORK["embed_dim"]), np.float32)
    for place, word in enumerate(expression.split()[:WORD_LEN]):
        vectors[0, place] = words.get(word, 0.0)
    return vectors


def top_box(raw):
    """(x1, y1, x2, y2) in input pixels, and score, of the most confident cell and anchor."""
    raw = raw.reshape(3, 3, 3, 5).astype(np.float64)
    row, column, anchor = np.unravel_index(raw[..., 4].argmax(), (3, 3, 3))
    tx, ty, tw, th, logit = raw[row, column, anchor]
    center = (1 / (1 + np.exp([-tx, -ty])) + (column, row)) * 32
    half = np.exp([tw, th]) * ANCHORS[anchor] / 2
    return np.concatenate([center - half, center + half]), 1 / (1 + np.exp(-logit))


def iou_of_boxes(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return (width * height + 1e-7) / (areas - width * height + 1e-7)


def run_network(model, tiny_set, referent, expression):
    """Raw boxes (3, 3, 15) and mask logits (12, 12, 1)."""
    image = letterbox_image(Image.open(tiny_set.images / referent.image), SIDE)
    batch = {
        "image": image.astype(np.float32)[None] / 255,
        "words": vectors_of(expression, tiny_set.words),
    }
    outputs = model(batch)
    return np.array(outputs["boxes"][0]), np.array(outputs["mask"][0])


def one_expression(raw_boxes, logits, tiny_set, referent, expression, use_nls, thresh):
    width, height = IMAGES[referent.image]
    scale = min(SIDE / width, SIDE / height)
    new_width, new_height = int(width * scale), int(height * scale)
    left, top = (SIDE - new_width) // 2, (SIDE - new_height) // 2
    offset = np.array([left, top, left, top])
    box, score = top_box(raw_boxes)
    rounded = np.floor(box + 0.5)
    rounded[:2], rounded[2:] = np.maximum(rounded[:2], 0), np.minimum(rounded[2:], SIDE)

    square = cv2.resize(1 / (1 + np.exp(-logits)), (SIDE, SIDE))
    if use_nls:
        x1, y1, x2, y2 = rounded.astype(int)
        weight = np.full((SIDE, SIDE), score, np.float32)
        weight[y1 : y2 + 1, x1 : x2 + 1] = 2 - score
        square = square * weight
    inner = square[top : top + new_height, left : left + new_width]
    mask = cv2.resize(inner, (width, height)) > thresh
    truth = np.load(tiny_set.masks / f"{referent.mask_id}.npy") > 0
    intersection, union = int((mask & truth).sum()), int((mask | truth).sum())
    return {
        "image": referent.image,
        "expression": expression,
        "box_xyxy": (box - offset) / scale,
        "box_xyxy_input": rounded,
        "score": score,
        "det_iou": iou_of_boxes(rounded, np.array(referent.box_xyxy_px) * scale + offset),
        "seg_iou": (intersection + 1e-10) / (union + 1e-10),
        "intersection": intersection,
        "union": union,
        "mask": mask,
    }


@pytest.fixture(scope="module")
def plain_loop(network, tiny_set):
    """Function (use_nls, thresh) → results of all expressions, in the order of the set."""
    model = tf.function(network())
    predictions = [
        (run_network(model, tiny_set, referent, expression), referent, expression)
        for referent in tiny_set.val
        for expression in referent.expressions
    ]

    def measured(use_nls, thresh):
        return [
            one_expression(*outputs, tiny_set, referent, expression, use_nls, thresh)
            for outputs, referent, expression in predictions
        ]

    return measured


def summary(rows, det_thresh):
    boxes = np.array([row["det_iou"] for row in rows])
    det = boxes > det_thresh
    seg = np.array([row["seg_iou"] for row in rows])
    total = {key: sum(row[key] for row in rows) for key in ("intersection", "union")}
    return {
        "n_expressions": len(rows),
        "det_acc": det.mean(),
        "box_acc": {
            "0.75": (boxes > 0.75).mean(),
            "0.9": (boxes > 0.9).mean(),
            "0.5:0.95": np.mean([(boxes > t).mean() for t in PRECISION_THRESHOLDS]),
        },
        "seg_iou": seg.mean(),
        "overall_iou": total["intersection"] / total["union"],
        "seg_prec": {f"{t:g}": (seg > t).mean() for t in PRECISION_THRESHOLDS},
        "ie_score": (det != (seg > 0.5)).mean(),
    }


def evaluator_of(tiny_set, **changes):
    return build_evaluator(tiny_set.config(**changes))


def check_rows(measurements, expected):
    assert len(measurements) == len(expected)
    for ours, wanted in zip(measurements, expected, strict=True):
        assert (ours.image, ours.expression) == (wanted["image"], wanted["expression"])
        np.testing.assert_allclose(ours.box_xyxy, wanted["box_xyxy"], atol=1e-3)
        np.testing.assert_array_equal(ours.box_xyxy_input, wanted["box_xyxy_input"])
        for key in ("score", "det_iou", "seg_iou"):
            assert getattr(ours, key) == pytest.approx(wanted[key], abs=1e-5), key
        assert (ours.intersection, ours.union) == (wanted["intersection"], wanted["union"])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize(("use_nls", "thresh"), [(1, 0.35), (0, 0.55)])
def test_same_as_a_plain_loop(tiny_set, grounder, plain_loop, batch_size, use_nls, thresh):
    expected = plain_loop(use_nls, thresh)
    evaluator = evaluator_of(
        tiny_set, eval_batch_size=batch_size, use_nls=use_nls, segment_thresh=thresh,
        det_acc_thresh=0.2,
    )  # fmt: skip
    seen = []
    result = evaluator.evaluate(grounder, WORD_LEN, on_measured=seen.append)
    check_rows(sorted(seen, key=lambda case: case.index), expected)
    assert [case.index for case in seen] != list(range(len(seen)))  # image by image
    wanted = summary(expected, det_thresh=0.2)
    assert result.keys() == wanted.keys()
    for key, value in wanted.items():
        assert result[key] == pytest.approx(value, abs=1e-5), key


def test_the_plain_loop_covers_the_interesting_cases(plain_loop):
    rows = plain_loop(1, 0.35)
    assert len(rows) == 12
    assert any(UNKNOWN_WORD in row["expression"] for row in rows)
    assert any(len(row["expression"].split()) > WORD_LEN for row in rows)
    assert np.ptp([row["score"] for row in rows]) > 0.01
    assert np.ptp([row["seg_iou"] for row in rows]) > 0.1
    assert {row["det_iou"] > 0.2 for row in rows} == {True, False}
    assert {row["image"] for row in rows} == set(IMAGES)


def test_masks_are_kept_on_request(tiny_set, grounder, plain_loop):
    evaluator = evaluator_of(tiny_set)
    cases = sorted(evaluator.measure(grounder, WORD_LEN, keep_masks=True), key=lambda c: c.index)
    truths = [referent for referent in tiny_set.val for _ in referent.expressions]
    for ours, wanted, referent in zip(cases, plain_loop(1, 0.35), truths, strict=True):
        assert np.mean(ours.mask != wanted["mask"]) < 1e-3
        truth = np.load(tiny_set.masks / f"{referent.mask_id}.npy")
        np.testing.assert_array_equal(ours.true_mask, truth)
        assert tuple(ours.true_box_xyxy) == referent.box_xyxy_px
    without = next(evaluator.measure(grounder, WORD_LEN))
    assert without.mask is None
    assert without.true_mask is None


def test_restricted_to_some_expressions(tiny_set, grounder, plain_loop):
    rows = plain_loop(0, 0.55)
    evaluator = evaluator_of(tiny_set, use_nls=0, segment_thresh=0.55, det_acc_thresh=0.2)
    chosen = [7, 0, 3, 10, 1]
    part = evaluator.restricted(chosen)
    assert part.n_expressions == 5
    cases = sorted(part.measure(grounder, WORD_LEN), key=lambda case: case.index)
    check_rows(cases, [rows[index] for index in chosen])
    result = part.evaluate(grounder, WORD_LEN)
    assert result["det_acc"] == summary([rows[i] for i in chosen], 0.2)["det_acc"]


def test_a_set_can_be_evaluated_repeatedly(tiny_set, grounder):
    evaluator = evaluator_of(tiny_set)
    assert evaluator.evaluate(grounder, WORD_LEN) == evaluator.evaluate(grounder, WORD_LEN)


@pytest.mark.parametrize("on_bad_sample", ["error", "skip"])
def test_a_network_that_computes_no_numbers_is_not_evaluated(tiny_set, on_bad_sample):
    model = build_mcn(network_config())
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    with pytest.raises(NotFiniteError, match=r"^[abcd]\.png: the network computes NaN"):
        evaluator_of(tiny_set, on_bad_sample=on_bad_sample).evaluate(
            Grounder(model, ANCHORS), WORD_LEN
        )


@pytest.fixture
def dirty(tiny_set, tmp_path):
    """Settings of the set with a damaged image and a missing mask of another image."""
    shutil.copytree(tiny_set.images, tmp_path / "images")
    shutil.copytree(tiny_set.masks, tmp_path / "masks")
    (tmp_path / "images/d.png").write_bytes((tiny_set.images / "d.png").read_bytes()[:900])
    (tmp_path / "masks/5.npy").unlink()  # in b.png
    return {"image_path": str(tmp_path / "images"), "seg_gt_path": str(tmp_path / "masks")}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_expressions_of_bad_images_are_left_out_on_request(
    tiny_set, grounder, plain_loop, dirty, batch_size
):
    with pytest.raises(DataError, match=r"(d\.png: not a readable|5\.npy: no such mask)"):
        evaluator_of(tiny_set, **dirty).evaluate(grounder, WORD_LEN)
    evaluator = evaluator_of(
        tiny_set, **dirty, on_bad_sample="skip", eval_batch_size=batch_size, det_acc_thresh=0.2
    )
    expected = [row for row in plain_loop(1, 0.35) if row["image"] in ("a.png", "c.png")]
    for _ in range(2):
        seen = []
        result = evaluator.evaluate(grounder, WORD_LEN, on_measured=seen.append)
        check_rows(sorted(seen, key=lambda case: case.index), expected)
        wanted = summary(expected, det_thresh=0.2)
        assert result["n_expressions"] == len(expected)
        assert result["det_acc"] == pytest.approx(wanted["det_acc"])
        first, second = evaluator.skipped()
        assert (first["image"], first["expressions"]) == ("d.png", 2)
        assert first["reason"].startswith(f"{dirty['image_path']}/d.png: not a readable image")
        assert (second["image"], second["expressions"]) == ("b.png", 3)
        assert second["reason"].startswith(f"{dirty['seg_gt_path']}/5.npy: no such mask")


def test_a_set_without_a_single_usable_image_is_an_error(tiny_set, grounder, tmp_path):
    evaluator = evaluator_of(tiny_set, image_path=str(tmp_path), on_bad_sample="skip")
    with pytest.raises(DataError, match=r"no image of the set can be used, .*: no such image"):
        evaluator.evaluate(grounder, WORD_LEN)


def many_expressions(folder, size, count):
    """Referents on one image, each with a mask and an expression of its own."""
    Image.new("RGB", size, (40, 90, 160)).save(folder / "large.png")
    mask = np.zeros(size[::-1], np.uint8)
    mask[10:30, 5:40] = 1
    write_masks(folder, [(0, mask)])
    path = folder / "masks.jsonl"
    line = path.read_text()
    path.write_text("".join(line.replace('"id": 0', f'"id": {n}') for n in range(count)))
    return [
        Referent("large.png", (5, 10, 40, 30 + number % 7), 0, number, (f"red box {number}",))
        for number in range(count)
    ]


def test_more_expressions_than_opencv_has_channels(tiny_set, grounder, tmp_path):
    referents = many_expressions(tmp_path, (60, 50), 300)
    evaluator = evaluator_of(tiny_set)
    evaluator = dataclasses.replace(
        evaluator, referents=referents, image_path=tmp_path, masks=open_masks(tmp_path)
    )
    cases = list(evaluator.measure(grounder, WORD_LEN))
    assert [case.index for case in cases] == list(range(300))
    for index in (0, 150, 299):  # The same as alone.
        alone = dataclasses.replace(evaluator, referents=[referents[index]])
        [case] = alone.measure(grounder, WORD_LEN)
        assert case.union == cases[index].union
        np.testing.assert_allclose(case.box_xyxy, cases[index].box_xyxy, atol=1e-3)


@pytest.mark.parametrize(
    "count", [pytest.param(50, marks=pytest.mark.slow), pytest.param(500, marks=pytest.mark.soak)]
)
def test_memory_of_many_expressions_on_a_large_image(tiny_set, grounder, tmp_path, count):
    referents = many_expressions(tmp_path, (4000, 3000), count)
    evaluator = dataclasses.replace(
        evaluator_of(tiny_set), referents=referents, image_path=tmp_path, masks=open_masks(tmp_path)
    )
    few = dataclasses.replace(evaluator, referents=referents[:3])
    list(few.measure(grounder, WORD_LEN))
    with memory_within(400_000_000):  # As an array, each mask has 12 MB, each map 48 MB.
        assert len(list(evaluator.measure(grounder, WORD_LEN))) == count


class CountingGrounder:
    """A grounder that counts the expressions it encodes."""

    def __init__(self, grounder):
        self._grounder, self.encoded = grounder, 0

    def __getattr__(self, name):
        return getattr(self._grounder, name)

    def encode_words(self, words):
        self.encoded += len(words)
        return self._grounder.encode_words(words)


@pytest.mark.parametrize("kept", [4096, 1])
def test_an_expression_is_encoded_once(tiny_set, grounder, plain_loop, monkeypatch, kept):
    monkeypatch.setattr("utils.evaluation.text_features.EXPRESSIONS_KEPT", kept)
    rows = plain_loop(1, 0.35)
    # Batches of one image: the same two expressions, of different images, twice.
    chosen = [0, 11, 0, 11]
    assert rows[0]["image"] != rows[11]["image"]
    assert rows[0]["expression"] != rows[11]["expression"]
    evaluator = evaluator_of(tiny_set, eval_batch_size=1).restricted(chosen)
    evaluator.groups = [
        group
        for index in range(len(chosen))
        for group in evaluator_of(tiny_set).restricted(chosen[index : index + 1]).groups
    ]
    counted = CountingGrounder(grounder)
    cases = list(evaluator.measure(counted, WORD_LEN))
    check_rows(cases, [rows[index] for index in chosen])
    assert counted.encoded == (2 if kept > 1 else 4)


def test_another_set_by_its_path(tiny_set):
    evaluator = build_evaluator(tiny_set.config(), set_path=str(tiny_set.root / "train.txt"))
    assert evaluator.n_expressions == sum(len(r.expressions) for r in tiny_set.train)


def test_dump_lines(tiny_set, grounder):
    case = next(evaluator_of(tiny_set).measure(grounder, WORD_LEN))
    case = dataclasses.replace(case, box_xyxy=(1.23456, 2, 3, 4), score=0.1234567)
    line = case.to_json()
    assert line["box_xyxy"] == [1.235, 2.0, 3.0, 4.0]
    assert line["score"] == 0.1234567
    assert all(type(v) is int for v in line["box_xyxy_input"])
    assert list(line) == [
        "image", "expression", "box_xyxy", "box_xyxy_input", "score", "det_iou", "seg_iou",
        "ref_id", "true_box_xyxy", "intersection", "union",
    ]  # fmt: skip


def test_the_parts_of_a_set_know_their_positions(tiny_set):
    evaluator = evaluator_of(tiny_set)
    pairs = [(r, text) for r in evaluator.referents for text in r.expressions]
    for count in (1, 2, 3):
        found = []
        for index in range(count):
            part = evaluator.part(index, count)
            places = evaluator.positions(index, count)
            own = [(r, text) for r in part.referents for text in r.expressions]
            assert [pairs[place] for place in places] == own
            found += places
        assert sorted(found) == list(range(len(pairs)))
