"""What is recorded and printed about the environment of a run."""

import re
import shlex
import subprocess

import keras
import pytest

from config.schema import PROJECT_ROOT, Config
from utils import environment
from utils.environment import (
    device_line,
    git_revision,
    parameters_line,
    settings_line,
    shown_path,
    versions,
)


def test_revision_of_the_project_and_of_no_other_repository(tmp_path):
    assert git_revision(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("one")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    revision = git_revision(tmp_path)
    assert len(revision) == 40
    (tmp_path / "file").write_text("two")
    assert git_revision(tmp_path) == revision + "+"
    (tmp_path / "inside").mkdir()
    assert git_revision(tmp_path / "inside") is None


def test_versions_never_fail_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert versions()["git"] is None


@pytest.mark.parametrize(
    ("gpus", "line"),
    [
        ([], r"CPU, \d+ threads?"),
        (["NVIDIA A100", "Tesla T4", "NVIDIA A100"], "2 × NVIDIA A100, Tesla T4"),
    ],
)
def test_the_device_is_named(monkeypatch, gpus, line):
    monkeypatch.setattr(environment, "quiet_tensorflow", lambda: gpus)
    assert re.fullmatch(f"device: {line}", device_line())
    assert re.fullmatch(line, versions()["device"])


def test_parameters_are_counted():
    x = image = keras.Input((6,))
    x = keras.layers.Dense(4, name="frozen", trainable=False)(x)
    x = keras.layers.BatchNormalization()(x)
    model = keras.Model(image, keras.layers.Dense(2)(x))
    trained, frozen = 4 * 2 + 2 + 2 * 4, 6 * 4 + 4 + 2 * 4
    assert parameters_line(model) == f"parameters: {trained} trained, {frozen} frozen"
    large = keras.Sequential([keras.Input((1000,)), keras.layers.Dense(1000)])
    assert parameters_line(large) == "parameters: 1,001,000 trained, 0 frozen"


def test_changed_settings_are_shown_as_set_takes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(
        lr=0.0005,
        steps=[1, 2],
        backbone="vgg",
        train_set=str(tmp_path / "train.txt"),
        evaluate_set=str(PROJECT_ROOT / Config().evaluate_set),
    )
    keys = ["lr", "steps", "train_set", "evaluate_set", "batch_size"]
    assert settings_line(config, keys) == (
        "settings other than the defaults: train_set=train.txt lr=0.0005 'steps=[1,2]'"
    )
    assert settings_line(Config(), keys) == "settings other than the defaults: none"
    long = settings_line(config.replace(train_set=f"/{'a' * 90}/b-c.txt"), keys).splitlines()
    assert [line.split() for line in long[1:]] == [
        [f"train_set=/{'a' * 90}/b-c.txt"], ["lr=0.0005", "'steps=[1,2]'"],
    ]  # fmt: skip


def test_a_setting_with_spaces_is_quoted_and_stays_on_one_line():
    config = Config().replace(train_set="/a folder/" + " ".join(["of", "my"] * 40))
    [first, setting] = settings_line(config, {"train_set"}).splitlines()
    assert first == "settings other than the defaults:"
    assert shlex.split(setting) == [f"train_set={config.train_set}"]


def test_paths_are_shown_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "log" / "a") == "log/a"
    assert shown_path("/elsewhere/a") == "/elsewhere/a"


@pytest.mark.parametrize(
    ("flags", "precision", "noted"),
    [
        ("flags\t\t: fpu avx2 avx512f", "mixed_bfloat16", True),
        ("flags\t\t: fpu avx2 avx512_bf16", "mixed_bfloat16", False),
        ("Features\t: fp asimd asimdhp", "mixed_float16", False),
        ("flags\t\t: fpu avx2 avx512_bf16", "mixed_float16", True),
        ("flags\t\t: fpu", "float32", False),
        ("vendor\t\t: other", "mixed_bfloat16", False),
    ],
)
def test_a_processor_without_instructions_for_a_precision_is_told_so(
    tmp_path, monkeypatch, flags, precision, noted
):
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "cpuinfo")
    assert environment.precision_note(precision) is None  # Nothing is known on other systems.
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\npower management:\n")
    note = environment.precision_note(precision)
    assert (note is not None) == noted
    if noted:
        assert note.startswith(f"note: precision={precision}: this processor has no instructions")
