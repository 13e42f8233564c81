"""A run that is stopped, fails or meets bad numbers loses nothing and says what happened."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from config.errors import UserError
from config.hdf5_file import written_hdf5
from config.signals import Stopped, stop_signals
from data.loading.errors import DataError
from tests.utils.training.test_trainer import records_of, state_of
from utils.prediction.run_folder import settings_of_weights
from utils.training import step_reader
from utils.training.builder import build_trainer, train
from utils.training.run.checkpoints import CheckpointError, Checkpoints
from utils.training.run.folder import RunFolderError
from utils.training.run.kept_weights import keep_weights
from utils.training.run.settings import run_settings
from utils.training.step_reader import TrainingError
from utils.training.trainer import Trainer

pytestmark = pytest.mark.slow


def settings(tiny_set, folder, **changes):
    """Five samples in batches of two: three steps per epoch."""
    usual = {"free_body": 1, "epoches": 2, "lr": 2e-3, "steps": [2]}
    return tiny_set.config(**usual | {"log_path": str(folder)} | changes)


def trainers_of(tiny_set, folder, **always):
    """`new_trainer(folder, **changes)`: a trainer that has not run.

    All share the compiled parts of one network, which takes most of the time to build, and begin
    with its initial weights. test_stops.py resumes in new processes.
    """
    first = build_trainer(settings(tiny_set, folder, **always))
    initial = state_of(first)
    variables = [*first.model.variables, *first.optimizer.variables]

    def build(folder, *, force=False, **changes):
        for variable, value in zip(variables, initial, strict=True):
            variable.assign(value)
        config = settings(tiny_set, folder, **always | changes)
        trainer = Trainer(
            config, run_settings(config, first.training_set.words), first.processes,
            first.training_set, first.evaluators, first.grounder, first.optimizer,
            Checkpoints(folder, first.model, first.optimizer), force,
        )  # fmt: skip
        same_shapes = config.batch_size == first.config.batch_size
        trainer._step = first._step if same_shapes else None
        trainer._batches(1)  # Builds the step, if this is the first trainer.
        if same_shapes:
            first._step = trainer._step
        return trainer

    return build


@pytest.fixture(scope="module")
def new_trainer(tiny_set, tmp_path_factory):
    """See `trainers_of`."""
    return trainers_of(tiny_set, tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def uninterrupted(new_trainer, tmp_path_factory):
    """(arrays, records, state) of a run of two epochs that was never stopped."""
    folder = tmp_path_factory.mktemp("run") / "log"
    trainer = new_trainer(folder)
    state = trainer.run()
    return state_of(trainer), records_of(folder), state


def assert_same_run(trainer, state, uninterrupted):
    arrays, records, expected = uninterrupted
    for array, wanted in zip(state_of(trainer), arrays, strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert records_of(trainer.config.log_path) == records
    assert (state.best_det_acc, state.best_epoch) == (expected.best_det_acc, expected.best_epoch)


def test_gradients_that_overflow_at_every_loss_scale_are_reported(
    tiny_set, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(step_reader, "OVERFLOWS_TO_WARN", 2)
    monkeypatch.setattr(step_reader, "OVERFLOWS_TO_STOP", 4)
    changes = {"precision": "mixed_float16", "seg_loss_weight": 1e6}
    trainer = build_trainer(settings(tiny_set, tmp_path / "log", **changes))
    before = [np.array(variable) for variable in trainer.model.trainable_variables]
    with pytest.raises(
        TrainingError,
        match="epoch 2, step 1 of 3: the gradients overflowed float16 in 4 steps in a row, none of "
        "which changed the weights; use precision=mixed_bfloat16",
    ):
        trainer.run()
    assert capsys.readouterr().err.count("warning: epoch 1, step 2 of 3: the gradients over") == 1
    for variable, value in zip(trainer.model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert trainer.checkpoints.found


def interrupt_at(trainer, step, number=signal.SIGTERM):
    """Sends a signal to the process when the trainer begins this step, counted over the run."""
    run_step, done = trainer._run_step, []

    def interrupted(*arguments):
        if len(done) == step:
            os.kill(os.getpid(), number)
        done.append(step)
        return run_step(*arguments)

    trainer._run_step = interrupted


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4])
def test_a_run_stopped_in_any_step_resumes_bit_by_bit(new_trainer, tmp_path, uninterrupted, step):
    trainer = new_trainer(tmp_path)
    interrupt_at(trainer, step)
    with pytest.raises(Stopped), stop_signals():
        trainer.run()
    saved = trainer.checkpoints.restore()
    assert (saved.epoch * 3) + saved.step == step + 1
    resumed = new_trainer(tmp_path)
    assert_same_run(resumed, resumed.run(), uninterrupted)


def test_a_run_stopped_in_validation_resumes_with_it(new_trainer, tmp_path, uninterrupted, capsys):
    trainer = new_trainer(tmp_path)
    evaluate = trainer.evaluate

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*arguments)

    trainer.evaluate = interrupted
    with pytest.raises(Stopped) as stopped, stop_signals():
        trainer.run()
    assert stopped.value.exit_code == 130
    resumed = new_trainer(tmp_path)
    resumed.train_epoch = counted(resumed.train_epoch, trained := [])
    assert_same_run(resumed, resumed.run(), uninterrupted)
    assert [state.step for state in trained] == [3, 0]
    assert "resuming in epoch 1 at step 3 of 3" in capsys.readouterr().out


def counted(train_epoch, states):
    def call(state, stop):
        states.append(state)
        return train_epoch(state, stop)

    return call


def test_states_are_saved_within_an_epoch(new_trainer, tmp_path):
    trainer = new_trainer(tmp_path, epoches=1, save_every_minutes=1e-9)
    saved, save = [], trainer.checkpoints.save

    def recording(state):
        saved.append((state.epoch, state.step))
        save(state)

    trainer.checkpoints.save = recording
    trainer.run()
    assert saved == [(0, 1), (0, 2), (0, 3), (1, 0)]


def test_a_failing_validation_does_not_lose_the_epoch(new_trainer, tmp_path, uninterrupted):
    trainer = new_trainer(tmp_path)

    def fail(*_arguments):
        raise DataError("d.png: damaged")

    trainer.evaluate = fail
    with pytest.raises(DataError):
        trainer.run()
    resumed = new_trainer(tmp_path)
    resumed.train_epoch = counted(resumed.train_epoch, trained := [])
    assert_same_run(resumed, resumed.run(), uninterrupted)
    assert trained[0].step == 3


def test_validation_is_tried_before_the_first_epoch(new_trainer, tiny_set, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(tiny_set.images, images)
    trainer = new_trainer(tmp_path / "log")
    trainer.evaluators = {"val": dataclasses.replace(trainer.evaluators["val"], image_path=images)}
    (images / "c.png").write_bytes(b"damaged")
    trainer.train_epoch = counted(trainer.train_epoch, trained := [])
    with pytest.raises(DataError, match=r"c\.png"):
        trainer.run()
    assert trained == []


def break_layer(trainer, name):
    layer = trainer.model.get_layer(name)
    layer.bias.assign(np.full(layer.bias.shape, np.nan))


@pytest.mark.parametrize(
    ("layer", "terms"),
    [("mask_logits", "mask, loss"), ("box_logits", "xy, wh, confidence, ")],
)
def test_a_loss_that_is_not_finite_names_term_step_and_samples(new_trainer, tmp_path, layer, terms):
    trainer = new_trainer(tmp_path)
    trainer._complete_epoch = lambda state, *_: (
        break_layer(trainer, layer) or dataclasses.replace(state.after_epoch())
    )
    with pytest.raises(TrainingError) as caught:
        trainer.run()
    message = str(caught.value)
    assert message.startswith(f"epoch 2, step 1 of 3: not finite in {terms}")
    order, _ = trainer.training_set.plan(2)
    for row in order[:2]:
        referent = trainer.training_set.referents[row]
        assert f"{referent.image} (mask-id {referent.mask_id})" in message
    assert "skip_nonfinite=" in message
    assert trainer.checkpoints.restore().step == 3


def test_weights_that_diverge_in_the_last_step_of_an_epoch_say_how_to_resume(
    new_trainer, tmp_path, uninterrupted
):
    """No loss has judged this update, which is saved before validation meets it."""
    trainer, done = new_trainer(tmp_path), []
    run_step = trainer._run_step

    def diverging(*arguments):
        result = run_step(*arguments)
        done.append(1)
        if len(done) == 6:
            for variable in trainer.model.trainable_variables:
                variable.assign(variable * 1e30)
        return result

    trainer._run_step = diverging
    way_out = r"the network computes NaN .*: the training has diverged\. .* last\.state\.h5 away"
    with pytest.raises(TrainingError, match=way_out):
        trainer.run()
    with pytest.raises(TrainingError, match=way_out):
        new_trainer(tmp_path).run()
    (tmp_path / "last.state.h5").rename(tmp_path / "spoiled.h5")
    resumed = new_trainer(tmp_path)
    with pytest.warns(UserWarning, match=r"previous\.state\.h5 is used"):
        state = resumed.run()
    assert_same_run(resumed, state, uninterrupted)


def broken_words(trainer, row):
    """Makes the words of one referent NaN: only batches with it are not finite."""
    words = trainer.training_set.words
    lookup, referent = words.lookup, trainer.training_set.referents[row]
    ids = {words.encode(text, 4).tobytes() for text in referent.expressions}

    class Broken:
        encode = staticmethod(words.encode)

        @staticmethod
        def lookup(rows):
            vectors = np.array(lookup(rows))
            for place, row_ids in enumerate(rows):
                if row_ids.tobytes() in ids:
                    vectors[place] = np.nan
            return vectors

    trainer.training_set = dataclasses.replace(trainer.training_set, words=Broken())


def test_a_bad_sample_in_the_last_step_of_an_epoch_is_never_saved(new_trainer, tmp_path):
    trainer = new_trainer(tmp_path)
    row = trainer.training_set.plan(1)[0][-1]  # In the last batch only.
    broken_words(trainer, row)
    with pytest.raises(TrainingError, match=r"epoch 1, step 3 of 3: not finite in"):
        trainer.run()
    assert trainer.checkpoints.restore() is None
    assert not list(Path(tmp_path).glob("*.h5"))
    for variable in [*trainer.model.trainable_variables, *trainer.optimizer.variables]:
        assert np.isfinite(np.array(variable)).all(), variable.path


def test_steps_that_are_not_finite_are_skipped_up_to_a_number(tiny_set, tmp_path, capsys):
    row = None
    for tolerated, stopped in ((1, True), (2, False)):
        folder = tmp_path / str(tolerated)
        trainer = build_trainer(settings(tiny_set, folder, skip_nonfinite=tolerated))
        row = trainer.training_set.plan(1)[0][-1] if row is None else row
        broken_words(trainer, row)  # Once per epoch, so twice.
        if stopped:
            with pytest.raises(TrainingError, match="after 1 such steps, stops"):
                trainer.run()
        else:
            assert trainer.run().skipped == 2
    printed = capsys.readouterr().err
    assert printed.count("the step is skipped") == 3
    state = trainer.checkpoints.restore()
    assert all(np.isfinite(array).all() for array in state_of(trainer) if array.dtype.kind == "f")
    assert int(trainer.optimizer.iterations) == 4  # Two of six steps were skipped.
    assert all(np.isfinite(record["train"]["loss"]) for record in state.history)


def test_skipped_steps_change_nothing(tiny_set, tmp_path):
    config = settings(tiny_set, tmp_path, skip_nonfinite=9, batch_size=5, epoches=1)
    trainer = build_trainer(config)
    broken_words(trainer, 0)
    names = [v.path for v in [*trainer.model.variables, *trainer.optimizer.variables]]
    before = dict(zip(names, state_of(trainer), strict=True))
    trainer.run()
    for name, array in zip(names, state_of(trainer), strict=True):
        if "seed" not in name and "learning_rate" not in name:
            np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_changed_settings_are_refused_or_printed(new_trainer, tmp_path, capsys):
    trainer = new_trainer(tmp_path, epoches=1)
    trainer.run()
    config = trainer.config
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(RunFolderError, match=r"det_acc_thresh: 0\.5 → 0\.7.*--resume force"):
        build_trainer(config.replace(det_acc_thresh=0.7, lr=1e-3))
    vectors = tmp_path / "other.txt"
    vectors.write_text(Path(config.word_embed).read_text().replace("-", ""))
    with pytest.raises(RunFolderError, match=r"word_embed: the contents of .*--resume force"):
        build_trainer(config.replace(word_embed=str(vectors)))
    assert (tmp_path / "config.json").read_bytes() == before
    capsys.readouterr()
    changed = config.replace(det_acc_thresh=0.7, lr=1e-3, epoches=2)
    assert build_trainer(changed, force=True).run().epoch == 2
    printed = capsys.readouterr().out
    for change in ("det_acc_thresh: 0.5 → 0.7", "lr: 0.002 → 0.001", "epoches: 1 → 2"):
        assert f"setting changed: {change}" in printed


def test_results_without_a_state_are_not_overwritten(new_trainer, tmp_path):
    trainer = new_trainer(tmp_path / "log", epoches=1)
    trainer.run()
    config = trainer.config
    for state in (tmp_path / "log").glob("*.state.h5"):
        state.unlink()
    best = (tmp_path / "log" / "best.weights.h5").read_bytes()
    with pytest.raises(RunFolderError, match="--overwrite"):
        train(config)
    assert (tmp_path / "log" / "best.weights.h5").read_bytes() == best
    train(config, overwrite=True)
    (old,) = (path for path in tmp_path.iterdir() if ".old-" in path.name)
    assert (old / "best.weights.h5").read_bytes() == best
    assert (tmp_path / "log" / "best.weights.h5").exists()


def test_a_run_that_appears_while_another_is_built_is_not_resumed_with_other_settings(
    new_trainer, tmp_path
):
    new_trainer(tmp_path / "first", epoches=1).run()
    late = new_trainer(tmp_path / "second", seed=99)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    state = (tmp_path / "second/last.state.h5").read_bytes()
    with pytest.raises(RunFolderError, match=r"began with other settings \(seed: 10010 → 99"):
        late.run()
    assert (tmp_path / "second/last.state.h5").read_bytes() == state


@pytest.mark.parametrize("damage", ["missing", "damaged", "not the file"])
def test_a_lost_best_file_is_said_and_replaced(new_trainer, tmp_path, capsys, damage):
    trainer = new_trainer(tmp_path, epoches=1)
    evaluate = trainer.evaluate
    trainer.evaluate = lambda *arguments: {"val": {**evaluate(*arguments)["val"], "det_acc": 0.9}}
    trainer.run()
    best = tmp_path / "best.weights.h5"
    if damage == "missing":
        best.unlink()
    elif damage == "not the file":
        with written_hdf5(best) as file:  # Intact, but of another run.
            file["values"] = np.zeros(3)
    else:
        content = bytearray(best.read_bytes())
        content[-100] ^= 1
        best.write_bytes(content)
    state = new_trainer(tmp_path, epoches=2).run()
    assert f"{best}: is {damage}" in capsys.readouterr().err
    assert best.exists()
    assert state.best_epoch == 2


def test_best_weights_that_a_killed_process_has_moved_are_not_called_lost(
    new_trainer, tmp_path, capsys
):
    trainer = new_trainer(tmp_path, epoches=1)
    evaluate = trainer.evaluate
    trainer.evaluate = lambda *arguments: {"val": {**evaluate(*arguments)["val"], "det_acc": 0.9}}
    trainer.run()
    kept = keep_weights(tmp_path, 1, trainer.settings)  # Then it was killed, and saved no state.
    new_trainer(tmp_path, epoches=2, det_acc_thresh=0.7, force=True).run()
    error = capsys.readouterr().err
    assert f"90.00 % are in {kept}, and those of the next" in error
    assert "lost" not in error


def test_a_dry_run_writes_nothing(tiny_set, tmp_path, capsys):
    root = tmp_path / "set"
    shutil.copytree(tiny_set.root, root)
    paths = {
        key: value.replace(str(tiny_set.root), str(root)) for key, value in tiny_set.paths.items()
    }
    for cache in root.glob("*.npz"):
        cache.unlink()
    before = sorted(root.rglob("*"))
    config = settings(tiny_set, tmp_path / "log", cache_features=1, **paths)
    assert train(config, dry_run=True) is None
    assert sorted(root.rglob("*")) == before
    assert not (tmp_path / "log").exists()
    printed = capsys.readouterr().out
    assert "Dry run: 2 training steps, mean loss" in printed
    images = {line.split()[0] for line in Path(config.evaluate_set).read_text().splitlines()}
    tried = min(len(images), 2 * config.eval_batch_size)
    assert f"validation on {tried} image" in printed
    assert "nothing was written, and cache_features was ignored" in printed


def test_a_dry_run_names_what_is_missing(tiny_set, tmp_path):
    config = settings(tiny_set, tmp_path / "log", image_path=str(tmp_path))
    with pytest.raises(DataError, match=r"\.png"):
        train(config, dry_run=True)


def test_another_batch_size_continues_at_the_same_sample(new_trainer, tmp_path):
    trainer = new_trainer(tmp_path, epoches=1)
    interrupt_at(trainer, 1)
    with pytest.raises(Stopped), stop_signals():
        trainer.run()
    resumed = new_trainer(tmp_path, epoches=1, batch_size=4)
    resumed.train_epoch = counted(resumed.train_epoch, trained := [])
    state = resumed.run()
    assert (trained[0].step, resumed.plan.steps) == (1, 2)
    assert (state.epoch, state.steps_before) == (1, 3)  # Two of two samples, one of four.
    record = json.loads((tmp_path / "epochs.jsonl").read_text())
    assert record["train"]["loss"] > 0


def test_a_set_smaller_than_a_batch_is_repeated_or_refused(new_trainer, tmp_path):
    trainer = new_trainer(tmp_path, epoches=1, batch_size=7)
    assert (trainer.plan.samples, trainer.plan.steps) == (7, 1)
    with pytest.raises(TrainingError, match=r"holds 5 referents, less than batch_size 7, and last"):
        new_trainer(tmp_path, batch_size=7, last_batch="drop")


def test_a_weight_that_is_not_finite_is_never_saved(new_trainer, tmp_path):
    """A moving average that overflows shows in no loss."""
    trainer = new_trainer(tmp_path)
    complete = trainer._complete_epoch

    def break_and_complete(state, stop):
        average = trainer.model.get_layer("fusion_bn").moving_variance
        average.assign(np.full(average.shape, np.inf))
        trainer.checkpoints.save(state)
        return complete(state, stop)

    trainer._complete_epoch = break_and_complete
    message = "^epoch 1, step 3: fusion_bn/moving_variance is not finite"
    with pytest.raises(CheckpointError, match=message):
        trainer.run()
    assert trainer.checkpoints.restore().step == 3
    assert not (tmp_path / "best.weights.h5").exists()


def files_of(folder):
    """Content and modification time of every file."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_finished_run_that_starts_again_changes_nothing(new_trainer, tmp_path, capsys):
    finished = new_trainer(tmp_path, epoches=1).run()
    before = files_of(tmp_path)
    capsys.readouterr()
    assert new_trainer(tmp_path, epoches=1).run() == finished
    assert files_of(tmp_path) == before
    printed = capsys.readouterr().out
    assert "The only epoch is complete, and nothing was changed; raise epoches" in printed
    assert "--overwrite" in printed
    assert "resuming" not in printed


@pytest.mark.parametrize("missing", ["pretrained_weights", "anchors_file", "image_path"])
def test_overwriting_moves_nothing_before_everything_is_found(
    new_trainer, tmp_path, missing, capsys
):
    trainer = new_trainer(tmp_path / "log", epoches=1)
    trainer.run()
    before = files_of(tmp_path)
    with pytest.raises((UserError, OSError), match="nowhere"):
        train(trainer.config.replace(**{missing: str(tmp_path / "nowhere")}), overwrite=True)
    assert files_of(tmp_path) == before
    assert "the earlier run is now in" not in capsys.readouterr().out


def test_overwriting_never_moves_the_weights_to_start_from(new_trainer, tmp_path):
    trainer = new_trainer(tmp_path / "log", epoches=1)
    evaluate = trainer.evaluate
    trainer.evaluate = lambda *arguments: {"val": {**evaluate(*arguments)["val"], "det_acc": 0.9}}
    trainer.run()
    best = tmp_path / "log" / "best.weights.h5"
    config = trainer.config.replace(pretrained_weights=str(best))
    with pytest.raises(RunFolderError, match="copy it to another folder"):
        train(config, overwrite=True)
    assert best.exists()


def test_only_the_chief_moves_the_earlier_run_and_no_worker_resumes_it(new_trainer, tmp_path):
    new_trainer(tmp_path / "log", epoches=1).run()
    before = files_of(tmp_path)
    worker = new_trainer(tmp_path / "log", epoches=1)
    worker.chief = worker.checkpoints.writer = False
    initial = state_of(worker)
    worker.train_epoch = counted(worker.train_epoch, trained := [])
    worker.run(fresh=True)
    assert [(state.epoch, state.step) for state in trained] == [(0, 0)]
    assert len(initial) == len(state_of(worker))
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    "change", ["det_acc_thresh", "evaluate_set", "anchors_file", "aspp_dilations"]
)
def test_a_best_accuracy_of_other_settings_is_forgotten_and_its_weights_are_kept(
    new_trainer, tiny_set, tmp_path, capsys, change
):
    trainer = new_trainer(tmp_path / "log", epoches=1)
    evaluate = trainer.evaluate
    trainer.evaluate = lambda *arguments: {"val": {**evaluate(*arguments)["val"], "det_acc": 0.9}}
    trainer.run()
    best = (tmp_path / "log" / "best.weights.h5").read_bytes()
    (tmp_path / "val.txt").write_bytes(Path(tiny_set.paths["train_set"]).read_bytes())
    (tmp_path / "anchors.txt").write_text("1,2, 3,4, 5,6, 7,8, 9,10, 11,12, 13,14, 15,16, 17,18")
    changed = {
        "det_acc_thresh": 0.7,
        "evaluate_set": str(tmp_path / "val.txt"),
        "anchors_file": str(tmp_path / "anchors.txt"),
        "aspp_dilations": [1, 2, 3],
    }[change]
    capsys.readouterr()
    resumed = new_trainer(tmp_path / "log", force=True, epoches=2, **{change: changed})
    evaluate = resumed.evaluate
    resumed.evaluate = lambda *arguments: {"val": {**evaluate(*arguments)["val"], "det_acc": 0.1}}
    state = resumed.run()
    assert (state.best_epoch, state.best_det_acc) == (2, 0.1)
    kept = tmp_path / "log" / "best.epoch1" / "best.weights.h5"
    assert kept.read_bytes() == best
    for weights, run in ((kept, trainer), (resumed.checkpoints.best_path, resumed)):
        found = settings_of_weights(weights).config
        assert getattr(found, change) == getattr(run.config, change)
        assert found.evaluate_model == str(weights)
    assert (tmp_path / "log" / "best.weights.h5").exists()
    [line] = [line for line in capsys.readouterr().err.splitlines() if str(kept) in line]
    assert "epoch 1 with Acc@0.5 90.00 % " in line
    assert f"another {change};" in line
    assert ("they need anchors_file as it was then" in line) == (change == "anchors_file")


def test_a_run_killed_before_its_last_record_writes_it_when_started_again(
    new_trainer, tmp_path, capsys
):
    trainer = new_trainer(tmp_path, epoches=1)
    state = trainer.run()
    (tmp_path / "epochs.jsonl").unlink()
    assert new_trainer(tmp_path, epoches=1).run().epoch == 1
    assert "complete, and only epochs.jsonl and curves.png were changed" in capsys.readouterr().out
    lines = (tmp_path / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == state.history


def test_a_dry_run_of_a_fresh_start_ignores_the_earlier_run(new_trainer, tmp_path, capsys):
    trainer = new_trainer(tmp_path, epoches=1)
    trainer.run()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    config = trainer.config.replace(seed=5)
    with pytest.raises(RunFolderError):
        train(config, dry_run=True)
    capsys.readouterr()
    train(config, dry_run=True, overwrite=True)
    assert "resumed" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for state in tmp_path.glob("*.state.h5"):
        state.unlink()
    train(config, dry_run=True, overwrite=True)
