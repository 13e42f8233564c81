"""Real runs of the tiny network: what trains, what stays frozen, and resuming after a stop."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from model.losses import LOSS_TERMS
from model.mcn import build_mcn
from tests.tiny import weights_of
from utils.training.builder import build_trainer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
# Weights that have no effect on the outputs: see test_mcn.py.
WITHOUT_GRADIENT = ("key_bias", "cem_mask/bias", "cem_box/bias")


def keep_snapshots(trainer, folder):
    """Copies the log folder when an epoch begins: what a run stopped in this epoch leaves."""
    train_epoch = trainer.train_epoch

    def snapshot_and_train(state, stop):
        if Path(trainer.config.log_path).exists():
            shutil.copytree(trainer.config.log_path, folder / f"before_{state.epoch + 1}")
        return train_epoch(state, stop)

    trainer.train_epoch = snapshot_and_train


def state_of(trainer):
    """Weights, dropout seeds and optimizer, by their order."""
    variables = [*trainer.model.variables, *trainer.optimizer.variables]
    return [np.array(variable) for variable in variables]


def records_of(folder):
    """The lines of epochs.jsonl without durations."""
    lines = (Path(folder) / "epochs.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["train"]["seconds"], record["train"]["samples_per_s"]
    return records


@pytest.fixture(scope="module")
def finished(tiny_set, tmp_path_factory):
    """(trainer after two epochs with a frozen backbone, initial weights, folder of snapshots)."""
    folder = tmp_path_factory.mktemp("training")
    config = tiny_set.config(
        free_body=1, epoches=2, steps=[2], lr=2e-3, log_path=str(folder / "log"), log_images=1
    )
    trainer = build_trainer(config)
    keep_snapshots(trainer, folder)
    before = weights_of(trainer.model)
    trainer.state = trainer.run()
    return trainer, before, folder


@pytest.fixture(scope="module")
def resumed(finished):
    """Another trainer that resumes from what the first one left after one epoch."""
    config, folder = finished[0].config, finished[2]
    trainer = build_trainer(config.replace(log_path=str(folder / "before_2")))
    trainer.state = trainer.run()
    return trainer


def test_two_epochs_of_every_sample(finished):
    trainer, _, _ = finished
    records = records_of(trainer.config.log_path)
    assert [record["epoch"] for record in records] == [1, 2]
    assert trainer.state.epoch == 2
    assert int(trainer.optimizer.iterations) == 6  # five samples in batches of two, twice
    for record in records:
        train = record["train"]
        assert set(train) == {*LOSS_TERMS, "l2", "loss", "learning_rate"}
        total = sum(train[name] for name in (*LOSS_TERMS, "l2"))
        assert train["loss"] == pytest.approx(total, rel=1e-5)
        assert record["val"]["n_expressions"] == 12


def test_the_step_is_traced_once(finished):
    assert finished[0]._step.experimental_get_tracing_count() == 1


def test_learning_rate_follows_the_schedule(finished):
    trainer, _, _ = finished
    rates = [r["train"]["learning_rate"] for r in records_of(trainer.config.log_path)]
    assert rates == pytest.approx([2e-3, 2e-4])
    assert float(trainer.optimizer.learning_rate) == pytest.approx(2e-4)


def test_what_is_frozen_stays_and_the_rest_trains(finished):
    trainer, before, _ = finished
    after = weights_of(trainer.model)
    for layer in trainer.model.layers:
        for variable in layer.weights:
            same = np.array_equal(before[variable.path], after[variable.path])
            if variable.path.endswith(WITHOUT_GRADIENT):
                continue
            assert same == (not layer.trainable), variable.path
    frozen = [layer.name for layer in trainer.model.layers if not layer.trainable]
    assert {"backbone_1_bn", "backbone_20_bn"} <= set(frozen)
    assert not {"backbone_21_bn", "backbone_22_conv", "fusion_bn"} & set(frozen)


def test_the_start_and_each_epoch_are_reported(tiny_set, tmp_path, capsys):
    config = tiny_set.config(
        free_body=1, epoches=1, det_acc_thresh=0.3, log_path=str(tmp_path), workers=1
    )
    build_trainer(config).run()
    printed = capsys.readouterr().out
    start, _, epochs = printed.partition("epoch 1: ")
    assert re.fullmatch(
        r"device: .+\n"
        r"data: 5 referents in 4 images to train on, 12 expressions in 4 images to evaluate on; "
        r"1 of 17 words has no vector, see data/check\.py\n"
        r"parameters: [\d,]+ trained, [\d,]+ frozen\n"
        r"training: 1 epoch of 3 steps, 2 samples per step; input 96 × 96 pixels, 4 words per "
        r"expression\n"
        r"settings other than the defaults:.*\n(?:  .+\n)*"
        rf"output: {tmp_path}/ \(to watch it: tensorboard --logdir {tmp_path}\)\n",
        start,
    )
    assert re.match(
        r"loss [\d.]+, Acc@0\.3 [\d.]+ %, mean IoU [\d.]+ %, overall IoU [\d.]+ %, "
        r"inconsistency \(IE\) [\d.]+ %\n",
        epochs,
    )


def test_files_of_a_run(finished):
    trainer, _, _ = finished
    folder = Path(trainer.config.log_path)
    files = {path.name for path in folder.iterdir()}
    assert {
        "last.state.h5", "best.weights.h5", "epochs.jsonl", "config.json", "versions.json",
    } <= files  # fmt: skip
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    own = trainer.config.replace(evaluate_model=str(folder / "best.weights.h5"))
    assert json.loads((folder / "config.json").read_text()) == own.to_dict()
    assert trainer.state.best_epoch in (1, 2)
    records = records_of(folder)
    best = max(record["val"]["det_acc"] for record in records)
    assert trainer.state.best_det_acc == best


def test_tensorboard_has_steps_epochs_and_pictures(finished, resumed):
    """Three steps per epoch, of which the last one is recorded; a resumed run repeats none."""
    for trainer in (finished[0], resumed):
        folder = Path(trainer.config.log_path)
        events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()

        def series(tag, events=events):
            return [
                (event.step, float(tensor_util.make_ndarray(event.tensor_proto)))
                for event in events.Tensors(tag)
            ]

        assert series("step/learning_rate") == [(3, pytest.approx(2e-3)), (6, pytest.approx(2e-4))]
        terms = [dict(series(f"step/{name}")) for name in (*LOSS_TERMS, "l2")]
        for step, loss in series("step/loss"):
            assert loss == pytest.approx(sum(term[step] for term in terms), rel=1e-5)
        accuracy = [(r["epoch"], 100 * r["val"]["det_acc"]) for r in records_of(folder)]
        assert series("val/Acc@0.5") == [(epoch, pytest.approx(value)) for epoch, value in accuracy]
        tags = set(events.Tags()["tensors"])
        assert {tag for tag in tags if tag.endswith("/0")} == {
            "val/best/0", "val/median/0", "val/worst/0",
        }  # fmt: skip


def test_a_resumed_run_equals_one_that_never_stopped(finished, resumed):
    trainer, _, folder = finished
    assert [r["epoch"] for r in records_of(folder / "before_2")][:1] == [1]
    assert len(state_of(trainer)) == len(state_of(resumed))
    for expected, array in zip(state_of(trainer), state_of(resumed), strict=True):
        np.testing.assert_array_equal(array, expected)
    assert records_of(resumed.config.log_path) == records_of(trainer.config.log_path)
    best = ("epoch", "best_det_acc", "best_epoch")
    for name in best:  # The rest of a state holds times and the folder.
        assert getattr(resumed.state, name) == getattr(trainer.state, name)


def test_a_finished_run_says_so(finished, capsys):
    trainer, _, _ = finished
    before = state_of(trainer)
    assert trainer.run() == trainer.state
    assert "All 2 epochs are complete" in capsys.readouterr().out
    assert all(np.array_equal(a, b) for a, b in zip(before, state_of(trainer), strict=True))


def test_start_epoch_cosine_clipping_and_frozen_batch_statistics(tiny_set, tmp_path):
    config = tiny_set.config(
        backbone="vgg", rnn_cell="gru", free_body=1, frozen_bn="batch", start_epoch=1, epoches=2,
        lr_schedule="cosine", warmup_steps=8, lr=1e-3, clip_norm=0.1, log_path=str(tmp_path),
        last_batch="short",
    )  # fmt: skip
    trainer = build_trainer(config)
    before = weights_of(trainer.model)
    assert trainer.run().epoch == 2
    # Five samples in three steps, and the short batch does not trace the step again.
    assert trainer.plan.samples == 5
    assert int(trainer.optimizer.iterations) == trainer.plan.steps == 3
    assert trainer._step.experimental_get_tracing_count() == 1
    # The last of six steps: near the end of the cosine, still in the warm-up.
    [record] = records_of(tmp_path)
    assert record["epoch"] == 2
    expected = 0.5 * 1e-3 * (1 + np.cos(np.pi * 5 / 6)) * 6 / 8
    assert record["train"]["learning_rate"] == pytest.approx(expected)
    after = weights_of(trainer.model)
    for layer in trainer.model.layers:
        if not layer.trainable:
            for variable in layer.weights:
                assert np.array_equal(before[variable.path], after[variable.path]), variable.path
    momentum = [v for v in trainer.optimizer.variables if "momentum" in v.path]
    # Three gradients of norm 0.1 at most, with the weights 0.1, 0.09 and 0.081.
    norm = np.sqrt(sum(float(np.sum(np.square(v))) for v in momentum))
    assert 0 < norm <= 0.0272


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_set": "/none/train.txt"}, r"/none/train\.txt: no such file or folder"),
        ({"anchors_file": "/none/anchors.txt"}, r"/none/anchors\.txt"),
        ({"word_embed": "/none/glove.txt"}, r"/none/glove\.txt"),
        ({"embed_dim": 9}, "embed_dim"),
    ],
)
def test_missing_files_are_named_before_the_network_is_built(tiny_set, changes, message, tmp_path):
    config = tiny_set.config(**{"log_path": str(tmp_path / "log")} | changes)
    with pytest.raises((OSError, ValueError), match=message):
        build_trainer(config)
    assert not (tmp_path / "log").exists()


def test_the_seed_determines_the_initial_weights(finished):
    """They are those of `build_mcn` with the same seed."""
    trainer, before, _ = finished
    fresh = weights_of(build_mcn(trainer.config))
    assert all(np.array_equal(before[path], fresh[path]) for path in fresh)
