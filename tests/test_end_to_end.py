"""The real scripts in sequence, on a tiny demo set and from another directory."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config.quiet import is_chatter

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "backbone_width=0.0625", "backbone_blocks=[1,1,1,1,1]", "head_width=0.0625",
    "rnn_hidden_size=16", "batch_size=8", "pretrained_weights=", "warmup_steps=0",
    "lr_schedule=steps", "log_images=2",
)  # fmt: skip


def script(name, *arguments, cwd, expect=0):
    """Runs a script of the project as a person would; returns what it printed.

    Whatever it does, it prints none of TensorFlow's start-up messages.
    """
    unset = ("TF_CPP_MIN_LOG_LEVEL", "MCN_VERBOSE", "MCN_TRACEBACK")
    done = subprocess.run(
        [sys.executable, str(ROOT / name), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key not in unset},
    )
    assert done.returncode == expect, f"{name} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    assert [line for line in done.stderr.splitlines() if is_chatter(line)] == []
    assert done.stderr.count("running on the CPU") <= 1
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared demo set of a few scenes: its folder and the settings that name its files."""
    folder = tmp_path_factory.mktemp("demo")
    raw = folder / "raw"
    script("data/make_demo.py", "--output", raw, "--scenes", 12, "--eval_scenes", 3, cwd=folder)
    script(
        "data/data_process.py", "--data_root", "raw", "--output_dir", ".", "--dataset", "refcoco",
        "--split", "unc", "--generate_mask", cwd=folder,
    )  # fmt: skip
    # Relative to the current directory, as paths on a command line are.
    settings = [
        "train_set=anns/refcoco/train.txt", "evaluate_set=anns/refcoco/val.txt",
        "seg_gt_path=masks/refcoco", "image_path=raw/images/train2014",
        "anchors_file=raw/anchors.txt", "log_path=log", *SMALL,
    ]  # fmt: skip
    return folder, settings


@pytest.fixture(scope="module")
def trained(prepared):
    """The log folder after one epoch and a second one, resumed by the same command."""
    folder, settings = prepared
    arguments = ("--config", ROOT / "config/demo.json", "--set", *settings)
    first = script("train.py", *arguments, "epoches=1", cwd=folder)
    second = script("train.py", *arguments, "epoches=2", cwd=folder)
    return folder / "log", first, second


def test_training_resumes_and_writes_its_log(trained):
    log, first, second = trained
    assert "resuming after epoch 1" in second
    assert "resuming" not in first
    epochs = [json.loads(line) for line in (log / "epochs.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    for epoch in epochs:
        assert {"xy", "wh", "confidence", "mask", "cem", "l2", "loss"} <= set(epoch["train"])
        assert all(np.isfinite(value) for value in epoch["train"].values())
        assert 0 <= epoch["val"]["det_acc"] <= 1
    for name in ("last.state.h5", "best.weights.h5", "config.json", "versions.json", "curves.png"):
        assert (log / name).stat().st_size > 0
    stored = json.loads((log / "config.json").read_text())
    assert stored["epoches"] == 2
    # Of the run, although log_path alone was set.
    assert stored["evaluate_model"] == str(log / "best.weights.h5")


def test_commands_report_device_and_sizes(trained, tested):
    for printed in (trained[1], tested[1]):
        for start in ("device: ", "data: ", "parameters: "):
            assert len(re.findall(f"^{start}", printed, re.MULTILINE)) == 1, printed


def test_a_finished_run_is_reported_as_such(trained, prepared):
    folder, settings = prepared
    arguments = ("--config", ROOT / "config/demo.json", "--set", *settings)
    assert "raise epoches" in script("train.py", *arguments, "epoches=2", cwd=folder)


@pytest.fixture(scope="module")
def tested(trained, prepared):
    folder, settings = prepared
    printed = script(
        "test.py", "--config", ROOT / "config/demo.json", "--weights", "log/best.weights.h5",
        "--output", "results", "--name", "tiny", "--dump", "dump.jsonl", "--pictures", 2,
        "--set", *settings, cwd=folder,
    )  # fmt: skip
    return folder, printed


def test_evaluation_agrees_with_the_best_epoch(tested, trained):
    folder, _ = tested
    result = json.loads((folder / "results/tiny/result.json").read_text())
    lines = (trained[0] / "epochs.jsonl").read_text().splitlines()
    best = max((json.loads(line)["val"] for line in lines), key=lambda val: val["det_acc"])
    for key in ("n_expressions", "det_acc", "seg_iou", "overall_iou", "ie_score"):
        assert result[key] == pytest.approx(best[key], abs=1e-6)
    assert list(result["seg_prec"]) == [f"{t:g}" for t in np.arange(50, 100, 5) / 100]
    assert result["settings"]["use_nls"] == 1
    assert "log/best.weights.h5" in result["settings"]["evaluate_model"]


def test_evaluation_writes_text_pictures_and_dump(tested):
    folder, printed = tested
    text = (folder / "results/tiny/result.txt").read_text()
    assert text.splitlines()[0] in printed
    with Image.open(folder / "results/tiny/pictures.png") as picture:
        assert min(picture.size) > 300
    dump = [json.loads(line) for line in (folder / "dump.jsonl").read_text().splitlines()]
    expected = [
        (line.split()[0], expression)
        for line in (folder / "anns/refcoco/val.txt").read_text().splitlines()
        for expression in line.split(" ~ ")[1:]
    ]
    assert [(row["image"], row["expression"]) for row in dump] == expected
    for row in dump:
        assert set(row) == {
            "image", "expression", "box_xyxy", "box_xyxy_input", "score", "det_iou", "seg_iou",
            "ref_id", "true_box_xyxy", "intersection", "union",
        }  # fmt: skip
        assert 0 <= row["score"] <= 1
    result = json.loads((folder / "results/tiny/result.json").read_text())
    assert np.mean([row["det_iou"] > 0.5 for row in dump]) == pytest.approx(result["det_acc"])
    assert np.mean([row["seg_iou"] for row in dump]) == pytest.approx(result["seg_iou"])


def test_tensorboard_serves_curves_and_pictures(trained):
    log, _, _ = trained
    # Port 0: TensorBoard picks a free port and prints it.
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(log), "--port", "0",
         "--host", "127.0.0.1", "--load_fast", "false"],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        address = next(
            found.group(0)
            for line in server.stderr
            if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
        )

        def ask(path):
            with urllib.request.urlopen(address + path, timeout=20) as answer:
                return json.load(answer)

        deadline = time.monotonic() + 60
        tags = {}
        while time.monotonic() < deadline and not (tags and ask("/data/plugin/images/tags")):
            tags = ask("/data/plugin/scalars/tags")
            time.sleep(0.5)
        ((run, names),) = tags.items()
        for name in (
            "train/learning_rate", "train/xy", "train/wh", "train/confidence", "train/mask",
            "train/cem", "train/l2", "val/Acc@0.5", "val/mean IoU", "val/inconsistency (IE)",
            "val/overall IoU", "val/Prec@0.5", "val/Prec@0.95", "step/loss", "step/learning_rate",
        ):  # fmt: skip
            assert name in names
        points = ask(f"/data/plugin/scalars/scalars?run={run}&tag=val/Acc@0.5")
        assert [step for _, step, _ in points] == [1, 2]
        ((_, pictures),) = ask("/data/plugin/images/tags").items()
        assert {"val/best/0", "val/worst/0"} <= set(pictures)
    finally:
        server.terminate()
        server.wait(timeout=20)
        server.stderr.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["batchsize=8"], "unknown key 'batchsize'; did you mean 'batch_size'?"),
        (["train_set=nowhere.txt"], "nowhere.txt: no such file or folder"),
        (["word_embed=missing.txt"], "missing.txt"),
    ],
)
def test_bad_input_ends_in_one_sentence(prepared, settings, message):
    folder, usual = prepared
    arguments = ("--config", ROOT / "config/demo.json", "--set", *usual, *settings)
    printed = script("train.py", *arguments, cwd=folder, expect=2)
    assert message in printed
    assert "Traceback" not in printed
