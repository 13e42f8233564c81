"""train.py and test.py with damaged weights, and with data whose loss is not finite."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from config.errors import UserError
from config.hdf5_file import opened_hdf5
from config.schema import load_config
from model.mcn import build_mcn
from model.weights import save_weights
from tests.test_stops import ROOT, Run
from utils.training.builder import train
from utils.training.step_reader import TrainingError

pytestmark = pytest.mark.slow


def with_settings(run, **changes):
    settings = json.loads(run.settings.read_text())
    run.settings.write_text(json.dumps(settings | changes))
    return run


def damage(path):
    """Flips a bit of a weight; parts of an HDF5 file are unused, where it would change nothing."""
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_set):
    """The log folder of a run of one epoch."""
    run = Run(tmp_path_factory.mktemp("finished") / "run", tiny_set, 1)
    train(load_config(run.settings))
    return run.log


@pytest.fixture
def damaged(finished, tmp_path, tiny_set):
    """A run of one epoch whose best weights are damaged."""
    run = Run(tmp_path / "run", tiny_set, 1)
    shutil.copytree(finished, run.log)
    damage(run.log / "best.weights.h5")
    return run


def test_damaged_best_weights_are_reported_and_replaced_when_a_run_resumes(damaged):
    code, out, err = with_settings(damaged, epoches=2).finish()
    best = damaged.log / "best.weights.h5"
    assert code == 0, err
    assert f"warning: {best}: is damaged" in err
    assert "those of the next epoch will be saved as the best" in err
    assert "after epoch 2: " in out
    with opened_hdf5(best):  # Verifies the checksum.
        pass


def test_damaged_best_weights_are_not_evaluated(damaged, tmp_path):
    weights = damaged.log / "best.weights.h5"
    done = subprocess.run(
        [sys.executable, "test.py", "--config", damaged.settings, "--weights", weights,
         "--output", tmp_path / "result"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"error: {weights}: is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "result").exists()


def test_a_loss_that_overflows_names_terms_step_and_sample(tmp_path, tiny_set):
    """Begins with weights that overflow: images, masks and word vectors cannot hold NaN."""
    run = Run(tmp_path / "run", tiny_set, 1)
    model = build_mcn(load_config(run.settings))
    bias = model.get_layer("box_logits").bias
    bias.assign(np.full(bias.shape, 3e38))
    save_weights(model, tmp_path / "start.weights.h5")
    with_settings(run, pretrained_weights=str(tmp_path / "start.weights.h5"))
    with pytest.raises(TrainingError) as caught:
        train(load_config(run.settings))
    error = str(caught.value)
    found = re.match(
        r"epoch 1, step 1 of 5: not finite in (.*loss.*); the samples of the batch: "
        r"(\S+) \(mask-id (\d)\)\. This step",
        error,
    )
    assert found, error
    assert (found[2], int(found[3])) in {(r.image, r.mask_id) for r in tiny_set.train}
    assert list(run.log.glob("*.h5")) == []


def test_word_vectors_at_the_end_of_float32_train(tmp_path, tiny_set, capsys):
    signs = np.random.default_rng(0).choice([-1, 1], len(tiny_set.words["everything"]))
    vectors = tmp_path / "glove.txt"
    words = tiny_set.words | {"everything": 3e38 * signs}
    vectors.write_text("".join(f"{word} {' '.join(map(str, v))}\n" for word, v in words.items()))
    run = with_settings(Run(tmp_path / "run", tiny_set, 1), word_embed=str(vectors))
    train(load_config(run.settings))
    assert "epoch 1: loss" in capsys.readouterr().out


def test_a_mask_with_nan_is_refused_by_name(tmp_path, tiny_set):
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in Path(tiny_set.masks).iterdir():
        mask = np.load(path)
        np.save(masks / path.name, np.where(mask > 0, np.nan, 0) if path.stem == "3" else mask)
    run = with_settings(Run(tmp_path / "run", tiny_set, 1), seg_gt_path=str(masks))
    with pytest.raises(UserError, match=rf"^{masks / '3.npy'}: "):
        train(load_config(run.settings))


def test_overwriting_with_a_mistyped_path_moves_nothing(tmp_path, tiny_set):
    run = Run(tmp_path / "run", tiny_set, 1)
    run.log.mkdir()
    (run.log / "best.weights.h5").write_text("results")
    nowhere = str(tmp_path / "nowhere.txt")
    code, _, err = run.finish("--overwrite", "--set", f"anchors_file={nowhere}")
    assert code == 2, err
    assert nowhere in err
    assert sorted(path.name for path in run.log.parent.iterdir()) == ["log", "settings.json"]
    assert (run.log / "best.weights.h5").read_text() == "results"
    code, out, err = run.finish("--overwrite")
    assert code == 0, err
    (old,) = run.log.parent.glob("log.old-*")
    assert f"{run.log}: the earlier run is now in {old}" in out
    assert (old / "best.weights.h5").read_text() == "results"
