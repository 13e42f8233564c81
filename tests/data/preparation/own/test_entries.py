"""Files of own data: pipes, and what messages quote of them."""

import json
import os

import pytest

from tests.data.preparation.own.own_photos import SQUARE, Photos, thing


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path)


@pytest.mark.parametrize("options", [["pipe"], ["--coco", "pipe"]])
def test_pipes_are_refused(photos, capsys, options):
    os.mkfifo(photos.folder / "pipe")  # Opening one waits for a writer.
    options = [photos.folder / "pipe" if option == "pipe" else option for option in options]
    assert photos.run(*options) == 2
    expected = f"error: {photos.folder / 'pipe'}: a pipe or device, which is not read; name a file"
    assert expected in capsys.readouterr().err


RED = "\x1b[31m"
LONG = "x" * 100_000


@pytest.mark.parametrize("text", [RED, LONG])
@pytest.mark.parametrize("key", ["image", "mask", "split", "box", "polygon", "rle", "other"])
def test_messages_show_a_part_of_long_texts_and_no_control_characters(photos, capsys, key, text):
    changes = {"polygon": None} if key in ("mask", "rle") else {}
    photos.run(photos.write(thing(**{**changes, key: text}), thing(**{text: 1, "image": None})))
    said = "".join(capsys.readouterr())
    assert "\x1b[3" not in said
    assert len(said) < 4_000


@pytest.mark.parametrize("text", [RED, LONG])
@pytest.mark.parametrize("key", ["file_name", "id", "split", "category_id", "bbox", "segmentation"])
def test_messages_on_coco_files_are_bounded_too(photos, capsys, key, text):
    image = {"id": 1, "file_name": "a.jpg"}
    annotation = {"id": text if key == "id" else 1, "image_id": 1, "segmentation": [SQUARE]}
    (image if key == "file_name" else annotation)[key] = text
    path = photos.folder / "coco.json"
    table = [
        annotation | {"expressions": ["it"]},
        annotation | {"id": text + "2", "expressions": 5},
    ]
    path.write_text(json.dumps({"images": [image], "annotations": table}))
    assert photos.run("--coco", path) == 2
    said = "".join(capsys.readouterr())
    assert "\x1b[3" not in said
    assert len(said) < 4_000


def test_many_unknown_keys_are_summarized(photos, capsys):
    keys = {f"polygon{number:05}": 1 for number in range(2_000)}
    assert photos.run(photos.write(thing(**keys))) == 0
    said = capsys.readouterr().out
    assert "note: unknown key 'polygon00000' ignored in 1 line; did you mean 'polygon'" in said
    assert "note: 1,990 more unknown keys ignored" in said
    assert photos.run(photos.write(thing(**keys, image=None)), "--overwrite") == 2
    assert len(capsys.readouterr().err) < 4_000
