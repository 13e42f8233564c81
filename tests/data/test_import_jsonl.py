"""Import of own data from JSON lines, and loading of the result for training."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config.schema import load_config
from data.loading.annotations import read_annotations
from data.preparation.own import writing
from tests.data.preparation.own.own_photos import (
    HEIGHT,
    SQUARE,
    WIDTH,
    Photos,
    run_lengths,
    square_mask,
    thing,
)

ROOT = Path(__file__).resolve().parents[2]


def list_of(folder):
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path)


def test_every_form_of_mask_gives_the_same_pixels(photos, capsys):
    no_box = {"polygon": None, "box": None}
    path = photos.write(
        thing(box=None),
        "",
        thing(**no_box, rle=run_lengths(square_mask()), split="val"),
        thing(**no_box, rle=run_lengths(square_mask(), compressed=False), image="b.png"),
        thing(**no_box, mask="mask.png", image="more/c d.jpg", category=7),
        thing(polygon=None, box=[10, 10, 30, 25]),
    )
    assert photos.run(path, "--masks_from_boxes") == 0
    train, val = photos.lines("train"), photos.lines("val")
    assert [r.mask_id for r in train] == [1, 3, 4, 5]
    assert [r.mask_id for r in val] == [2]
    assert [r.image for r in train] == ["a.jpg", "b.png", "more/c d.jpg", "a.jpg"]
    assert train[2].category == 7
    assert train[0].expressions == ("red kite", "kite on the left")
    for referent in train + val:
        mask = photos.mask(referent.mask_id)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, square_mask())
        assert referent.box_xyxy_px == (10, 10, 30, 25)
    said = capsys.readouterr().out
    assert "train  4 objects, 8 expressions, 3 images" in said
    assert "masks  1 filled box, 1 mask, 1 polygon, 2 rle →" in said
    assert "segmentation learns to predict boxes" in said
    assert "1 image is in both train and val" in said


def test_the_config_that_is_written_can_be_loaded(photos, monkeypatch):
    path = photos.write(thing(), thing(image="b.png", split="test"))
    assert photos.run(path, name="my_set-2") == 0
    config = load_config(photos.out / "anns/my_set-2/config.json")
    assert config.train_set == str(photos.out / "anns/my_set-2/train.txt")
    assert config.evaluate_set == str(photos.out / "anns/my_set-2/test.txt")
    assert config.seg_gt_path == str(photos.out / "masks/my_set-2")
    assert config.image_path == str(photos.folder)
    assert config.log_path == str(ROOT / "log/my_set-2")
    monkeypatch.setattr(writing, "PROJECT_ROOT", photos.out)
    assert photos.run(path, "--overwrite", name="my_set-2") == 0
    written = json.loads((photos.out / "anns/my_set-2/config.json").read_text())
    assert written["train_set"] == "anns/my_set-2/train.txt"


def test_boxes_are_rounded_outwards_and_clipped(photos, capsys):
    path = photos.write(thing(box=[9.2, 9.9, 30.1, 25]), thing(box=[-4, 5, 99, 26]))
    assert photos.run(path) == 0
    assert [r.box_xyxy_px for r in photos.lines("train")] == [(9, 9, 31, 25), (0, 5, 60, 26)]
    said = capsys.readouterr().out
    assert f"note: boxes clipped to the image: 1 ({path}:2)" in said
    assert "is below 0.5 (are they left, top, right, bottom?): 1" in said
    assert "there is no split to evaluate on" in said


def test_expressions_are_made_storable_and_ignored_keys_are_reported(photos, capsys):
    path = photos.write(thing(expressions=["kite ~ red\n one", "  two  blanks "], colour="red"))
    assert photos.run(path) == 0
    assert photos.lines("train")[0].expressions == ("kite red one", "two  blanks")
    said = capsys.readouterr().out
    assert "a line break was removed: 1" in said
    assert "note: unknown key 'colour' ignored in 1 line\n" in said


def test_misspelled_keys_get_a_hint(photos, capsys):
    path = photos.write(thing(bbox=[1, 2, 3, 4]), thing(bbox=[1, 2, 3, 4]))
    assert photos.run(path) == 0
    said = capsys.readouterr().out
    assert "unknown key 'bbox' ignored in 2 lines; did you mean 'box' instead of 'bbox'?" in said
    path = photos.write(thing(expressions=None, expression=["red kite"]))
    assert photos.run(path, "--overwrite") == 2
    said = capsys.readouterr().err
    assert f"{path}:1: key 'expressions' is missing" in said
    assert "did you mean 'expressions' instead of 'expression'?" in said


def test_polygons_that_extend_beyond_the_image_are_reported(photos, capsys):
    beyond = [[-5, 10, 30, 10, 30, 25, -5, 25]]
    path = photos.write(thing(), thing(box=None, polygon=beyond))
    assert photos.run(path) == 0
    assert photos.lines("train")[1].box_xyxy_px == (0, 10, 30, 25)
    assert f"note: polygons clipped to the image: 1 ({path}:2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"image": None}, "key 'image' is missing, but must be a file name"),
        ({"image": 3}, "key 'image' is 3, but must be a file name"),
        ({"image": "z.jpg"}, "key 'image': {folder}/z.jpg: no such file; set --image_path"),
        ({"image": "mask.txt"}, "key 'image': {folder}/mask.txt: not a readable image"),
        (
            {"image": "a ~ b.jpg"},
            "key 'image' or 'expressions': referent with mask-id 2: the image name \"a ~ b",
        ),
        ({"image": "../x.jpg"}, "key 'image' is ../x.jpg, which is not inside {folder}"),
        ({"expressions": None}, "key 'expressions' is missing, but must be a list of expressions"),
        ({"expressions": "red"}, "key 'expressions' is \"red\", but must be a list of"),
        ({"expressions": []}, "key 'expressions' is []"),
        ({"expressions": ["red", " "]}, "key 'expressions' is "),
        ({"expressions": ["red", "~"]}, "key 'expressions' contains an expression that consists"),
        (
            {"expressions": ["red \ud83d"]},
            'the text "red \\ud83d" contains half of a surrogate pair',
        ),
        ({"split": "../x"}, "key 'split' is \"../x\""),
        ({"category": -1}, "key 'category' is -1, but must be a whole number"),
        ({"category": True}, "key 'category' is true"),
        ({"box": [1, 2, 3]}, "key 'box' is [1, 2, 3], but must be four numbers [x1, y1, x2, y2]"),
        ({"box": [1, 2, "3", 4]}, "key 'box' is "),
        ({"box": [1, 2, 3, float("nan")]}, "NaN is not a number of JSON"),
        ({"box": [1, 2, 3, 10**400]}, "key 'box' is "),
        ({"box": [20, 20, 10, 30]}, "key 'box' is [20, 20, 10, 30], but must be [x1, y1"),
        ({"box": [60, 0, 70, 9]}, "key 'box' [60, 0, 70, 9] (left, top, right, bottom) is outside"),
        ({"polygon": None}, "key 'polygon' is missing, and so are 'rle' and 'mask'"),
        ({"polygon": None, "box": None}, "key 'box' is missing, and so are"),
        ({"polygon": SQUARE}, "key 'polygon' is [10, 10, 30, 10, 30, 25, 10, 25], but must be a"),
        ({"polygon": [[10, 10], [30, 10], [30, 25]]}, "key 'polygon': a polygon needs three"),
        ({"polygon": [[0, 0, 1e12, 0, 5, 5]]}, "key 'polygon': a polygon has the coordinate"),
        ({"polygon": [[70, 1, 80, 1, 80, 9]]}, "key 'polygon': the mask has no pixel inside"),
        ({"mask": "mask.png"}, "key 'mask' must not be combined with 'polygon'"),
        ({"polygon": None, "rle": [3]}, "key 'rle' is [3], but must be run lengths {{\"size\""),
        (
            {"polygon": None, "rle": {"size": [1, 2], "counts": [2]}},
            "key 'rle': the run lengths have the size",
        ),
        ({"polygon": None, "mask": "no.png"}, "key 'mask': {folder}/no.png: no such file"),
        ({"polygon": None, "mask": "mask.txt"}, "key 'mask': {folder}/mask.txt: not a readable"),
        ({"polygon": None, "mask": "a.jpg"}, "key 'mask': {folder}/a.jpg: JPEG can change"),
        ({"polygon": None, "mask": "small.png"}, "key 'mask': {folder}/small.png has 5×4 pixels"),
        ({"polygon": None, "mask": "black.png"}, "key 'mask': the mask has no pixel"),
    ],
)
def test_a_fault_names_file_line_and_key_and_nothing_is_written(photos, capsys, changes, fault):
    (photos.folder / "mask.txt").write_text("no image")
    (photos.folder / "a ~ b.jpg").write_bytes((photos.folder / "a.jpg").read_bytes())
    Image.new("L", (5, 4), 255).save(photos.folder / "small.png")
    Image.new("L", (WIDTH, HEIGHT)).save(photos.folder / "black.png")
    path = photos.write(thing(), "", thing(**changes))
    assert photos.run(path) == 2
    said = capsys.readouterr().err
    assert f"{path}:3: " + fault.format(folder=photos.folder) in said
    assert "nothing was imported because of 1 fault:" in said
    assert photos.files() == {}


def test_all_faults_are_listed_at_once(photos, capsys):
    path = photos.write("{not json", "[1]", thing(image="z.jpg"), *[thing(box=[0, 0, 0, 0])] * 30)
    with path.open("ab") as file:
        file.write(b'{"image": "\xff"}\n')
    assert photos.run(path) == 2
    said = capsys.readouterr().err
    assert "because of 34 faults:" in said
    assert f"{path}:1: not valid JSON: Expecting property name" in said
    assert f"{path}:2: each line must be an object" in said
    assert "… and 14 more" in said
    assert photos.run(photos.write("", name="empty.jsonl")) == 2
    assert "there is no object to import" in capsys.readouterr().err
    path.write_bytes(b"\xff\n")
    assert photos.run(path) == 2
    assert f"{path}:1: not UTF-8 text" in capsys.readouterr().err


def test_mask_images_of_many_kinds(photos, capsys):
    square = square_mask()
    gray = square * 200
    gray[10] = square[10] * 3
    images = {
        "one_bit.png": Image.fromarray(square * 255).convert("1"),
        "ones.png": Image.fromarray(square),
        "gray.png": Image.fromarray(gray),
        "colour.png": Image.fromarray(np.stack([square * 0, square * 9, square * 0], -1)),
        "wide.png": Image.fromarray(square.astype(np.uint16)),
        "clear.png": Image.fromarray(np.stack([square * 0 + 255] * 3 + [square * 255], -1)),
    }
    palette = Image.fromarray(square).convert("P")
    palette.putdata(square.reshape(-1).tolist())
    palette.putpalette([0, 0, 0, 128, 0, 0])
    images["palette.png"] = palette
    for name, image in images.items():
        image.save(photos.folder / "more" / name)
    path = photos.write(*[thing(polygon=None, mask=name) for name in images])
    assert photos.run(path, "--mask_path", photos.folder / "more") == 0
    for number in range(1, len(images) + 1):
        np.testing.assert_array_equal(photos.mask(number), square)
    assert "all values but 0 are the object: 1" in capsys.readouterr().out


def test_images_that_viewers_rotate_are_reported(photos, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(photos.folder / "phone.jpg", exif=exif)
    assert photos.run(photos.write(thing(image="phone.jpg"))) == 0
    assert "images with an EXIF orientation, which viewers rotate" in capsys.readouterr().out


def test_images_that_training_converts_are_reported(photos, capsys):
    Image.new("CMYK", (WIDTH, HEIGHT)).save(photos.folder / "print.jpg")
    Image.new("I;16", (WIDTH, HEIGHT)).save(photos.folder / "scan.png")
    Image.new("F", (WIDTH, HEIGHT)).save(photos.folder / "depth.tif")
    path = photos.write(thing(image="print.jpg"), thing(image="scan.png"), thing())
    assert photos.run(path) == 0
    said = capsys.readouterr().out
    note = "note: images that training converts as it reads them"
    assert f"{note}: CMYK converted to RGB: 1 (print.jpg)" in said
    assert f"{note}: 16-bit grayscale scaled to 8 bits: 1 (scan.png)" in said
    assert photos.run(photos.write(thing(image="depth.tif")), name="other") == 2
    assert "depth.tif: the pixels are floating-point numbers" in capsys.readouterr().err


def test_several_files_absolute_images_and_another_default_split(photos):
    first = photos.write(thing(image=str(photos.folder / "more/c d.jpg")))
    second = photos.write(thing(split="val"), name="second.jsonl")
    assert photos.run(first, second, "--split", "test", "--image_path", photos.folder) == 0
    assert photos.lines("test")[0].image == "more/c d.jpg"
    assert photos.lines("val")[0].mask_id == 2


def test_some_images_can_be_set_aside(photos):
    names = [f"{k}.png" for k in range(12)]
    for name in names:
        Image.new("RGB", (WIDTH, HEIGHT)).save(photos.folder / name)
    path = photos.write(
        *[thing(image=name) for name in names * 2], thing(image="a.jpg", split="train")
    )
    assert photos.run(path, "--val_share", "0.25") == 0
    train, val = ({r.image for r in photos.lines(split)} for split in ("train", "val"))
    assert len(val) == 3
    assert not train & val
    assert "a.jpg" in train
    assert photos.run(path, "--val_share", "0.01", "--overwrite") == 0
    assert {r.image for r in photos.lines("val")} < val


def test_a_set_is_replaced_only_on_request(photos, capsys):
    path = photos.write(thing(split="train"), thing(split="old"))
    assert photos.run(path) == 0
    path = photos.write(thing(split="val", expressions=["new"]))
    assert photos.run(path) == 2
    assert "exists already: --overwrite replaces it" in capsys.readouterr().err
    assert len(photos.lines("old")) == 1
    assert photos.run(path, "--overwrite") == 0
    assert list_of(photos.out / "anns/mine") == ["config.json", "manifest.json", "val.txt"]
    assert list_of(photos.out / "masks/mine") == ["manifest.json", "masks.jsonl"]
    assert list_of(photos.out / "masks") == ["mine"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["a.jsonl", "--coco", "b.json"],
        ["a.jsonl", "--expressions", "b.jsonl"],
        ["a.jsonl", "--val_share", "1"],
        ["a.jsonl", "--split", "a/b"],
    ],
)
def test_contradictory_options_are_refused(photos, options):
    with pytest.raises(SystemExit) as stop:
        photos.run(*options)
    assert stop.value.code == 2


def test_a_missing_file_is_a_sentence(photos, capsys):
    assert photos.run(photos.folder / "none.jsonl") == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_help_is_complete_and_quick():
    begin = time.monotonic()
    command = [sys.executable, str(ROOT / "data" / "import_jsonl.py"), "--help"]
    # Not every terminal can show the arrow of the first line.
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd="/", env=environment
    ).stdout
    assert time.monotonic() - begin < 3  # about half a second on an idle machine
    assert "--masks_from_boxes" in shown
    assert '"expressions": ["the red kite"' in shown


def test_training_and_evaluation_read_imported_data(photos, tmp_path):
    from data.loading.image_groups import evaluation_images, group_by_image
    from data.loading.masks import open_masks
    from data.loading.pipeline import TrainingSet, training_batches
    from data.text.vectors import build_word_table, vocabulary_of

    names = ("a.jpg", "b.png", "more/c d.jpg")
    path = photos.write(
        *[thing(image=name) for name in names], thing(image="b.png", mask="mask.png", polygon=None)
    )
    assert photos.run(path, "--val_share", "0.3") == 0
    (tmp_path / "words.txt").write_text("red 1 0\nkite 0 1\n")
    overrides = [f"word_embed={tmp_path / 'words.txt'}", "embed_dim=2", "word_len=4"]
    config = load_config(photos.out / "anns/mine/config.json", [*overrides, "input_size=64"])
    train, val = read_annotations(config.train_set), read_annotations(config.evaluate_set)
    words = build_word_table(config.word_embed, vocabulary_of(train + val), config.embed_dim)
    masks = open_masks(config.seg_gt_path)
    training_set = TrainingSet(
        train, words, config.image_path, masks, 64, 8, config.word_len, config.seed
    )
    (batch,) = training_batches(training_set, 1, len(train), workers=2, prefetch=1)
    assert batch["image"].shape == (len(train), 64, 64, 3)
    assert batch["words"].shape == (len(train), 4, 2)
    assert batch["mask"].shape == (len(train), 8, 8, 1)
    assert (batch["mask"].numpy().sum(axis=(1, 2, 3)) > 0).all()
    box = batch["box_xyxy_px"].numpy()[0]
    np.testing.assert_allclose(box, np.array([9, 10, 31, 26]) * 64 / 60 + [0, 11, 0, 11], atol=1e-4)
    groups = group_by_image(val)
    (loaded,) = evaluation_images(groups, config.image_path, 64, 2, 1)
    geometry = loaded.geometry
    for referent in loaded.group.referents:
        mask = masks.read(referent, geometry.image_width, geometry.image_height)
        np.testing.assert_array_equal(mask, square_mask())
