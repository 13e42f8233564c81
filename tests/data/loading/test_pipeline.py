"""From files to batches: their contents, their order, and the errors that bad files cause."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image, letterbox_mask
from data.loading.masks import open_masks, write_masks
from data.loading.pipeline import (
    TrainingSet,
    letterboxed_images,
    samples_per_epoch,
    training_batches,
)
from data.support.datasets import unwrap_errors
from data.text.vectors import build_word_table, vocabulary_of
from tests.tiny import IMAGES, NETWORK, UNKNOWN_WORD

SIDE, WORD_LEN, DIM = NETWORK["input_size"], NETWORK["word_len"], NETWORK["embed_dim"]


@pytest.fixture(scope="module")
def training_set(tiny_set):
    referents = [*tiny_set.train, *tiny_set.val]
    words = build_word_table(str(tiny_set.root / "glove.txt"), vocabulary_of(referents), DIM)
    return TrainingSet(
        tiny_set.train,
        words,
        str(tiny_set.images),
        open_masks(tiny_set.masks),
        SIDE,
        8,
        WORD_LEN,
        5,
    )


def batches_of(training_set, epoch=1, batch_size=2, workers=2, **kwargs):
    dataset = training_batches(training_set, epoch, batch_size, workers, prefetch=1, **kwargs)
    return list(unwrap_errors(dataset.as_numpy_iterator()))


def rows_of(batches):
    return np.concatenate([batch["row"] for batch in batches]).tolist()


def tiny_mask(tiny_set, referent):
    return np.load(tiny_set.masks / f"{referent.mask_id}.npy")


def same_batches(a, b):
    return all(
        np.array_equal(x[key], y[key]) for x, y in zip(a, b, strict=True) for key in x.keys() | y
    )


def test_plan_follows_from_seed_and_epoch(training_set):
    def plan(seed, epoch):
        return np.stack(dataclasses.replace(training_set, seed=seed).plan(epoch)).tolist()

    assert plan(5, 1) == plan(5, 1)
    assert len({str(plan(seed, epoch)) for seed in (5, 6) for epoch in (1, 2, 3)}) == 6


def test_plan_shows_every_referent_once_and_every_expression_some_time(training_set):
    seen = set()
    for epoch in range(40):
        order, choice = training_set.plan(epoch)
        assert sorted(order) == list(range(len(training_set)))
        seen |= set(zip(order.tolist(), choice.tolist(), strict=True))
    assert seen == {
        (i, k) for i, r in enumerate(training_set.referents) for k in range(len(r.expressions))
    }


def test_an_epoch_is_the_plan_in_batches(training_set, tiny_set):
    batches = batches_of(training_set, epoch=3)
    assert [len(batch["image"]) for batch in batches] == [2, 2, 2]
    samples = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    order, choice = training_set.plan(3, 6)
    for row, (index, which) in enumerate(zip(order, choice, strict=True)):
        referent = training_set.referents[index]
        alone = dict(zip(("image", "box_xyxy_px", "mask"), training_set.sample(index), strict=True))
        for key, value in alone.items():
            np.testing.assert_array_equal(samples[key][row], value)
        geometry = Letterbox.fit(*IMAGES[referent.image], SIDE)
        image = Image.open(tiny_set.images / referent.image)
        mask = tiny_mask(tiny_set, referent)
        np.testing.assert_array_equal(samples["image"][row], letterbox_image(image, SIDE))
        np.testing.assert_array_equal(samples["mask"][row], letterbox_mask(mask, geometry, 8))
        np.testing.assert_allclose(
            samples["box_xyxy_px"][row], letterbox_box(referent.box_xyxy_px, geometry), rtol=1e-6
        )
        expected = np.zeros((WORD_LEN, DIM))
        for place, word in enumerate(referent.expressions[which].split()[:WORD_LEN]):
            expected[place] = tiny_set.words.get(word, 0.0)
        np.testing.assert_allclose(samples["words"][row], expected, rtol=1e-6)


def test_types_and_shapes(training_set):
    spec = training_batches(training_set, 1, 2, 1, 1).element_spec
    assert {key: (value.dtype, value.shape[1:].as_list()) for key, value in spec.items()} == {
        "image": (tf.uint8, [SIDE, SIDE, 3]),
        "words": (tf.float32, [WORD_LEN, DIM]),
        "box_xyxy_px": (tf.float32, [4]),
        "mask": (tf.float32, [SIDE // 8, SIDE // 8, 1]),
        "row": (tf.int64, []),
    }


class Features:
    """Stands for a `FeatureStore`: each image has one feature, filled with its width."""

    shapes, dtype = ((2, 3),), "float32"

    def read(self, image):
        return [np.full((2, 3), IMAGES[image][0], np.float32)], IMAGES[image]


@pytest.mark.parametrize("last_batch", ["wrap", "short", "drop"])
@pytest.mark.parametrize("cached", [False, True])
def test_an_epoch_can_start_at_any_batch(training_set, monkeypatch, cached, last_batch):
    if cached:
        training_set = dataclasses.replace(training_set, features=Features())
    whole = batches_of(training_set, last_batch=last_batch)
    loaded = []
    visual = TrainingSet._visual

    def recorded(self, referent):
        loaded.append(referent.mask_id)
        return visual(self, referent)

    monkeypatch.setattr(TrainingSet, "_visual", recorded)
    for first_step in range(len(whole) + 1):
        loaded.clear()
        rest = batches_of(training_set, last_batch=last_batch, first_step=first_step)
        assert same_batches(rest, whole[first_step:])
        order, _ = training_set.plan(1, {"wrap": 6, "short": 5, "drop": 4}[last_batch])
        expected = [training_set.referents[row].mask_id for row in order]
        assert sorted(loaded) == sorted(expected[2 * first_step :])


def test_batches_name_their_referents(training_set):
    assert rows_of(batches_of(training_set, epoch=3)) == training_set.plan(3, 6)[0].tolist()


def test_masks_of_either_form_train_alike(training_set, tiny_set, tmp_path):
    write_masks(tmp_path, ((r.mask_id, tiny_mask(tiny_set, r)) for r in tiny_set.train))
    same = dataclasses.replace(training_set, masks=open_masks(tmp_path))
    assert same_batches(batches_of(training_set), batches_of(same))


def test_the_same_epoch_twice_is_the_same_whatever_the_workers(training_set):
    once = batches_of(training_set, epoch=1, workers=1)
    assert same_batches(once, batches_of(training_set, epoch=1, workers=4))
    assert not same_batches(once, batches_of(training_set, epoch=2))


LAST_BATCHES = [
    # Samples of the set, batch size, last_batch, samples per epoch.
    (5, 2, "wrap", 6), (5, 2, "short", 5), (5, 2, "drop", 4),
    (6, 2, "wrap", 6), (6, 2, "short", 6), (6, 2, "drop", 6),
    (5, 7, "wrap", 7), (5, 7, "short", 5), (5, 7, "drop", 0),
    (5, 13, "wrap", 13), (1, 3, "wrap", 3),
]  # fmt: skip


@pytest.mark.parametrize(("available", "batch_size", "last_batch", "expected"), LAST_BATCHES)
def test_samples_per_epoch(available, batch_size, last_batch, expected):
    assert samples_per_epoch(available, batch_size, last_batch) == expected


@pytest.mark.parametrize("batch_size", [2, 3, 5, 7, 13])
def test_the_last_batch_wraps_to_the_first_samples_of_the_epoch(training_set, batch_size):
    batches = batches_of(training_set, epoch=3, batch_size=batch_size)
    assert {len(batch["row"]) for batch in batches} == {batch_size}
    order, _ = training_set.plan(3)
    rows = rows_of(batches)
    assert len(rows) == -(-len(order) // batch_size) * batch_size
    assert rows == [order[place % len(order)] for place in range(len(rows))]
    spec = training_batches(training_set, 3, batch_size, 1, 1).element_spec
    assert {part.shape[0] for part in spec.values()} == {batch_size}


def test_repeated_samples_have_an_expression_of_their_own(training_set):
    """As the first occurrence has: the published loader chooses one whenever it loads a sample."""
    differing = 0
    for epoch in range(20):
        order, choice = training_set.plan(epoch, 10)
        np.testing.assert_array_equal(np.stack(training_set.plan(epoch)), [order[:5], choice[:5]])
        np.testing.assert_array_equal(order[5:], order[:5])
        differing += (choice[5:] != choice[:5]).sum()
        words = np.concatenate([b["words"] for b in batches_of(training_set, epoch, 10)])
        expected = training_set.words.lookup(training_set.word_ids(order, choice))
        np.testing.assert_array_equal(words, expected)
    assert differing > 10


@pytest.mark.parametrize(("last_batch", "sizes"), [("short", [2, 2, 1]), ("drop", [2, 2])])
def test_the_last_batch_can_be_short_or_dropped(training_set, last_batch, sizes):
    batches = batches_of(training_set, epoch=3, last_batch=last_batch)
    assert [len(batch["image"]) for batch in batches] == sizes
    assert rows_of(batches) == training_set.plan(3)[0][: sum(sizes)].tolist()


def test_words_without_a_vector_are_zeros(tiny_set, training_set):
    referent = Referent("a.png", (45, 10, 78, 58), 0, 2, (f"blue {UNKNOWN_WORD} box",))
    [batch] = batches_of(dataclasses.replace(training_set, referents=[referent]), batch_size=1)
    assert [bool(row.any()) for row in batch["words"][0]] == [True, False, True, False]
    np.testing.assert_allclose(batch["words"][0, 2], tiny_set.words["box"], rtol=1e-6)


@pytest.fixture
def broken(tiny_set, tmp_path):
    """Folders of image and mask that a test may damage, and one referent that lies in them."""
    referent = tiny_set.train[0]
    path, mask_path = tmp_path / referent.image, tmp_path / f"{referent.mask_id}.npy"
    path.write_bytes((tiny_set.images / referent.image).read_bytes())
    mask_path.write_bytes((tiny_set.masks / mask_path.name).read_bytes())
    return path, mask_path, referent


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def save_mask(shape):
    return lambda path: np.save(path, np.ones(shape, np.uint8))


def hostile(path):
    np.save(path, np.array([{"not": "a mask"}], dtype=object), allow_pickle=True)


DAMAGE = {
    "image missing": (0, lambda path: path.unlink(), "no such image.*image_path"),
    "image cut short": (0, cut, "not a readable image"),
    "image of text": (0, lambda path: path.write_text("hello"), "not a readable image"),
    "image empty": (0, lambda path: path.write_bytes(b""), "not a readable image"),
    "mask missing": (1, lambda path: path.unlink(), "no such mask.*seg_gt_path.*--generate_mask"),
    "mask cut short": (1, cut, "not a readable mask"),
    "mask empty": (1, lambda path: path.write_bytes(b""), "not a readable mask"),
    "mask with objects": (1, hostile, "not a readable mask"),
    "mask of another size": (
        1,
        save_mask((60, 81)),
        "the mask has 81×60 pixels, but its image a.png has 80×60",
    ),
    "mask on its side": (
        1,
        save_mask((80, 60)),
        "the mask has 60×80 pixels, but its image a.png has 80×60",
    ),
    "mask without sides": (1, save_mask(4800), "not a readable mask"),
    "mask of colours": (1, save_mask((60, 80, 3)), "not a readable mask"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_bad_file_is_named(training_set, broken, case):
    which, damage, message = DAMAGE[case]
    path, folder, referent = broken[which], broken[0].parent, broken[2]
    damage(path)
    train = dataclasses.replace(
        training_set, referents=[referent], image_path=str(folder), masks=open_masks(folder)
    )
    with pytest.raises(DataError, match=rf"^{path}: {message}"):
        train.sample(0)
    with pytest.raises(DataError, match=rf"^{path}: {message}"):
        batches_of(train)


def test_a_box_outside_its_image_is_named(training_set):
    referent = Referent("a.png", (70, 10, 110, 58), 0, 2, ("blue box",))
    with pytest.raises(DataError, match=r"a\.png: the center \(90, 34\) of box 70,10,110,58"):
        batches_of(dataclasses.replace(training_set, referents=[referent]))


@pytest.fixture
def dirty(training_set, tiny_set, tmp_path):
    """The training set with a damaged image, which two referents share, and a missing mask."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    shutil.copytree(tiny_set.images, images)
    shutil.copytree(tiny_set.masks, masks)
    cut(images / "a.png")
    (masks / f"{tiny_set.train[3].mask_id}.npy").unlink()
    return dataclasses.replace(
        training_set,
        image_path=str(images),
        masks=open_masks(masks),
        on_bad_sample="skip",
        bad_samples={},
    )


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_bad_sample_is_replaced_by_the_next_one_of_the_plan(dirty, training_set, epoch, workers):
    batches = batches_of(dirty, epoch, workers=workers)
    assert [len(batch["image"]) for batch in batches] == [2, 2, 2]
    order, choice = training_set.plan(epoch, 6)
    good = [place for place, row in enumerate(order) if row in (1, 4)]
    used = [next((g for g in good if g >= place), good[0]) for place in range(len(order))]
    assert rows_of(batches) == order[used].tolist()
    # Everything else of a sample comes from the same referent.
    samples = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    for place, instead in enumerate(used):
        words = training_set.word_ids(order[[instead]], choice[[instead]])
        parts = training_set.sample(order[instead])
        for key, value in zip(("image", "box_xyxy_px", "mask"), parts, strict=True):
            np.testing.assert_array_equal(samples[key][place], value)
        expected = training_set.words.lookup(words)[0]
        np.testing.assert_array_equal(samples["words"][place], expected)


def test_bad_samples_are_listed_once_with_their_reasons(dirty):
    for epoch in (1, 2):
        batches_of(dirty, epoch)
    image, mask = dirty.bad_samples.items()
    if image[0] != "a.png":
        image, mask = mask, image
    assert image[0] == "a.png"
    assert re.match(rf"{dirty.image_path}/a\.png: not a readable image \(", image[1])
    assert mask[0] == "mask-id 3 on c.png"
    assert mask[1].startswith(f"{dirty.masks.folder}/3.npy: no such mask; ")


def test_an_epoch_with_bad_samples_can_start_at_any_batch(dirty):
    whole = batches_of(dirty, epoch=2)
    for first_step in range(len(whole) + 1):
        resumed = dataclasses.replace(dirty, bad_samples={})
        assert same_batches(batches_of(resumed, epoch=2, first_step=first_step), whole[first_step:])


def test_a_set_without_a_single_usable_sample_is_an_error(dirty, tmp_path):
    dirty = dataclasses.replace(dirty, image_path=str(tmp_path))
    with pytest.raises(DataError, match=r"none of the 5 samples can be used, .*: no such image"):
        batches_of(dirty)


def test_cached_features_of_bad_images_are_not_read(dirty):
    features = Features()
    features.read = lambda image: (
        pytest.fail("read") if image == "a.png" else Features.read(features, image)
    )
    bad = {"a.png": "a.png: damaged"}
    cached = dataclasses.replace(dirty, features=features, bad_samples=bad)
    assert set(rows_of(batches_of(cached))) == {1, 4}


def test_bad_images_are_replaced_by_black_ones_if_they_are_to_be_listed(dirty):
    names, bad = ["c.png", "a.png", "b.png"], {}
    found = list(letterboxed_images(names, dirty.image_path, SIDE, 2, bad))
    assert [name for name, _, _ in found] == names
    assert list(bad) == ["a.png"]
    assert not found[1][1][SIDE // 2].any()
    with pytest.raises(DataError, match=r"a\.png: not a readable image"):
        list(letterboxed_images(names, dirty.image_path, SIDE, 2))
