"""Several sets that are read together: masks of their own, weights, and images left out."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from data.loading.annotations import Referent, write_annotations
from data.loading.errors import DataError
from data.loading.masks import write_masks
from data.loading.pipeline import TrainingSet
from data.preparation.mixture import open_mixture
from tests.tiny import network_config

WIDTH, HEIGHT = 12, 8
# Both sets have masks 0 to 3 and a line that is the same in both.
NAMES = [f"COCO_train2014_{number:012}.jpg" for number in range(4)]


@pytest.fixture
def mixed(tmp_path):
    """`mixed(**changes)`: the config of two training sets, whose masks are of 1 and 2 columns."""
    for columns, name in enumerate(("first", "second"), start=1):
        folder = tmp_path / "anns" / name
        folder.mkdir(parents=True)
        (tmp_path / "masks" / name).mkdir(parents=True)
        referents = [
            Referent(image, (0, 0, 6, 6), 0, number, (f"{name if number else 'same'} thing",))
            for number, image in enumerate(NAMES)
        ]
        write_annotations(folder / "train.txt", referents)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:, :columns] = 1
        write_masks(tmp_path / "masks" / name, [(number, mask) for number in range(4)])
    # COCO's third image under the name that it has in 2017, and one that nobody trains on.
    others = [Referent(f"{number:012}.jpg", (0, 0, 6, 6), 0, 0, ("it",)) for number in (2, 9)]
    write_annotations(tmp_path / "anns/first/val.txt", others[1:])
    write_annotations(tmp_path / "anns/second/testA.txt", others)
    images = tmp_path / "images"
    images.mkdir()
    for name in NAMES:
        Image.new("RGB", (WIDTH, HEIGHT)).save(images / name)

    def config(**changes):
        paths = {
            "train_set": [str(tmp_path / f"anns/{name}/train.txt") for name in ("first", "second")],
            "evaluate_set": str(tmp_path / "anns/first/val.txt"),
            "seg_gt_path": str(tmp_path / "masks/first"),
            "image_path": str(images),
        }
        return network_config().replace(**paths | changes)

    return config


def training_set(mixture, config, seed=1):
    referents, masks = mixture.training
    return TrainingSet(referents, None, config.image_path, masks, 96, 8, 4, seed,
                       shares=mixture.shares)  # fmt: skip


def test_each_referent_has_the_mask_of_its_own_set(mixed):
    config = mixed(leave_out_eval_images=0)
    mixture = open_mixture(config)
    referents, masks = mixture.training
    assert [r.expressions[0].split()[0] for r in referents] == (
        ["same"] + ["first"] * 3 + ["same"] + ["second"] * 3
    )
    areas = [int(masks.read(referent, WIDTH, HEIGHT).sum()) for referent in referents]
    assert areas == [HEIGHT] * 4 + [2 * HEIGHT] * 4
    assert mixture.remark is None
    assert len(training_set(mixture, config)) == 8


def test_sets_of_one_folder_share_its_masks(mixed):
    one = mixed(leave_out_eval_images=0)
    several = one.replace(train_set=[one.train_set, one.evaluate_set], leave_out_eval_images=0)
    referents, masks = open_mixture(several).training
    assert len(referents) == 5
    assert masks.read(referents[4], WIDTH, HEIGHT).sum() == HEIGHT


def test_images_of_all_evaluation_splits_are_left_out(mixed):
    mixture = open_mixture(mixed())
    referents, _ = mixture.training
    assert [r.image for r in referents] == [NAMES[n] for n in (0, 1, 3, 0, 1, 3)]
    assert mixture.remark == (
        "left out of training: 2 of 8 referents, whose images are in first/val.txt, "
        "second/testA.txt"
    )


def test_a_single_set_keeps_all_images_unless_asked(mixed):
    single = mixed(train_set=mixed().also_train[0])
    single = single.replace(seg_gt_path=str(mixed().seg_gt_path).replace("first", "second"))
    assert len(open_mixture(single.replace(evaluate_set=single.train_set)).training[0]) == 4
    asked = single.replace(
        evaluate_set=single.train_set.replace("train", "testA"), leave_out_eval_images=1
    )
    assert len(open_mixture(asked).training[0]) == 3


def test_a_set_that_is_left_out_completely_is_refused(mixed):
    config = mixed()
    evaluated = config.replace(
        evaluate_set=config.train_set,
        train_set=config.train_sets,
    )
    with pytest.raises(DataError, match=r"first/train\.txt: all its images are in evaluation spl"):
        open_mixture(evaluated)


def test_an_epoch_contains_each_set_as_often_as_its_weight_says(mixed):
    config = mixed(leave_out_eval_images=0, train_weights=[2, 0.5])
    both = training_set(open_mixture(config), config)
    assert len(both) == 8 + 2
    halves = set()
    for epoch in (1, 2, 3, 4, 5):
        order, choice = both.plan(epoch)
        counts = np.bincount(order, minlength=8)
        assert counts[:4].tolist() == [2] * 4
        assert sorted(counts[4:].tolist()) == [0, 0, 1, 1]
        halves.add(tuple(counts[4:]))
        again = both.plan(epoch)
        np.testing.assert_array_equal(order, again[0])
        np.testing.assert_array_equal(choice, again[1])
    assert len(halves) > 1


def test_weights_of_one_are_the_order_without_weights(mixed):
    config = mixed(leave_out_eval_images=0, train_weights=[1, 1])
    weighted = training_set(open_mixture(config), config)
    plain = dataclasses.replace(weighted, shares=())
    for epoch in (1, 2):
        for array, other in zip(weighted.plan(epoch, 12), plain.plan(epoch, 12), strict=True):
            np.testing.assert_array_equal(array, other)


def test_a_small_weight_leaves_one_referent():
    tiny = TrainingSet([None] * 3, None, "", None, 96, 8, 4, 1, shares=((2, 1.0), (1, 0.001)))
    assert len(tiny) == 3
