"""The command that compares two dumps."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from config.errors import UserError
from data.loading.errors import DataError
from tests.utils.evaluation.cases import case
from utils.evaluation import compare
from utils.evaluation.results.measurement import encode_mask


@pytest.fixture
def dumps(tmp_path):
    """Two dumps of three expressions; the second one has masks."""
    Image.new("RGB", (40, 30), (90, 120, 40)).save(tmp_path / "a.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 5:30] = 1
    rows = [case(index, expression=f"box {index}") for index in range(3)]
    other = [
        case(0, expression="box 0", run_lengths=encode_mask(mask)),
        case(1, expression="box 1", det_iou=0.1, seg_iou=0.2, run_lengths=encode_mask(mask)),
        case(2, expression="box 2", det_iou=0.7, box_xyxy=None, run_lengths=encode_mask(mask)),
    ]
    paths = [str(tmp_path / name) for name in ("first.jsonl", "second.jsonl")]
    for path, cases in zip(paths, (rows, other), strict=True):
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(one.to_json()) + "\n" for one in cases)
    return paths


@pytest.fixture
def run(monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
        compare.main()

    return call


def test_differences_and_changes_are_printed(dumps, run, capsys):
    run(*dumps)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[:3] == [f"A: {dumps[0]}", f"B: {dumps[1]}", "3 expressions in 1 image"]
    (accuracy,) = [line for line in lines if line.startswith("Acc@0.5 ")]
    assert accuracy.split()[:4] == ["Acc@0.5", "100.00", "66.67", "-33.33"]
    at = lines.index("boxes above IoU 0.5 only in A: 1")
    assert lines[at + 1] == '  a.png: "box 1": box IoU 0.80 -> 0.10, mask IoU 0.75 -> 0.20'
    assert "boxes above IoU 0.5 only in B: 0" in lines
    assert "masks above IoU 0.5 only in A: 1" in lines
    assert printed.err == ""


def test_the_list_and_the_threshold_can_be_set(dumps, run, capsys):
    run(*dumps, "--list", 0, "--set", "det_acc_thresh=0.75")
    printed = capsys.readouterr().out
    assert "boxes above IoU 0.75 only in A: 2" in printed
    assert "box 1" not in printed


def test_expressions_of_one_dump_alone_are_named(dumps, run, capsys, tmp_path):
    with open(dumps[1], "a", encoding="utf-8") as file:
        file.write(json.dumps(case(3, expression="more").to_json()) + "\n")
    run(*dumps)
    said = capsys.readouterr().err
    assert said == 'warning: expressions that only B has: 1 (a.png: "more")\n'


def test_pictures_show_a_beside_b(dumps, run, capsys, tmp_path):
    sheet = tmp_path / "sheet.png"
    options = ("--pictures", 2, "--output", sheet, "--set", f"image_path={tmp_path}")
    run(*dumps, *options)
    assert capsys.readouterr().out.endswith(f"Pictures are in {sheet}\n")
    with Image.open(sheet) as picture:
        assert picture.width > 2 * 480
        assert picture.height > 2 * 360
        before = picture.tobytes()
    with pytest.raises(UserError, match=r"sheet\.png: exists already; name another file by --out"):
        run(*dumps, *options)
    with Image.open(sheet) as picture:
        assert picture.tobytes() == before
    run(*dumps, *options[:2], "--output", tmp_path / "one.png", *options[4:], "--pictures", 1)
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.height < 2 * 480


def test_only_expressions_that_changed_are_drawn_and_only_some(dumps, run, capsys, tmp_path):
    sheet = tmp_path / "sheet.png"
    settings = ("--output", sheet, "--set", f"image_path={tmp_path}")
    run(*dumps, "--pictures", 3, *settings)
    with Image.open(sheet) as picture:
        height = picture.height
    run(*dumps, "--pictures", 2, "--output", tmp_path / "two.png", *settings[2:])
    with Image.open(tmp_path / "two.png") as picture:
        assert picture.height == height  # The first expression is the same in both.
    capsys.readouterr()
    run(dumps[0], dumps[0], "--pictures", 3, "--output", tmp_path / "none.png", *settings[2:])
    assert capsys.readouterr().out.endswith("No expression changed, so there is nothing to draw.\n")
    assert not (tmp_path / "none.png").exists()


def test_a_sheet_holds_a_bounded_number_of_pictures(dumps, run, tmp_path, monkeypatch):
    drawn = []

    def draw_dumped(image_path, row, before):
        drawn.append(row["expression"])
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr("utils.evaluation.results.pictures.draw_dumped", draw_dumped)
    for path, iou in zip(dumps, (0.8, 0.1), strict=True):
        with open(path, "w", encoding="utf-8") as file:
            cases = [case(i, expression=f"box {i}", det_iou=iou) for i in range(60)]
            file.writelines(json.dumps(one.to_json()) + "\n" for one in cases)
    run(*dumps, "--pictures", 1_000_000, "--output", tmp_path / "sheet.png")
    assert len(drawn) == 2 * 24


def test_images_and_masks_that_cannot_be_drawn(dumps, run, tmp_path):
    sheet = tmp_path / "sheet.png"
    with pytest.raises(DataError, match=r"a\.png: no such image"):
        run(*dumps, "--pictures", 1, "--output", sheet, "--set", f"image_path={tmp_path}/none")
    Image.new("RGB", (41, 30)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"of a\.png: \"box 1\": key 'mask': the run lengths"):
        run(*dumps, "--pictures", 1, "--output", sheet, "--set", f"image_path={tmp_path}")
    assert not sheet.exists()
