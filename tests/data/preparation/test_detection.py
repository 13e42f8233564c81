"""COCO instances as the target grids of a plain detector."""

import json
import re

import numpy as np
import pytest

from data.loading.errors import DataError
from data.loading.images import read_image
from data.loading.letterbox import letterbox_image
from data.preparation.detection import (
    MAX_CLASSES,
    STRIDES,
    DetectionSet,
    detection_batches,
    read_instances,
)
from data.support.datasets import unwrapped_errors
from tests.tiny import IMAGES, REFERENTS, write_instances

SIDE = 96


@pytest.fixture
def instances(tmp_path):
    return write_instances(tmp_path / "instances.json")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_every_object_with_its_classes(instances):
    objects = read_instances(instances)
    assert objects.images == [(name, *size) for name, size in IMAGES.items()]
    assert objects.groups == (2, 2)  # two categories, two colours
    assert objects.channels == 5 + 4
    for (name, _, _), boxes, labels in zip(
        objects.images, objects.boxes, objects.labels, strict=True
    ):
        of_image = [(n, r[1]) for n, r in enumerate(REFERENTS) if r[0] == name]
        np.testing.assert_array_equal(boxes, [box for _, box in of_image])
        # Colours in alphabetical order; every third object has none.
        expected = [(n % 2, -1 if n % 3 == 0 else (0, 1)[n % 2 == 0]) for n, _ in of_image]
        assert labels.tolist() == [list(row) for row in expected]


def test_images_can_be_left_out(instances):
    objects = read_instances(instances, leave_out=["b.png", "unknown.png"])
    assert [image[0] for image in objects.images] == ["a.png", "c.png", "d.png"]
    assert objects.left_out == 1
    assert read_instances(instances).left_out == 0


COCO_NAMES = [
    "COCO_train2014_000000581857.jpg",
    "000000581857.jpg",
    "train2017/000000581857.jpg",
    "COCO_val2014_000000581857.png",
]


@pytest.mark.parametrize("listed", COCO_NAMES)
@pytest.mark.parametrize("name", COCO_NAMES)
def test_images_of_coco_are_left_out_by_their_id(instances, listed, name):
    def change(content):
        content["images"][1]["file_name"] = name
        content["images"][2]["file_name"] = "000000581858.jpg"

    objects = read_instances(edit(instances, change), leave_out=[listed])
    assert [image[0] for image in objects.images] == ["a.png", "000000581858.jpg", "d.png"]
    assert objects.left_out == 1


@pytest.mark.parametrize("listed", ["B.png", "b.jpg", "x/b.png", "000000581857.jpg", ""])
def test_a_list_that_leaves_nothing_out_is_refused(instances, listed):
    with pytest.raises(DataError, match=r"has none of the 1 images to leave out, such as "):
        read_instances(instances, leave_out=[listed])


def test_crowds_and_images_without_objects_are_left_out(instances):
    def change(content):
        for annotation in content["annotations"]:
            annotation["iscrowd"] = int(annotation["image_id"] == 1)

    objects = read_instances(edit(instances, change))
    assert [image[0] for image in objects.images] == ["b.png", "c.png", "d.png"]


def test_nothing_left_to_train_on(instances):
    with pytest.raises(DataError, match=f"{instances}: no image with objects is left"):
        read_instances(instances, leave_out=IMAGES)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", ":1: not valid JSON"),
        (b"\xff", ":1: not UTF-8 text"),
        (b"{}", ": not a COCO file"),
        (b"[]", ": not a COCO file"),
        (b'{"images": [1], "annotations": []}', ": images[0] is 1, but must be an object"),
        (b'{"images": [], "annotations": []}', ": there is no list 'categories'"),
    ],
)
def test_other_files_are_refused(tmp_path, content, fault):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{path}{fault}")):
        read_instances(path)


@pytest.mark.parametrize(
    ("table", "change", "fault"),
    [
        ("annotations", {"bbox": None}, "annotation 1: key 'bbox' is missing"),
        ("annotations", {"bbox": [1, 2, 3]}, "annotation 1: key 'bbox' is [1, 2, 3], but must be"),
        ("annotations", {"image_id": 99}, "annotation 1: key 'image_id' is 99, but must be the id"),
        ("annotations", {"attributes": "red"}, "annotation 1: key 'attributes' is \"red\""),
        ("annotations", {"attributes": {"colour": ["red"]}}, "annotation 1: key 'attributes' is"),
        ("annotations", {"id": 2}, "annotations[1]: key 'id': 2 is also the id of annotations[0]"),
        ("images", {"width": None}, "image 1: key 'width' is missing"),
        ("images", {"height": -1}, "image 1: key 'height' is -1, but must be a whole number"),
        ("images", {"file_name": 5}, "image 1: key 'file_name' is 5, but must be a file name"),
        ("images", {"id": None}, "images[0] is {"),
    ],
)
def test_unusable_fields_name_file_and_object(instances, table, change, fault):
    edit(instances, lambda content: content[table][0].update(change))
    with pytest.raises(DataError, match=re.escape(f"{instances}: {fault}")):
        read_instances(instances)


def test_attributes_of_free_text_are_refused(instances):
    def change(content):
        row = content["annotations"][0]
        content["annotations"] += [
            row | {"id": 100 + number, "attributes": {"note": f"text {number}"}}
            for number in range(MAX_CLASSES)
        ]

    with pytest.raises(DataError, match=r"have 5,004 different values, .* such as 'note'"):
        read_instances(edit(instances, change))


def test_attributes_may_be_of_several_types_and_null(instances):
    values = [{"colour": 3}, {"colour": "red"}, {"colour": None}, {"colour": False}, None]

    def change(content):
        content["images"], content["annotations"] = content["images"][:1], []
        for number, attributes in enumerate(values):
            annotation = {"id": number, "image_id": content["images"][0]["id"], "category_id": 1}
            content["annotations"].append(annotation | {"bbox": [0, 0, 9, 9]})
            if attributes is not None:
                content["annotations"][-1]["attributes"] = attributes

    objects = read_instances(edit(instances, change))
    assert objects.groups[1:] == (3,)  # False, 3 and "red"
    assert objects.labels[0][:, 1].tolist() == [1, 2, -1, 0, -1]


def one_image(boxes, labels, groups=(3,), size=SIDE):
    boxes = np.array(boxes, np.float64)
    return DetectionSet([("x.png", size, size)], [boxes], [np.array(labels)], groups)


def test_targets_of_one_object():
    objects = one_image([(40, 8, 56, 40)], [[2]])
    grids = objects.targets(0, SIDE)
    assert [grid.shape for grid in grids] == [(SIDE // s, SIDE // s, 8) for s in STRIDES]
    for stride, grid in zip(STRIDES, grids, strict=True):
        row, column = 24 // stride, 48 // stride
        expected = np.zeros_like(grid)
        expected[row, column] = [
            1, 48 / stride - column, 24 / stride - row, np.log(16 / stride), np.log(32 / stride),
            0, 0, 1,
        ]  # fmt: skip
        np.testing.assert_allclose(grid, expected, atol=1e-6)


def test_the_smallest_object_of_a_cell_wins():
    small, large = (10, 10, 20, 20), (4, 4, 28, 28)
    for order in ((0, 1), (1, 0)):
        boxes = [(small, large)[i] for i in order]
        grid = one_image(boxes, [[(1, 2)[i]] for i in order]).targets(0, SIDE)[0]
        np.testing.assert_allclose(
            grid[0, 0], [1, 15 / 32, 15 / 32, *np.log([10 / 32, 10 / 32]), 0, 1, 0], atol=1e-6
        )


def test_unknown_labels_and_borders():
    objects = one_image([(90, 90, 102, 102)], [[-1]])  # its center lies on the border
    for stride, grid in zip(STRIDES, objects.targets(0, SIDE), strict=True):
        last = SIDE // stride - 1
        assert grid[..., 0].sum() == grid[last, last, 0] == 1
        assert not grid[..., 5:].any()
        assert np.isfinite(grid).all()


def test_targets_lie_in_the_letterbox():
    objects = DetectionSet([("x.png", 192, 96)], [np.array([(0.0, 0, 64, 64)])], [[[0]]], (1,))
    grid = objects.targets(0, SIDE)[2]  # scaled by 1/2, moved down by 24: center (16, 40)
    assert np.argwhere(grid[..., 0]).tolist() == [[5, 2]]
    np.testing.assert_allclose(grid[5, 2, 3:5], np.log([4, 4]), rtol=1e-6)


def test_batches_pass_over_all_images_in_changing_order(instances, tiny_set):
    objects = read_instances(instances)
    dataset = detection_batches(objects, tiny_set.images, SIDE, batch_size=2, workers=2, seed=1)
    pixels = {
        name: letterbox_image(read_image(tiny_set.images / name), SIDE).astype(np.float32) / 255
        for name in IMAGES
    }
    epochs = []
    batches = dataset.take(12).as_numpy_iterator()
    for _ in range(6):
        seen = []
        for images, grids in (next(batches), next(batches)):
            for row, image in enumerate(images):
                name = next(n for n in IMAGES if np.abs(pixels[n] - image).max() < 1e-6)
                seen.append(name)
                expected = objects.targets(list(IMAGES).index(name), SIDE)
                for grid, target in zip(grids, expected, strict=True):
                    np.testing.assert_array_equal(grid[row], target)
        epochs.append(seen)
    assert all(sorted(seen) == sorted(IMAGES) for seen in epochs)
    assert len({tuple(seen) for seen in epochs}) > 1


def test_a_missing_image_is_named(instances, tmp_path):
    batches = detection_batches(read_instances(instances), tmp_path, SIDE, 2, 1, seed=1)
    with pytest.raises(DataError, match=rf"^{tmp_path}/\w\.png: no such image"), unwrapped_errors():
        next(iter(batches))
