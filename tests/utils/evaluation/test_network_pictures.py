"""Which pictures are drawn, and in which order."""

import dataclasses
import html
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.tiny import NETWORK, UNKNOWN_WORD
from tests.utils.evaluation import cases
from utils.evaluation.evaluator import build_evaluator
from utils.evaluation.network_pictures import draw_panels, draw_pictures
from utils.evaluation.results import pictures
from utils.evaluation.results.pictures import (
    heading,
    rank,
    rank_photographs,
    sheet_and_page,
)
from utils.visualization.drawing import draw_prediction
from utils.visualization.gallery import Card
from utils.visualization.panels import contact_sheet

WORD_LEN = NETWORK["word_len"]


@pytest.fixture(scope="module")
def evaluated(tiny_set, grounder):
    """(evaluator, grounder, every `Measurement` in the order of the set, with masks)."""
    evaluator = build_evaluator(tiny_set.config())
    measured = evaluator.measure(grounder, WORD_LEN, keep_masks=True)
    return evaluator, grounder, sorted(measured, key=lambda case: case.index)


def picture(case, tiny_set):
    words = case.expression.split()
    return draw_prediction(
        np.asarray(Image.open(tiny_set.images / case.image).convert("RGB")),
        case.expression, case.box_xyxy, case.mask, case.true_box_xyxy, case.true_mask,
        case.score, case.det_iou, case.seg_iou,
        unknown_words=[word for word in words if word == UNKNOWN_WORD],
        unread_words=words[WORD_LEN:],
    )  # fmt: skip


def test_pictures_of_chosen_expressions_in_their_order(evaluated, tiny_set):
    evaluator, grounder, measured = evaluated
    chosen = [9, 0, 4]
    panels = draw_panels(evaluator, grounder, WORD_LEN, chosen)
    assert len(panels) == 3
    for panel, index in zip(panels, chosen, strict=True):
        expected = picture(measured[index], tiny_set)
        assert panel.shape == expected.shape
        # Numbers below the picture may differ in their last digit with another batch size.
        assert np.mean(panel != expected) < 0.02
    assert np.mean(picture(measured[9], tiny_set)[:60, :40] != panels[1][:60, :40]) > 0.5


def test_best_median_and_worst_of_different_photographs():
    images = ["a", "a", "b", "b", "c", "d", "e", "f", "g"]
    quality = dict(enumerate([0.9, 0.8, 0.7, 0.1, 0.6, 0.5, 0.4, 0.3, 0.2]))
    # In order: a a b c d e f g b; the worst of b is its only one, the median is d, then c or e.
    assert rank_photographs(quality, images, 1) == {"best": [0], "median": [5], "worst": [3]}
    two = rank_photographs(quality, images, 2)
    assert two == {"best": [0, 2], "median": [5, 4], "worst": [8, 7]}
    assert rank_photographs(quality, images, 100) == two  # Seven photographs for three kinds.
    assert rank_photographs({4: 1.0, 1: 2.0}, images, 5) == {"best": [1], "worst": [4]}
    assert rank_photographs({4: 1.0}, images, 5) == {"best": [4]}
    assert rank_photographs({}, images, 5) == {}


def test_best_median_and_worst(evaluated, tiny_set):
    evaluator, grounder, measured = evaluated
    ranks = [5, 2, 8, 0, 10, 7, 1, 9, 3, 6, 4, 11]  # of the expressions, in the order of the set
    graded = [
        dataclasses.replace(case, det_iou=1 - rank / 20, seg_iou=0.5 - rank / 40)
        for case, rank in zip(measured, ranks, strict=True)
    ]
    best_first = sorted(range(12), key=lambda index: ranks[index])
    expected = {"best": best_first[:2], "median": best_first[5:7], "worst": best_first[-2:]}
    ranked = rank(graded, 2)
    assert {kind: [case.index for case in cases] for kind, cases in ranked.items()} == expected
    # Ranks 0 and 1: box IoU 1 and 0.95, mask IoU 0.5 and 0.475.
    text = "best 2 of 12: mean box IoU 0.97, mean mask IoU 0.49"
    assert heading("best", ranked["best"], 12) == text
    sheet, page = draw_pictures(evaluator, grounder, WORD_LEN, graded, 2, "tiny val")
    panels = {
        heading(kind, ranked[kind], 12): draw_panels(evaluator, grounder, WORD_LEN, indices)
        for kind, indices in expected.items()
    }
    wanted = contact_sheet(panels, 2, "tiny val: 12 expressions")
    assert sheet.shape == wanted.shape
    assert np.mean(sheet != wanted) < 0.01
    shown = re.findall("<li>(.*?)</li>", bytes(page).decode())
    texts = [re.sub("<[^>]*>", "", text) for text in shown]
    indices = [index for kind in expected.values() for index in kind]
    assert texts == [measured[index].expression for index in indices]
    assert bytes(page).decode().count("data:image/jpeg;base64,") == 6


def test_the_page_says_what_is_inconsistent(evaluated):
    evaluator, grounder, measured = evaluated
    _, page = draw_pictures(evaluator, grounder, WORD_LEN, measured, 12, "tiny val")
    figures = bytes(page).decode().split("<figure")[1:]
    assert len(figures) == 12  # Each expression once, although all are of all three kinds.
    by_text = {}
    for figure in figures:
        groups, values = (
            json.loads(html.unescape(re.search(f'data-{name}="(.*?)"', figure)[1]))
            for name in ("groups", "values")
        )
        by_text[html.unescape(re.search('data-words="(.*?)"', figure)[1]).strip()] = groups, values
    for case in measured:
        groups, values = by_text[case.expression]
        box, mask = case.det_iou > 0.5, case.seg_iou > 0.5
        assert groups["Consistency"] == ["consistent" if box == mask else "inconsistent"]
        names = ["wrong", "right"]
        assert groups["Rank"] == ["best", "median", "worst"]
        assert groups["Answer"] == [f"box {names[box]}, mask {names[mask]}"]
        assert values["Box IoU"] == pytest.approx(case.det_iou, abs=1e-4)
        assert values["Mask IoU"] == pytest.approx(case.seg_iou, abs=0.01)


def test_a_sheet_shows_few_and_the_page_all(evaluated, monkeypatch):
    evaluator, grounder, measured = evaluated
    monkeypatch.setattr(pictures, "MOST_ON_SHEET", 1)
    sheet, page = draw_pictures(evaluator, grounder, WORD_LEN, measured, 3, "tiny val")
    assert bytes(page).decode().count("<figure") == 9
    assert sheet.shape[1] == 480 + 2 * 16  # one column and the gaps of 1/30 beside it


def test_a_sheet_of_few_shows_the_very_best_median_and_worst(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_ON_SHEET", 1)
    monkeypatch.setattr(pictures, "CARDS_AT_ONCE", 3)
    measured = [cases.case(index, det_iou=0.9 - index / 10, seg_iou=0.5) for index in range(9)]
    drawn = []

    class Painter:
        @staticmethod
        def panel(case):
            drawn.append(case.index)
            return np.zeros((10, 480, 3), np.uint8)

        @staticmethod
        def card(case, kinds, n_cards):
            return Card("", (0, 0), (f"{kinds} {case.index} of {n_cards}",))

    _, page = sheet_and_page(
        measured, 3, "nine", Painter(), lambda indices: [measured[k] for k in indices]
    )
    assert drawn == [0, 4, 8]
    shown = re.findall("<li>(.*?)</li>", html.unescape(bytes(page).decode()))
    kinds = ["best"] * 3 + ["median"] * 3 + ["worst"] * 3
    assert shown == [f"['{kind}'] {index} of 9" for index, kind in enumerate(kinds)]
    _, small = sheet_and_page(
        measured[:4], 2, "four", Painter(), lambda indices: [measured[k] for k in indices[::-1]]
    )
    # Two of each: the second best is a median one, too, and so is the third.
    assert re.findall("<li>(.*?)</li>", html.unescape(bytes(small).decode())) == [
        "['best'] 0 of 4", "['best', 'median'] 1 of 4", "['median', 'worst'] 2 of 4",
        "['worst'] 3 of 4",
    ]  # fmt: skip
    assert "best 3 of 9: mean box IoU 0.80" in bytes(page).decode()


def test_a_set_smaller_than_the_row(evaluated):
    evaluator, grounder, measured = evaluated
    part = evaluator.restricted([0, 1])
    ranked = rank(measured[:2], 5)
    assert [len(cases) for cases in ranked.values()] == [2, 2, 2]
    sheet, page = draw_pictures(part, grounder, WORD_LEN, measured[:2], 5, "tiny val")
    assert bytes(page).decode().count("<figure") == 2
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3
