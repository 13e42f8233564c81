"""predict.py on the command line, with the weights of a tiny network."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from config.command_line import exit_code
from data.loading.annotations import read_annotations
from model.weights import save_weights
from predict import DEMO_WEIGHTS, main
from utils.evaluation.metrics import detection_iou

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
DEMO_MODEL = DEMO_WEIGHTS.parent


def predict(*arguments, cwd, expect=0):
    """Runs the script; returns its standard output and standard error."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "predict.py"), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == expect, f"ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout, done.stderr


@pytest.fixture
def predict_here(folder, monkeypatch, capfd):
    """Runs predict.py in this process, where TensorFlow is already loaded."""

    def run(*arguments, expect=0):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
        capfd.readouterr()
        try:
            code = exit_code(main, "hint")
        except SystemExit as end:
            code = end.code
        out, err = capfd.readouterr()
        assert code == expect, err
        return out, err

    return run


def png_with_a_text_bomb():
    """A picture whose text chunk Pillow refuses to decompress."""
    chunk = b"zTXtcomment\0\0" + zlib.compress(bytes(2_000_000))
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    content = stream.getvalue()
    length, check = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    return content[:33] + length + chunk + check + content[33:]  # After the header.


@pytest.fixture(scope="module")
def folder(network, tiny_set, tmp_path_factory):
    """A folder with a trained network in run/ and photographs, one of which is broken."""
    folder = tmp_path_factory.mktemp("predict")
    weights = folder / "run" / "best.weights.h5"
    save_weights(network(), weights)
    settings = tiny_set.config(log_path=str(weights.parent)).to_dict()
    (weights.parent / "config.json").write_text(json.dumps(settings))
    photographs = folder / "photos"
    photographs.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photographs / "turned.jpg", exif=exif)
    Image.fromarray(noise).convert("P").save(photographs / "palette.png")
    (photographs / "broken.jpg").write_text("no image")
    (photographs / "chunk.png").write_bytes(png_with_a_text_bomb())
    (folder / "alone.h5").touch()
    return folder


def test_one_photograph(folder):
    out, _ = predict(
        "--weights", "run/best.weights.h5", "--image", "photos/turned.jpg",
        "--expression", "red box", "--expression", "the zorblax", cwd=folder,
    )  # fmt: skip
    assert out.startswith("device: ")
    assert "photos/turned.jpg   60×100 px" in out
    assert "score 0." in out
    assert "unknown words: zorblax" in out
    assert "Results are in result/predict/" in out
    results = folder / "result/predict"
    records = [
        json.loads(line) for line in (results / "predictions.jsonl").read_text().splitlines()
    ]
    assert [record["expression"] for record in records] == ["red box", "the zorblax"]
    for name, record in zip(("1_red-box", "2_the-zorblax"), records, strict=True):
        left, top, right, bottom = record["box_xyxy"]
        assert 0 <= left <= right <= 60
        assert 0 <= top <= bottom <= 100
        mask = np.asarray(Image.open(results / f"turned_{name}_mask.png")) > 0
        assert mask.shape == (100, 60)
        assert mask.sum() == record["mask_area"]
        np.testing.assert_array_equal(coco_mask.decode(record["mask_rle"]), mask)
        with Image.open(results / f"turned_{name}.png") as picture:
            assert picture.width == 480 * 60 / 100  # as upright as the photograph
            assert picture.height > 480


def test_a_folder_with_a_broken_file(folder, predict_here):
    out, err = predict_here(
        "--config", "run/config.json", "--set", "evaluate_model=run/best.weights.h5", "use_nls=0",
        "--image", "photos", "--expression", "red box", "--output", "found", "--json",
        expect=1,
    )  # fmt: skip
    records = [json.loads(line) for line in out.splitlines()]
    names = [Path(record["image"]).name for record in records]
    assert names == ["palette.png", "turned.jpg"]
    assert {record["use_nls"] for record in records} == {0}
    assert "device: " in err
    assert "broken.jpg: not a readable image" in err
    assert "chunk.png: " in err
    assert "2 of 4 photographs failed" in err
    assert "predict  100%  4/4" in err
    assert "Traceback" not in err
    written = (folder / "found/predictions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == records


def test_a_list(folder, predict_here):
    rows = [
        {"image": "photos/palette.png", "expression": "red box"},
        {"image": "photos/turned.jpg", "expressions": ["left one", "right one"]},
    ]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("--weights", "run/best.weights.h5", "--list", "list.jsonl", "--output", "listed")
    out, err = predict_here(*arguments)
    assert out.count("score 0.") == 3
    assert "2/2" in err
    assert len(list((folder / "listed").glob("[!.]*"))) == 8


def test_the_same_command_prints_the_same_without_predicting_again(folder, predict_here):
    arguments = [
        "--weights", "run/best.weights.h5", "--image", "photos/palette.png",
        "--expression", "red box", "--output", "again", "--json",
    ]  # fmt: skip
    first, _ = predict_here(*arguments)
    written = {path: path.read_bytes() for path in (folder / "again").iterdir()}
    second, _ = predict_here(*arguments)
    assert first == second != ""
    _, err = predict_here(*arguments, "--set", "use_nls=0", expect=2)
    assert "again holds results of other weights or settings" in err
    assert {path: path.read_bytes() for path in written} == written
    third, _ = predict_here(*arguments, "--overwrite", "--set", "use_nls=0")
    assert json.loads(third)["use_nls"] == 0
    assert len(list((folder / "again").glob("[!.]*"))) == 4


def test_the_smallest_score(folder, predict_here):
    arguments = [
        "--weights", "run/best.weights.h5", "--image", "photos/palette.png",
        "--expression", "red box", "--output", "strict",
    ]  # fmt: skip
    out, _ = predict_here(*arguments, "--min_score", 1)
    assert "nothing found: score 0." in out
    assert "is below 1" in out
    (line,) = (folder / "strict/predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["found"] is False
    _, err = predict_here(*arguments, expect=2)
    assert "strict holds results of other weights or settings" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_keeps_finished_results(folder, predict_here, tmp_path, number):
    count = 40
    noise = np.random.default_rng(0).integers(0, 256, (count, 60, 100, 3), dtype=np.uint8)
    for name, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    records = tmp_path / "out" / "predictions.jsonl"
    arguments = [
        "--weights", folder / "run/best.weights.h5", "--image", tmp_path,
        "--expression", "red box", "--output", records.parent,
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "predict.py"), *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    while process.poll() is None and not (records.exists() and records.stat().st_size):
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate()
    finished = records.read_text()
    assert 0 < finished.count("\n") < count
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert err.count("Stopped. Finished results are in the folder of --output") == 1
        assert len(list(records.parent.glob("*.png"))) == 2 * finished.count("\n")
    assert "Traceback" not in err
    predict_here(*arguments)
    lines = records.read_text().splitlines()
    assert "\n".join(lines).startswith(finished[: finished.rindex("\n")])
    assert len({json.loads(line)["image"] for line in lines}) == len(lines) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --image --list --serve is required"),
        (["--image", "a.jpg"], "--image and --expression must be given together"),
        (
            ["--list", "a.jsonl", "--expression", "a"],
            "--image and --expression must be given together",
        ),
        (
            ["--list", "a", "--min_score", "1.5"],
            "argument --min_score: expected a number between 0 and 1, not '1.5'",
        ),
        (["--list", "a", "--min_score", "nan"], "expected a number between 0 and 1, not 'nan'"),
        (["--list", ""], "argument --list: expected a name, but the argument is empty"),
        (["--image", "", "--expression", "a"], "argument --image: expected a name"),
        (["--serve", "--weights", ""], "argument --weights: expected a name"),
        (["--image", "nowhere.jpg", "--expression", "a"], "nowhere.jpg: no such image or folder"),
        (["--list", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (
            ["--image", "photos", "--expression", "a", "--weights", "photos/x.h5"],
            "photos/x.h5: no such weight file",
        ),
        (
            ["--image", "photos", "--expression", "a", "--weights", "alone.h5"],
            "alone.h5: is empty",
        ),
        (["--list", "a", "--set", "use_nsl=0"], "did you mean 'use_nls'"),
        (
            ["--image", "photos", "--expression", "a", "--output", "photos"],
            "photos holds the photographs",
        ),
    ],
)
def test_bad_input_ends_in_one_sentence(predict_here, arguments, message):
    out, err = predict_here(*arguments, expect=2)
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_bad_input_is_reported_before_tensorflow_is_loaded(folder):
    _, err = predict("--list", "nowhere.jsonl", cwd=folder, expect=2)
    assert err == "error: nowhere.jsonl: no such file\n"


def test_missing_weights(predict_here):
    _, err = predict_here(
        "--config", "run/config.json", "--set", "evaluate_model=nowhere.weights.h5",
        "--image", "photos", "--expression", "a", expect=2,
    )  # fmt: skip
    assert "nowhere.weights.h5: no such weight file; name another one" in err


def test_the_quick_start_shows_the_demo_network_at_its_best(predict_here):
    """Without --weights and --config, on the scenes shipped with it."""
    out, _ = predict_here(
        "--list", DEMO_MODEL / "scenes.jsonl", "--output", "demo", "--json"
    )  # fmt: skip
    found = [json.loads(line) for line in out.splitlines()]
    truth = {
        (scene.image, scene.expressions[0]): np.array(scene.box_xyxy_px)
        for scene in read_annotations(DEMO_MODEL / "scenes.txt")
    }
    assert len(found) == len(truth) >= 12
    for record in found:
        true_box = truth[Path(record["image"]).name, record["expression"]]
        assert detection_iou(np.array(record["box_xyxy"]), true_box) > 0.7
        assert record["score"] > 0.7


def test_the_demo_network_says_what_it_is(folder, predict_here):
    """At the start, and again for a photograph and for words that it does not know."""
    out, _ = predict_here("--list", DEMO_MODEL / "scenes.jsonl", "--output", "demo")
    assert out.splitlines()[1].startswith("note: the demo network was trained only on synthetic ")
    assert "gets exactly one box" in out
    assert "warning" not in out
    scene = next((DEMO_MODEL / "scenes").iterdir())
    out, _ = predict_here("--image", scene, "--expression", "red zebra", "--output", "demo")
    assert "Results are in demo/, beside " in out
    assert (
        "  warning: the network does not know the word zebra: the demo network was trained only "
        in out
    )
    assert "unknown words: zebra" in out
    arguments = ["--image", "photos/turned.jpg", "--expression", "the ring", "--output", "demo"]
    out, _ = predict_here(*arguments)
    assert "  warning: this picture is not one of the network's scenes: the demo network " in out
    out, err = predict_here(*arguments, "--json")
    assert "note: the demo network was trained only on" in err
    assert "warning: photos/turned.jpg: this picture is not one of the network's scenes" in err
    assert json.loads(out)["expression"] == "the ring"


def test_other_networks_are_not_called_demo_networks(folder, predict_here):
    out, err = predict_here(
        "--weights", "run/best.weights.h5", "--image", "photos/turned.jpg",
        "--expression", "red zorblax", "--output", "other",
    )  # fmt: skip
    assert "unknown words: zorblax" in out
    assert "synthetic" not in out + err
    assert "gets exactly one box" in out


def test_the_demo_network_is_the_one_of_make_demo_model():
    """Its settings are those that `make demo-model` trains with."""
    ours = json.loads((DEMO_MODEL / "config.json").read_text())
    trained = json.loads((ROOT / "config/demo_model.json").read_text())
    moved = {"evaluate_set", "image_path", "anchors_file", "evaluate_model"}
    assert {key: ours[key] for key in ours if key not in moved} == {
        key: trained[key] for key in ours if key not in moved
    }
    network = {
        key for key in trained if key.startswith(("backbone", "rnn", "head", "aspp", "input"))
    }
    assert network <= set(ours)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], DEMO_WEIGHTS),
        (["lr=1"], DEMO_WEIGHTS),
        (["evaluate_model=a.h5"], None),
        (["evaluate_model =a.h5"], None),
    ],
)
def test_the_demo_network_is_used_unless_weights_are_named(monkeypatch, overrides, expected):
    used = []

    def settings(weights, *_):
        used.append(weights)
        raise SystemExit

    monkeypatch.setattr("utils.prediction.run_folder.settings_of_weights", settings)
    command = ["predict.py", "--image", "a.jpg", "--expression", "dog", "--set", *overrides]
    monkeypatch.setattr(sys, "argv", command if overrides else command[:-1])
    with pytest.raises(SystemExit):
        main()
    assert used == [expected]


def test_help_is_quick_and_shows_examples():
    code = "import sys, predict; sys.argv = ['predict.py', '--help']\n" + (
        "try:\n    predict.main()\nexcept SystemExit:\n    print(sorted(sys.modules))"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert time.monotonic() - start < 5
    assert '--expression "the woman on the left"' in done.stdout
    assert "EXIF" in done.stdout
    text = " ".join(done.stdout.split())
    assert "which was trained only on synthetic shapes" in text
    assert "always returns exactly one box" in text
    assert "not the probability that the object exists" in text
    for module in ("tensorflow", "numpy", "PIL", "cv2"):
        assert f"'{module}'" not in done.stdout
