"""What is recorded and printed about the environment of a run."""

import re
import subprocess

import keras
import pytest

from utils import environment
from utils.environment import device_line, git_revision, parameters_line, versions


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
        ([], r"CPU, \d+ threads"),
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
