"""Damaged objects are imported completely or not at all; the earlier import stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UserError
from config.schema import load_config
from data.loading.annotations import read_annotations
from data.loading.masks import open_masks
from data.preparation.manifest import check_pairing
from data.preparation.own.coco_entries import read_coco_entries
from data.preparation.own.entries import read_json_lines
from data.preparation.own.importing import ImportOptions, import_data
from tests.data.preparation.own.own_photos import (
    HEIGHT,
    SQUARE,
    WIDTH,
    Photos,
    run_lengths,
    square_mask,
    thing,
)
from tests.fuzz.mutation import SCALARS, damaged_bytes, damaged_value
from tests.limits import memory_within

OBJECTS = [
    thing(split="val", category=3),
    thing(box=None, polygon=None, rle=run_lengths(square_mask()), image="b.png"),
    thing(box=None, polygon=None, rle=run_lengths(square_mask(), compressed=False)),
    thing(polygon=None, mask="mask.png", image="more/c d.jpg"),
    thing(polygon=None),
]
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT, "split": "val"}],
    "annotations": [
        {
            **{"id": 7, "image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 15]},
            **{"segmentation": [SQUARE], "expressions": ["red kite"]},
        },
        {
            **{"id": 8, "image_id": 1, "segmentation": run_lengths(square_mask())},
            **{"captions": ["a square", "box"], "split": "train"},
        },
    ],
}
# Numbers near those of valid objects reach further than random ones.
NUMBERS = st.integers(-5, 70) | st.floats(-5, 70) | SCALARS
FILES = ("mask.png", "a.jpg", "objects.jsonl")


@pytest.fixture(autouse=True)
def bounded_memory():
    with memory_within(300_000_000):
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    photos = Photos(tmp_path_factory.mktemp("import"))
    photos.originals = {name: (photos.folder / name).read_bytes() for name in FILES[:2]}
    return photos


def import_or_nothing(photos, read):
    """Imports over an earlier import; afterwards one of both is there, complete."""
    for name, content in photos.originals.items():
        (photos.folder / name).write_bytes(content)
    options = ImportOptions(masks_from_boxes=True, overwrite=True)
    earlier = read_json_lines([photos.write(thing(expressions=["earlier"]))])
    import_data(earlier, photos.folder, photos.out, "mine", options, workers=2)
    before = photos.files()
    try:
        data = read()
        summary = import_data(data, photos.folder, photos.out, "mine", options, workers=2)
    except UserError:
        assert photos.files() == before
        return False
    assert summary.kept_files == []
    check_complete(photos, data, summary)
    return True


def check_complete(photos, data, summary):
    anns, masks = photos.out / "anns/mine", photos.out / "masks/mine"
    config = load_config(anns / "config.json")
    check_pairing(config.train_set, config.seg_gt_path)
    count, opened = 0, open_masks(masks)
    for split, referents in summary.referents.items():
        assert read_annotations(anns / f"{split}.txt") == referents
        for referent in referents:
            assert opened.read(referent, WIDTH, HEIGHT).any()
            count += 1
    assert count == len(data.entries)
    assert len(list(anns.iterdir())) == len(summary.referents) + 2
    assert sorted(p.name for p in masks.iterdir()) == ["manifest.json", "masks.jsonl"]


def test_the_undamaged_objects_are_imported(photos):
    path = photos.write(*OBJECTS, name="new.jsonl")
    assert import_or_nothing(photos, lambda: read_json_lines([path]))
    path.write_text(json.dumps(COCO))
    assert import_or_nothing(photos, lambda: read_coco_entries(path))


@given(damaged_value(OBJECTS) | damaged_value(OBJECTS, NUMBERS))
def test_damaged_objects(photos, objects):
    path = photos.folder / "new.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in objects))
    import_or_nothing(photos, lambda: read_json_lines([path]))


@given(damaged_value(COCO) | damaged_value(COCO, NUMBERS))
def test_damaged_coco_files(photos, content):
    path = photos.folder / "instances.json"
    path.write_text(json.dumps(content))
    import_or_nothing(photos, lambda: read_coco_entries(path))


@given(st.data(), st.sampled_from(FILES))
def test_damaged_files(photos, data, name):
    path = photos.write(*OBJECTS, name="new.jsonl")
    content = photos.originals.get(name, path.read_bytes())
    damaged = data.draw(damaged_bytes(content))

    def read():
        (path if name == FILES[2] else photos.folder / name).write_bytes(damaged)
        return read_json_lines([path])

    import_or_nothing(photos, read)
