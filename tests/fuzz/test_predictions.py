"""Predictions and dumps from strangers: files of test.py --predictions and of the comparison."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from config.errors import UserError
from data.loading.annotations import Referent
from data.loading.masks import open_masks, write_masks
from data.preparation.sidecars.ids import ReferentIds
from tests.fuzz.mutation import VALUES, damaged_bytes, damaged_value
from tests.limits import memory_within
from tests.utils.evaluation.cases import case
from utils.evaluation.breakdown.differences import changed, differences, pair, read_dump
from utils.evaluation.scoring.matching import match
from utils.evaluation.scoring.rows import read_rows
from utils.evaluation.scoring.scorer import Scorer

WIDTH, HEIGHT = 40, 30
REFERENTS = [
    Referent("a.png", (3, 4, 20, 18), 0, 1, ("red box", "left one")),
    Referent("a.png", (20, 4, 36, 28), 0, 2, ("red box",)),
]
RUNS = {"size": [HEIGHT, WIDTH], "counts": [100, 200, 900]}
ROWS = [
    {"image": "a.png", "expression": "red box", "box_xyxy": [1, 2, 30, 20.5], "mask": RUNS},
    {"ref_id": 1, "expression": "left one", "bbox": [1, 2, 3, 4], "format": "xyxy", "score": 0.5},
    {"ref_id": 2, "segmentation": [[3, 4, 20.5, 4, 20, 18, 9, 25.25]]},
    {"sent_id": 7, "ann_id": "5_1", "box_xyxy": [1, 2, 30, 20.5]},
    {"id": 2, "pred_bbox": [1, 2, 3, 4], "format": "xywh", "mask": "none.png"},
]
IDS = {1: ReferentIds(1, ("5_1",), ((7, "red box"), (8, "left one")))}
DUMP = [case(index, expression=f"box {index}").to_json() for index in range(3)]


@pytest.fixture(autouse=True)
def bounded_memory():
    with memory_within(300_000_000):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4:18, 3:20] = 1
    write_masks(folder, [(1, mask), (2, mask)])
    return folder


def score(folder):
    """Whatever is read is scored; faults are errors for people."""
    try:
        rows = read_rows(folder / "p.jsonl")
        matches = match(rows, [REFERENTS], IDS)
        scorer = Scorer(REFERENTS, matches.sets[0].rows, ("REC", "RES"), folder,
                        open_masks(folder), 416)  # fmt: skip
        measured = scorer.measure(1)
    except UserError:
        return
    assert len(measured) == 3
    for one in measured:
        assert 0 <= one.det_iou <= 1
        assert 0 <= one.seg_iou <= 1
        json.dumps(one.to_json(), allow_nan=False)


@given(damaged_value(ROWS))
def test_damaged_rows(folder, rows):
    (folder / "p.jsonl").write_text(json.dumps(rows), encoding="utf-8")
    score(folder)


@given(st.lists(st.dictionaries(st.sampled_from([*{k for r in ROWS for k in r}]), VALUES),
                min_size=1, max_size=3))  # fmt: skip
def test_any_values(folder, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "p.jsonl").write_text(text, encoding="utf-8")
    score(folder)


@given(damaged_bytes("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
def test_damaged_files(folder, content):
    (folder / "p.jsonl").write_bytes(content)
    score(folder)


@given(damaged_value(DUMP))
def test_damaged_dumps(folder, rows):
    path, lines = folder / "d.jsonl", rows if isinstance(rows, list) else [rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    with contextlib.suppress(UserError):
        pairs = pair(read_dump(path), DUMP)
        for one in differences(pairs, 0.5):
            assert -1 <= one.first - one.second <= 1
        changed(pairs, pairs.tasks[0], 0.5)
