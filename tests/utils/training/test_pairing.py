"""Runs read lines and masks of one preparation, whatever is prepared meanwhile."""

import shutil

import numpy as np
import pytest

from data.loading.annotations import read_annotations
from data.loading.errors import DataError
from data.loading.masks import write_masks
from data.preparation import manifest
from data.preparation.manifest import FILE_NAME, Manifest, write_manifests
from tests.tiny import network_config
from utils.evaluation.evaluator import build_evaluator
from utils.training import builder
from utils.training.builder import build_sets, build_trainer

UNC, GOOGLE = (Manifest("refcoco", division, {}, True) for division in ("unc", "google"))


@pytest.fixture
def config(tiny_set, tmp_path):
    """The config of a copy of the tiny set whose masks have a manifest."""
    for kind in ("train", "val"):
        (tmp_path / kind).mkdir()
        shutil.copy(tiny_set.root / f"{kind}.txt", tmp_path / kind)
    shutil.copytree(tiny_set.masks, tmp_path / "masks")
    write_manifests(UNC, {}, [tmp_path / "masks"])
    paths = {
        "train_set": str(tmp_path / "train/train.txt"),
        "evaluate_set": str(tmp_path / "val/val.txt"),
        "seg_gt_path": str(tmp_path / "masks"),
    }
    return network_config(**(tiny_set.paths | paths))


@pytest.mark.parametrize("kind", ["train", "val"])
def test_training_refuses_a_mixture(config, tmp_path, kind):
    write_manifests(GOOGLE, {}, [tmp_path / kind])
    with pytest.raises(DataError, match=rf"{kind}\.txt: the lines are of refcoco \(google\)"):
        build_sets(config)
    write_manifests(UNC, {}, [tmp_path / kind])
    training_set, evaluators, _ = build_sets(config)
    assert len(training_set.referents) == 5
    assert evaluators["val"].n_expressions > 5


def test_evaluation_refuses_a_mixture(config, tmp_path):
    write_manifests(GOOGLE, {}, [tmp_path / "train"])
    with pytest.raises(DataError, match=r"train\.txt: the lines are of refcoco \(google\)"):
        build_evaluator(config, set_path=config.train_set)
    (tmp_path / "train" / FILE_NAME).unlink()
    assert len(build_evaluator(config, set_path=config.train_set).referents) == 5


def prepare_masks(config, value):
    """Writes masks of full images, of `value` everywhere, in place of those of the config."""
    referents = [*read_annotations(config.train_set), *read_annotations(config.evaluate_set)]
    sizes = {r.mask_id: np.load(f"{config.seg_gt_path}/{r.mask_id}.npy").shape for r in referents}
    write_masks(config.seg_gt_path, ((key, np.full(size, value)) for key, size in sizes.items()))
    return {key: (width, height) for key, (height, width) in sizes.items()}


@pytest.mark.parametrize("kind", ["train", "val"])
def test_masks_are_those_of_the_lines_although_both_are_replaced_later(config, kind):
    sizes = prepare_masks(config, 1)
    training_set, evaluators, _ = build_sets(config)
    alone = build_evaluator(config)
    prepare_masks(config, 0)
    evaluator = evaluators["val"]
    for built in [training_set] if kind == "train" else [evaluator, evaluator.part(0, 2), alone]:
        assert all(built.masks.read(r, *sizes[r.mask_id]).all() for r in built.referents)


CHANGES = ("lines of val", "masks", "manifest of masks", "manifest of lines")


@pytest.mark.parametrize("at", ["read_annotations", "open_masks", "check_pairing"])
@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("build", [build_sets, build_evaluator])
def test_a_set_that_is_replaced_while_it_is_read_is_refused(
    config, tmp_path, monkeypatch, at, what, build
):
    prepare_masks(config, 1)
    write_manifests(UNC, {}, [tmp_path / "train", tmp_path / "val"])
    changes = {
        CHANGES[0]: lambda: shutil.copy(config.train_set, config.evaluate_set),
        CHANGES[1]: lambda: prepare_masks(config, 0),
        CHANGES[2]: lambda: write_manifests(GOOGLE, {}, [tmp_path / "masks"]),
        CHANGES[3]: lambda: write_manifests(GOOGLE, {}, [tmp_path / "val"]),
    }
    original = getattr(manifest, at)

    def replaced_after(*arguments):
        result = original(*arguments)
        monkeypatch.undo()
        changes[what]()
        return result

    monkeypatch.setattr(manifest, at, replaced_after)
    with pytest.raises(DataError, match=r" changed while |the lines are of"):
        build(config)


def test_lines_that_are_replaced_before_their_checksum_is_recorded_are_refused(
    config, tmp_path, monkeypatch
):
    def replaced_before(*arguments):
        monkeypatch.undo()
        shutil.copy(config.evaluate_set, config.train_set)
        return builder.run_settings(*arguments)

    monkeypatch.setattr(builder, "run_settings", replaced_before)
    with pytest.raises(DataError, match=r"train\.txt changed while it was read"):
        build_trainer(config.replace(log_path=str(tmp_path / "log")))
    assert not (tmp_path / "log").exists()
