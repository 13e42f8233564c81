"""A stop of pretraining says what is lost and keeps what an earlier one wrote."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import write_instances

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_says_what_is_lost_and_keeps_an_earlier_backbone(tiny_set, tmp_path, number):
    output = tmp_path / "backbone.weights.h5"
    output.write_bytes(b"earlier")
    config = tiny_set.config(batch_size=4, lr=0.01, bn_momentum=0.5)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    command = [sys.executable, "-m", "utils.pretrain", "--config", tmp_path / "config.json"]
    command += ["--instances", write_instances(tmp_path / "instances.json")]
    command += ["--output", output, "--overwrite", "--epochs", 100_000]
    with subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if " loss: " in line:
                break
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    last = errors.strip().splitlines()[-1]
    assert last.startswith("Stopped. What the backbone has learned is lost")
    assert "Traceback" not in errors
    assert output.read_bytes() == b"earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "backbone.weights.h5", "config.json", "instances.json"
    ]  # fmt: skip
