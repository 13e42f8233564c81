"""Runs refuse lines and masks of different preparations before anything is built."""

import shutil

import pytest

from data.loading.errors import DataError
from data.preparation.manifest import FILE_NAME, Manifest, write_manifests
from tests.tiny import network_config
from utils.evaluation.evaluator import build_evaluator
from utils.training.builder import build_sets

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
    training_set, evaluator = build_sets(config)
    assert len(training_set.referents) == 5
    assert evaluator.n_expressions > 5


def test_evaluation_refuses_a_mixture(config, tmp_path):
    write_manifests(GOOGLE, {}, [tmp_path / "train"])
    with pytest.raises(DataError, match=r"train\.txt: the lines are of refcoco \(google\)"):
        build_evaluator(config, set_path=config.train_set)
    (tmp_path / "train" / FILE_NAME).unlink()
    assert len(build_evaluator(config, set_path=config.train_set).referents) == 5
