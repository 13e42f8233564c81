"""The images of an evaluation set: all expressions, each image once, and what bad files cause."""

import numpy as np
import pytest
from PIL import Image

from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.image_groups import evaluation_images, group_by_image
from data.loading.letterbox import Letterbox, letterbox_image
from tests.tiny import NETWORK

SIDE = NETWORK["input_size"]


def test_group_by_image_covers_every_expression_once(tiny_set):
    groups = group_by_image(tiny_set.val)
    assert [group.image for group in groups] == ["a.png", "d.png", "b.png", "c.png"]
    everything = [text for referent in tiny_set.val for text in referent.expressions]
    found = {}
    for group in groups:
        for referent, first in zip(group.referents, group.first_expression, strict=True):
            assert referent.image == group.image
            for number, text in enumerate(referent.expressions):
                assert found.setdefault(first + number, text) == text
    assert [found[place] for place in range(len(everything))] == everything
    assert sum(len(r.expressions) for g in groups for r in g.referents) == len(everything)


def test_evaluation_images(tiny_set):
    groups = group_by_image(tiny_set.val)
    images = list(evaluation_images(groups, tiny_set.images, SIDE, 3, 2))
    assert [image.group for image in images] == groups
    for image in images:
        opened = Image.open(tiny_set.images / image.group.image)
        assert image.geometry == Letterbox.fit(*opened.size, SIDE)
        np.testing.assert_array_equal(image.pixels, letterbox_image(opened, SIDE))


def test_bad_images_are_errors_or_left_out(tiny_set):
    outside = Referent("b.png", (70, 10, 110, 58), 0, 2, ("blue box",))
    missing = Referent("none.png", (7, 1, 11, 8), 0, 3, ("it",))
    groups = group_by_image([tiny_set.val[0], outside, missing, tiny_set.val[4]])
    for bad, message in ((groups[1:], r"b\.png: the center \(90, 34\)"), (groups[2:], "no such")):
        with pytest.raises(DataError, match=message):
            list(evaluation_images(bad, tiny_set.images, SIDE, 2, 2))
    bad_images = {}
    images = list(evaluation_images(groups, tiny_set.images, SIDE, 2, 2, bad_images))
    assert [image.group for image in images] == [groups[0], groups[3]]
    assert set(bad_images) == {"b.png", "none.png"}
    assert "none.png: no such image" in bad_images["none.png"]
