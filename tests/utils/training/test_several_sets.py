"""A run on two training and two evaluation sets: results of each, best weights, and resumption."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import test as evaluation
from config.signals import Stopped, stop_signals
from tests.utils.training.test_reliability import interrupt_at, trainers_of
from tests.utils.training.test_trainer import records_of, state_of
from utils.training.run.events import recorded_events
from utils.training.run.settings import compare_settings, run_settings, score_changes
from utils.training.run.terminal import best_lines, data_lines, epochs_table

pytestmark = pytest.mark.slow

NAMES = ["val", "val_plus_val"]


@pytest.fixture(scope="module")
def paths(tiny_set, tmp_path_factory):
    """The settings of the tiny set and of a second one with the same lines and mask ids."""
    root = tmp_path_factory.mktemp("sets")
    for name in ("tiny", "plus"):
        (root / "anns" / name).mkdir(parents=True)
        for split in ("train", "val"):
            shutil.copy(tiny_set.root / f"{split}.txt", root / "anns" / name)
        shutil.copytree(tiny_set.masks, root / "masks" / name)
    lists = {
        f"{kind}_set": [str(root / f"anns/{name}/{split}.txt") for name in ("tiny", "plus")]
        for kind, split in (("train", "train"), ("evaluate", "val"))
    }
    return {**lists, "seg_gt_path": str(root / "masks/tiny"), "leave_out_eval_images": 0}


@pytest.fixture(scope="module")
def new_trainer(tiny_set, paths, tmp_path_factory):
    def config(**changes):
        return tiny_set.config().replace(**paths | changes)

    several = type(tiny_set)(config=config)
    usual = {"train_weights": [1, 0.5], "best_of": "mean", "ema": 0.9, "log_images": 1}
    return trainers_of(several, tmp_path_factory.mktemp("first"), **usual)


@pytest.fixture(scope="module")
def finished(new_trainer, tmp_path_factory):
    trainer = new_trainer(tmp_path_factory.mktemp("run") / "log")
    evaluate = trainer.evaluate

    def scored(epoch, stop, averages=False):
        results = evaluate(epoch, stop, averages)
        # The first set alone would choose the first epoch, the mean of both the second.
        for name, scores in zip(NAMES, ((0.4, 0.3), (0.1, 0.4)), strict=True):
            results[name]["det_acc"] = scores[epoch - 1] + 0.1 * averages
        return results

    trainer.evaluate = scored
    return trainer, trainer.run()


def test_each_set_has_results_pictures_and_a_row(finished):
    trainer, state = finished
    expected = [*NAMES, *(f"{name}_ema" for name in NAMES)]
    for record in state.history:
        assert [name for name in record if name.startswith("val")] == expected
    tags = {tag for tag, _ in recorded_events(trainer.checkpoints.folder)}
    assert {f"{name}/Acc@0.5" for name in expected} <= tags
    assert {f"{name}/best/0" for name in NAMES} <= tags
    rows = epochs_table(state.history, 0.5, state.best_epoch).splitlines()
    assert [row.split()[0] for row in rows[1:5]] == ["1", "plus_val", "ema", "plus_val_ema"]
    lines = data_lines(trainer.training_set, trainer.evaluators)
    assert lines[0].startswith("data: 10 referents (7 per epoch) in 4 images to train on, ")
    assert lines[1] == "val_plus_val: 12 expressions in 4 images to evaluate on"


def test_the_mean_of_all_sets_chooses_the_best_weights(finished):
    _, state = finished
    assert (state.best_epoch, state.best_det_acc) == (2, pytest.approx(0.35))
    assert state.bests["best_ema.weights.h5"].score == pytest.approx(0.45)
    assert best_lines(state.bests, 0.5, "log", "mean")[0] == (
        "Best Acc@0.5 (mean of all sets) 35.00 % after epoch 2: log/best.weights.h5"
    )


def test_a_run_resumes_bit_by_bit(new_trainer, tmp_path):
    whole = new_trainer(tmp_path / "whole")
    whole.run()
    expected, records = state_of(whole), records_of(tmp_path / "whole")
    part = new_trainer(tmp_path / "part")
    interrupt_at(part, 5)
    with pytest.raises(Stopped), stop_signals():
        part.run()
    rest = new_trainer(tmp_path / "part")
    rest.run()
    for array, wanted in zip(state_of(rest), expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert records_of(tmp_path / "part") == records


def test_a_set_that_changes_makes_another_run(new_trainer, tmp_path):
    trainer = new_trainer(tmp_path / "log")
    config, words = trainer.config, trainer.training_set.words
    before = run_settings(config, words)
    changed = tmp_path / "plus" / "train.txt"
    changed.parent.mkdir()
    changed.write_text(Path(config.also_train[0]).read_text().splitlines()[0])
    other = run_settings(config.replace(train_set=[config.train_set, str(changed)]), words)
    refused = compare_settings(before, other).refused
    assert refused == [f"train_set: the contents of {config.train_set} have changed"]
    alone = run_settings(config.replace(evaluate_set=config.evaluate_set), words)
    assert "evaluate_set" in score_changes(before, alone)
    first = run_settings(config.replace(best_of="first"), words)
    assert score_changes(before, first) == ["best_of"]
    once = run_settings(config.replace(train_weights=[1, 1]), words)
    assert any("train_weights" in line for line in compare_settings(before, once).refused)


def test_all_sets_are_evaluated(finished, tmp_path, monkeypatch, capsys):
    trainer, _ = finished
    weights = str(trainer.checkpoints.best_path)
    command = ["test.py", "--weights", weights, "--output", str(tmp_path / "result")]
    monkeypatch.setattr("sys.argv", command)
    evaluation.main()
    folders = sorted(path.name for path in (tmp_path / "result").iterdir() if path.is_dir())
    assert folders == ["plus_val", "tiny_val"]
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", [*command, "--name", "mine"])
    with pytest.raises(evaluation.UserError, match="--name and --dump are for one set"):
        evaluation.main()
