"""What a resumption may change: sets, anchors and architecture make it another run."""

import shutil

import pytest

from utils.training.run.settings import (
    compare_settings,
    first_step,
    run_settings,
    score_changes,
)


@pytest.fixture
def config(tiny_set, tmp_path):
    """A config whose annotations and anchors are copies that a test may change."""
    copies = {}
    for key in ("train_set", "evaluate_set", "anchors_file"):
        copies[key] = str(tmp_path / key)
        shutil.copyfile(tiny_set.paths[key], tmp_path / key)
    return tiny_set.config(**copies)


def test_equal_settings_have_no_changes(config):
    changes = compare_settings(run_settings(config), run_settings(config))
    assert (changes.refused, changes.printed) == ([], [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", 128), ("word_len", 5), ("seed", 1), ("det_acc_thresh", 0.75),
        ("backbone", "vgg"), ("rnn_cell", "gru"), ("head_width", 0.5),
        ("aspp_dilations", [1, 2, 3]),
        ("lang_att", 0),
    ],
)  # fmt: skip
def test_what_makes_another_run_is_refused(config, key, value):
    changed = config.replace(**{key: value})
    changes = compare_settings(run_settings(config), run_settings(changed))
    assert changes.refused == [f"{key}: {getattr(config, key)} → {value}"]
    assert changes.printed == []


@pytest.mark.parametrize(
    ("key", "value"), [("lr", 0.5), ("batch_size", 4), ("mask_target", "area"), ("clip_norm", 1.0)]
)
def test_other_changes_are_printed(config, key, value):
    changed = config.replace(**{key: value})
    changes = compare_settings(run_settings(config), run_settings(changed))
    assert changes.refused == []
    assert changes.printed == [f"{key}: {getattr(config, key)} → {value}"]


@pytest.mark.parametrize("key", ["train_set", "evaluate_set", "anchors_file"])
def test_contents_of_sets_and_anchors_count_and_not_their_paths(config, key, tmp_path):
    saved = run_settings(config)
    moved = tmp_path / "moved"
    shutil.copyfile(getattr(config, key), moved)
    config = config.replace(**{key: str(moved)})
    changes = compare_settings(saved, run_settings(config))
    assert changes.refused == []
    assert changes.printed[0].startswith(f"{key}: ")
    moved.write_bytes(moved.read_bytes().rstrip() + b" ")
    changes = compare_settings(saved, run_settings(config))
    assert changes.refused == [f"{key}: the contents of {moved} have changed"]


def test_keys_of_other_versions_are_left_out(config):
    saved, current = run_settings(config), run_settings(config)
    del saved["skip_nonfinite"]
    saved["removed_key"] = 3
    changes = compare_settings(saved, current)
    assert (changes.refused, changes.printed) == ([], [])


@pytest.mark.parametrize(
    ("step", "old", "new", "expected"),
    [(0, 2, 4, 0), (3, 2, 2, 3), (3, 2, 4, 1), (2, 4, 2, 4), (5, 2, 3, 3), (50, 2, 4, 3)],
)
def test_positions_are_converted_to_another_batch_size(step, old, new, expected):
    """Ten samples: 5 steps of two, 3 of four, 4 of three; no sample is left out."""
    saved, current = {"batch_size": old}, {"batch_size": new}
    assert first_step(saved, current, step, samples=10) == (4 if new == 3 else expected)


@pytest.mark.parametrize("key", ["evaluate_set", "anchors_file"])
def test_scores_of_other_contents_do_not_compare(config, key, tmp_path):
    saved = run_settings(config)
    moved = tmp_path / "moved"
    shutil.copyfile(getattr(config, key), moved)
    config = config.replace(**{key: str(moved)})
    assert score_changes(saved, run_settings(config)) == []
    moved.write_bytes(moved.read_bytes().rstrip() + b" ")
    assert score_changes(saved, run_settings(config)) == [key]


def test_scores_of_other_settings_do_not_compare(config):
    saved = run_settings(config)
    changed = config.replace(det_acc_thresh=0.7, input_size=128, lr=0.5, seed=3)
    assert score_changes(saved, run_settings(changed)) == ["input_size", "det_acc_thresh"]
