"""A run with every recipe: what it trains, evaluates and saves, and that it resumes bit by bit."""

import shutil

import numpy as np
import pytest

from config.errors import ConfigError
from config.run_folder import BEST_EMA, BEST_SEG, BEST_WEIGHTS
from config.schema import load_config
from config.signals import Stopped, stop_signals
from model.mcn import build_mcn
from model.weights import load_weights
from tests.test_imports import ROOT
from tests.tiny import weights_of
from tests.utils.training.test_reliability import interrupt_at, trainers_of
from tests.utils.training.test_trainer import records_of, state_of
from utils.prediction.run_folder import settings_of_weights

pytestmark = pytest.mark.slow

# Five samples make two steps of four, each in two parts.
RECIPES = {
    "flip": 0.5, "scale_jitter": 0.3, "color_jitter": 0.3, "batch_size": 4, "accumulate_steps": 2,
    "ema": 0.9, "best_seg": 1,
}  # fmt: skip
SCORES = {"val": (0.1, 0.2), "val_ema": (0.3, 0.25)}  # Acc@0.5 of the two epochs.
MASK_SCORES = (0.7, 0.6)


def test_the_demo_takes_every_recipe_without_cached_features():
    demo, recipes = ROOT / "config" / "demo.json", [f"{k}={v}" for k, v in RECIPES.items()]
    config = load_config(demo, [*recipes, "cache_features=0"])
    assert {key: getattr(config, key) for key in RECIPES} == RECIPES
    with pytest.raises(ConfigError, match=r"flip = 0\.5: must be 0 if cache_features is 1, or set"):
        load_config(demo, recipes)


@pytest.fixture(scope="module")
def new_trainer(tiny_set, tmp_path_factory):
    """`new_trainer(folder, **changes)`: a trainer whose evaluations return the scores above.

    It notes the weights that were evaluated in `trainer.evaluated`.
    """
    build = trainers_of(tiny_set, tmp_path_factory.mktemp("first"), **RECIPES)

    def new(folder, **changes):
        trainer = build(folder, **changes)
        evaluate, trainer.evaluated = trainer.evaluate, {}

        def scored(epoch, stop, **options):
            name = "val" if (epoch, "val") not in trainer.evaluated else "val_ema"
            trainer.evaluated[epoch, name] = weights_of(trainer.model)
            scores = {"det_acc": SCORES[name][epoch - 1], "seg_iou": MASK_SCORES[epoch - 1]}
            return {"val": {**evaluate(epoch, stop, **options)["val"], **scores}}

        trainer.evaluate = scored
        return trainer

    return new


@pytest.fixture(scope="module")
def finished(new_trainer, tmp_path_factory):
    """(trainer after two epochs, its state, the arrays of network and optimizer)."""
    trainer = new_trainer(tmp_path_factory.mktemp("run") / "log")
    state = trainer.run()
    return trainer, state, state_of(trainer)


def test_weights_and_averages_are_evaluated_and_the_best_of_each_saved(finished):
    trainer, state, _ = finished
    assert {file: (best.score, best.epoch) for file, best in state.bests.items()} == {
        BEST_WEIGHTS: (0.2, 2),
        BEST_SEG: (0.7, 1),
        BEST_EMA: (0.3, 1),
    }
    expected = {
        BEST_WEIGHTS: trainer.evaluated[2, "val"],
        BEST_SEG: trainer.evaluated[1, "val"],
        BEST_EMA: trainer.evaluated[1, "val_ema"],
    }
    model = build_mcn(trainer.config)
    for file, weights in expected.items():
        path = trainer.checkpoints.folder / file
        assert trainer.checkpoints.fault_of_best(state.bests[file].checksum, file) is None
        assert settings_of_weights(path).config.input_size == trainer.config.input_size
        load_weights(model, path)
        for variable, value in weights_of(model).items():
            np.testing.assert_array_equal(value, weights[variable], err_msg=variable)
    assert [set(record) for record in state.history] == [{"epoch", "train", "val", "val_ema"}] * 2


def test_averages_are_those_of_the_trained_weights(finished):
    trainer, _, _ = finished
    trained = [variable.path for variable in trainer.model.trainable_variables]
    weights, averages = trainer.evaluated[2, "val"], trainer.evaluated[2, "val_ema"]
    for path, average in zip(trained, trainer.optimizer.averages, strict=True):
        np.testing.assert_array_equal(averages[path], average)
    # Everything else is the same, BatchNorm's moving statistics among it.
    assert all(np.array_equal(weights[p], averages[p]) for p in weights if p not in trained)
    assert sum(not np.array_equal(weights[path], averages[path]) for path in trained) > 50


def test_one_update_per_step_and_every_sample_once(finished):
    trainer, state, _ = finished
    assert int(trainer.optimizer.iterations) == 4
    assert trainer._step.experimental_get_tracing_count() == 1
    assert state.settings["accumulate_steps"] == 2


def test_a_run_with_every_recipe_resumes_bit_by_bit(new_trainer, finished, tmp_path):
    _, state, arrays = finished
    trainer = new_trainer(tmp_path)
    interrupt_at(trainer, 2)  # After the first step of the second epoch.
    with pytest.raises(Stopped), stop_signals():
        trainer.run()
    resumed = new_trainer(tmp_path)
    found = resumed.run()
    assert len(arrays) == len(state_of(resumed))
    for array, expected in zip(state_of(resumed), arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert records_of(tmp_path) == records_of(finished[0].config.log_path)
    assert found.bests == state.bests  # With their checksums.


def test_all_best_weights_are_kept_when_others_cannot_be_compared(
    new_trainer, finished, tmp_path, capsys
):
    shutil.copytree(finished[0].config.log_path, folder := tmp_path / "log")
    files = {file: (folder / file).read_bytes() for file in (BEST_WEIGHTS, BEST_SEG, BEST_EMA)}
    resumed = new_trainer(folder, force=True, epoches=3, det_acc_thresh=0.7)
    assert resumed._start_state(fresh=False).bests == {}
    epochs = {BEST_WEIGHTS: 2, BEST_SEG: 1, BEST_EMA: 1}
    error = capsys.readouterr().err
    for file, content in files.items():
        kept = folder / f"{file.removesuffix('.weights.h5')}.epoch{epochs[file]}/best.weights.h5"
        assert kept.read_bytes() == content
        assert settings_of_weights(kept).config.det_acc_thresh == 0.5
        assert f"{folder / file}: the weights of epoch {epochs[file]} with " in error
        assert not (folder / file).exists()
    assert "with mean IoU 70.00 % were evaluated with another det_acc_thresh" in error


def test_a_lost_file_of_best_weights_is_said_and_forgotten(new_trainer, finished, tmp_path, capsys):
    shutil.copytree(finished[0].config.log_path, folder := tmp_path / "log")
    (folder / BEST_EMA).unlink()
    state = new_trainer(folder, epoches=3)._start_state(fresh=False)
    error = capsys.readouterr().err
    assert f"{folder / BEST_EMA}: is missing; the weights of epoch 1 with Acc@0.5 30.00 %" in error
    assert error.count("warning") == 1
    # The next epoch has the best averages, and both others still count.
    assert state.bests == {file: finished[1].bests[file] for file in (BEST_WEIGHTS, BEST_SEG)}
