"""gRefCOCO: one object, several or none."""

import json

import numpy as np
import pytest

from data.data_process import main
from data.loading.annotations import Referent, read_annotations
from data.loading.masks import open_masks
from data.preparation.sidecars.ids import read_ids
from data.preparation.sidecars.no_target import NoTarget, read_no_target

IMAGES = [
    {"id": 1, "file_name": "COCO_train2014_000000000001.jpg", "width": 60, "height": 40},
    {"id": 2, "file_name": "COCO_train2014_000000000002.jpg", "width": 30, "height": 30},
]


def square(number, image_id, box, **more):
    x1, y1, x2, y2 = box
    annotation = {
        "id": number,
        "image_id": image_id,
        "category_id": 18,
        "iscrowd": 0,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
    }
    return annotation | more


WHOLE = {"size": [40, 60], "counts": [0, 2400]}
ANNOTATIONS = [
    square(11, 1, (2, 3, 12, 13)),
    square(12, 1, (30, 20, 50, 36), segmentation={"size": [40, 60], "counts": [1220, 16, 1164]}),
    square(13, 1, (0, 0, 60, 40), iscrowd=1, segmentation=WHOLE),
    square(21, 2, (5, 5, 20, 20)),
]


def ref(number, image_id, ann_id, split, *texts, **more):
    sentences = [{"sent": text, "sent_id": 10 * number + k} for k, text in enumerate(texts)]
    row = {
        "ref_id": number,
        "image_id": image_id,
        "ann_id": ann_id,
        "split": split,
        "sentences": sentences,
        "no_target": ann_id == [-1],
    }
    return row | more


REFS = [
    ref(0, 1, [11], "train", "left dog"),
    ref(1, 1, [11, 12, 13], "val", "both dogs", "all dogs"),
    ref(2, 2, [-1], "val", "the horse", "a ~ horse"),
    ref(3, 2, 21, "testA", "dog"),
    ref(4, 1, [-1], "train", "the cow"),
]


@pytest.fixture
def process(tmp_path):
    """Writes the files and runs data_process.py; returns its exit code."""

    def run(refs=REFS, annotations=ANNOTATIONS):
        folder = tmp_path / "raw/grefcoco"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "grefs(unc).json").write_text(json.dumps(refs))
        content = {"images": IMAGES, "annotations": annotations, "categories": []}
        (folder / "instances.json").write_text(json.dumps(content))
        output = ["--data_root", str(tmp_path / "raw"), "--output_dir", str(tmp_path / "out")]
        return main([*output, "--dataset", "grefcoco", "--generate_mask"])

    return run


def test_lines_masks_and_expressions_without_a_target(process, tmp_path, capsys):
    assert process() == 0
    folder, names = tmp_path / "out/anns/grefcoco", [image["file_name"] for image in IMAGES]
    assert read_annotations(folder / "train.txt") == [
        Referent(names[0], (2, 3, 12, 13), 16, 0, ("left dog",))
    ]
    (several,) = read_annotations(folder / "val.txt")
    assert several == Referent(names[0], (2, 3, 50, 36), 16, 1, ("both dogs", "all dogs"))
    assert read_annotations(folder / "testA.txt")[0].mask_id == 3
    union = np.zeros((40, 60), np.uint8)
    union[3:13, 2:12] = 1
    union[20:36, 30] = 1
    mask = open_masks(tmp_path / "out/masks/grefcoco").read(several, 60, 40)
    np.testing.assert_array_equal(mask, union)
    none = NoTarget(2, ("val",), names[1], ("the horse", "a horse"))
    assert read_no_target(folder / "val.txt") == [none]
    assert [entry.ref_id for entry in read_no_target(folder / "train.txt")] == [4]
    ids = read_ids(folder)
    assert ids[1].ann_ids == (11, 12)
    assert ids[2].ann_ids == ()
    assert ids[2].sentences == ((20, "the horse"), (21, "a horse"))
    printed = capsys.readouterr().out
    assert "2 expressions without a target → no_target.jsonl" in printed


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"no_target": False, "ann_id": [-1]}, "key 'no_target' is false, but 'ann_id' is [-1]"),
        ({"no_target": True}, "key 'no_target' is true, but 'ann_id' is [11]"),
        ({"ann_id": [11, 99]}, "key 'ann_id' is 99, but must be the id of an annotation"),
        ({"ann_id": [21]}, "must be annotations of the image 'image_id'"),
        ({"ann_id": []}, "key 'ann_id' is [], but must be [-1] or ids"),
        ({"split": "test"}, "key 'split' is \"test\""),
        ({"ref_id": 1}, "two referents have the 'ref_id' 1"),
    ],
)
def test_entries_that_cannot_be_used_are_named(process, tmp_path, capsys, change, fault):
    assert process([REFS[0] | change, *REFS[1:]]) == 2
    message = capsys.readouterr().err
    assert "grefs(unc).json: " in message
    assert fault in message
    assert not (tmp_path / "out/anns/grefcoco/val.txt").exists()


def test_a_referent_of_crowds_alone_is_skipped(process, tmp_path, capsys):
    assert process([*REFS, ref(5, 1, [13], "val", "all of them")]) == 0
    printed = capsys.readouterr().out
    assert "skipped because its annotations are all crowds: 1 (referent 5" in printed
    folder = tmp_path / "out/anns/grefcoco"
    assert [referent.mask_id for referent in read_annotations(folder / "val.txt")] == [1]
    assert [entry.ref_id for entry in read_no_target(folder / "val.txt")] == [2]
    assert 5 not in read_ids(folder)


def test_missing_files_are_named(process, tmp_path, capsys):
    assert main(["--data_root", str(tmp_path), "--dataset", "grefcoco"]) == 2
    assert "grefs(unc).json: no such file" in capsys.readouterr().err
