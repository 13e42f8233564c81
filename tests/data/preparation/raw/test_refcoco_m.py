"""RefCOCO-M: lines, masks and photographs from Parquet with images."""

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow", reason="pip install -r requirements-parquet.txt")

from data.data_process import main
from data.loading.annotations import Referent, read_annotations
from data.loading.masks import open_masks
from data.preparation.sidecars.ids import read_ids
from tests.data.preparation.raw.parquet_fixtures import (
    box_mask,
    picture,
    refcoco_m_row,
    refcoco_m_sample,
    write_rows,
)
from tests.data.raw_set import state

NAMES = [f"COCO_train2014_{number:012}.jpg" for number in (7, 8)]
SIZES = [(40, 30), (20, 50)]
BOXES = [(2, 3, 20, 25), (10, 0, 40, 30), (1, 1, 19, 49)]


def half_a_photograph():
    file = io.BytesIO()
    Image.effect_noise(SIZES[0], 90).convert("RGB").save(file, "JPEG")
    return file.getvalue()[: file.tell() // 2]


HALF = half_a_photograph()


def rows():
    samples = [
        refcoco_m_sample(31, SIZES[0], BOXES[0], ["left man", "man in red"]),
        refcoco_m_sample(30, SIZES[0], BOXES[1], ["dog"], "dog"),
    ]
    other = refcoco_m_sample(5, SIZES[1], BOXES[2], ["brush"], "toothbrush")
    return [
        [refcoco_m_row(NAMES[0], SIZES[0], samples)],
        [refcoco_m_row(NAMES[1], SIZES[1], [other])],
    ]


@pytest.fixture
def process(tmp_path):
    """Writes the rows of the two files and runs data_process.py; returns its exit code."""

    def run(files, *options):
        for number, content in enumerate(files):
            path = tmp_path / f"raw/refcoco-m/data/validation-{number:05}-of-00002.parquet"
            write_rows(path, content)
        output = ["--data_root", str(tmp_path / "raw"), "--output_dir", str(tmp_path / "out")]
        return main([*output, "--dataset", "refcoco-m", "--generate_mask", *options])

    return run


def test_lines_masks_and_photographs(process, tmp_path, capsys):
    assert process(rows()) == 0
    out = tmp_path / "out"
    referents = read_annotations(out / "anns/refcoco-m/val.txt")
    assert referents == [
        Referent(NAMES[0], BOXES[0], 0, 31, ("left man", "man in red")),
        Referent(NAMES[0], BOXES[1], 16, 30, ("dog",)),
        Referent(NAMES[1], BOXES[2], 79, 5, ("brush",)),
    ]
    assert all(ids.ann_ids == () for ids in read_ids(out / "anns/refcoco-m").values())
    masks = open_masks(out / "masks/refcoco-m")
    for referent, size, box in zip(referents, [SIZES[0], *SIZES], BOXES, strict=True):
        np.testing.assert_array_equal(masks.read(referent, *size), box_mask(*size, box))
    for name, size in zip(NAMES, SIZES, strict=True):
        assert (out / "images/refcoco-m" / name).read_bytes() == picture(*size)
    printed = capsys.readouterr().out
    counts = "(published: 2,080 referents, 5,598 expressions, 1,190 images)"
    assert f"val    3 referents, 4 expressions, 2 images {counts} →" in printed
    assert f"photographs → {out / 'images/refcoco-m'}" in printed


def test_a_second_preparation_keeps_what_the_user_changed(process, tmp_path):
    assert process(rows()) == 0
    folder = tmp_path / "out/images/refcoco-m"
    before = state(tmp_path / "out")
    Image.new("RGB", SIZES[0]).save(folder / NAMES[0])
    (folder / "notes.txt").write_text("mine")
    edited = (folder / NAMES[0]).read_bytes()
    assert process(rows()) == 0
    after = {path: content for path, (content, _) in state(tmp_path / "out").items()}
    for path, (content, _) in before.items():
        assert after.pop(path) == content
    assert {path.name: content for path, content in after.items()} == {
        f"{NAMES[0]}.2": edited,
        "notes.txt": b"mine",
    }


def test_names_lose_their_folder_and_samples_without_a_sentence_are_skipped(
    process, tmp_path, capsys
):
    files = changed(sentences=[])
    files[0][0]["file_name"] = f"../train2014/{NAMES[0]}"
    assert process(files) == 0
    referents = read_annotations(tmp_path / "out/anns/refcoco-m/val.txt")
    assert [referent.mask_id for referent in referents] == [30, 5]
    assert (tmp_path / "out/images/refcoco-m" / NAMES[0]).is_file()
    assert "skipped because it has no expression: 1" in capsys.readouterr().out


def changed(**changes):
    """The rows with changes of the first row or, for other keys, of its first sample."""
    files = rows()
    row = files[0][0]
    for key, value in changes.items():
        (row if key in row else row["samples"][0])[key] = value
    return files


def with_lists(key):
    """The rows with lists of one value in place of the values of all samples."""
    files = rows()
    for (row,) in files:
        row["samples"] = [sample | {key: [sample[key]]} for sample in row["samples"]]
    return files


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (changed(file_name="../.a.jpg"), "row 0: key 'file_name' is \"../.a.jpg\""),
        (changed(file_name="a\\b.jpg"), "must be the name of an image file"),
        (changed(file_name="train2014/.."), "must be the name of an image file"),
        (changed(file_name=NAMES[1]), f"row 0: key 'file_name' {NAMES[1]} is also that of"),
        (changed(id=30), "samples[1]: key 'id' 30 is also that of another referent"),
        (changed(id=-1), "row 0: samples[0]: key 'id' is -1"),
        (changed(category="unicorn"), "key 'category' is \"unicorn\", but must be the name of"),
        (with_lists("category"), "key 'category' is [\"person\"], but must be the name of one of"),
        (with_lists("id"), "row 0: samples[0]: key 'id' is [31], but must be a whole number"),
        (changed(sentences=None), "samples[0]: key 'sentences' is missing"),
        (changed(bbox=[1.0, 2.0]), "samples[0]: key 'bbox' is [1.0, 2.0]"),
        (changed(mask={"counts": "1", "size": [30]}), "samples[0]: key 'mask' is"),
        (changed(image={"bytes": b"no image", "path": None}), f"photograph {NAMES[0]} of valid"),
        (changed(image={"bytes": HALF, "path": None}), f"photograph {NAMES[0]} of valid"),
        (changed(image={"bytes": None, "path": "a.jpg"}), "row 0: key 'image' is missing, but"),
        (changed(image={"bytes": picture(9, 9), "path": None}), "9×9 pixels, but its masks have"),
    ],
)
def test_faults_leave_nothing_behind(process, tmp_path, capsys, files, fault):
    assert process(files) == 2
    assert fault in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".txt", ".jpg")]


def test_files_that_are_missing_are_named(tmp_path, capsys):
    root = str(tmp_path)
    assert main(["--data_root", root, "--output_dir", root, "--dataset", "refcoco-m"]) == 2
    assert "refcoco-m: no Parquet file there or in data/; put validation" in capsys.readouterr().err
