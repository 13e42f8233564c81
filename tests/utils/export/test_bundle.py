"""A bundle grounds expressions as the project does, in an environment without the project."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import venv

import numpy as np
import pytest
from PIL import Image

from config.errors import NoSpaceError, UserError
from config.files import free_bytes
from config.schema import load_config
from data.loading.annotations import read_annotations
from predict import DEMO_WEIGHTS
from tests.limits import mounted_disk
from tests.tiny import network_config
from tests.utils.export.killed import replace_and_be_killed
from tests.utils.export.test_export import assert_same, onnx_runner
from utils.export import bundle
from utils.export.__main__ import main
from utils.export.bundle import write_bundle
from utils.export.formats import ExportError
from utils.prediction.predictor import Predictor

pytestmark = pytest.mark.slow

DEMO_MODEL = DEMO_WEIGHTS.parent
FILES = ["ground.py", "vectors.npy", "whole.onnx", "whole.onnx.json", "words.txt"]


@pytest.fixture(scope="module")
def demo():
    for package in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    return load_config(DEMO_MODEL / "config.json")


@pytest.fixture(scope="module")
def folder(demo, tmp_path_factory):
    """The bundle of the demo network."""
    return write_bundle(demo, DEMO_WEIGHTS, tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment with numpy, pillow and onnxruntime alone."""
    pytest.importorskip("onnxruntime")
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    waiting, seen = ["numpy", "pillow", "onnxruntime"], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement:
                waiting.append(re.match(r"[\w.-]+", requirement)[0])
        for top in {file.parts[0] for file in distribution.files if file.parts[0] != ".."}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    return home / "bin/python"


def run(python, *arguments, cwd):
    command = [python, "-I", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_ground_agrees_with_the_predictor_without_tensorflow(demo, folder, python, tmp_path):
    assert names(folder) == FILES
    assert run(python, "-c", "import tensorflow", cwd=tmp_path).returncode == 1
    predictor = Predictor.from_config(demo, DEMO_WEIGHTS)
    for number, referent in enumerate(read_annotations(demo.evaluate_set)[:3]):
        # Of odd sizes, so that both letterboxes have to resize.
        scene = Image.open(DEMO_MODEL / "scenes" / referent.image).convert("RGB")
        photo = tmp_path / f"{number}.png"  # Several referents are on one scene.
        scene.resize((150, 110), Image.Resampling.BICUBIC).save(photo)
        expressions = [*referent.expressions, "frobnicate square"]
        done = run(
            python, folder / "ground.py", photo, *expressions, "--masks", "masks", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        results = [json.loads(line) for line in done.stdout.splitlines()]
        assert [result["expression"] for result in results] == expressions
        predictor.set_image(photo)
        for result, expected in zip(results, predictor.predict(expressions), strict=True):
            np.testing.assert_allclose(result["box_xyxy"], expected.box_xyxy, atol=0.5)
            assert result["score"] == pytest.approx(expected.score, abs=5e-3)
            assert tuple(result["unknown_words"]) == expected.unknown_words
            mask = np.asarray(Image.open(tmp_path / result["mask"]))
            assert mask.shape == expected.mask.shape
            assert np.mean(mask != expected.mask) < 2e-3


def test_its_network_agrees_with_the_predictor(demo, folder):
    """`Predictor` uses Pillow and OpenCV; test_export.py compares with the same operations."""
    predictor = Predictor.from_config(demo, DEMO_WEIGHTS)
    _, run = onnx_runner(folder / "whole.onnx")
    for referent in read_annotations(demo.evaluate_set):
        scene = Image.open(DEMO_MODEL / "scenes" / referent.image).convert("RGB")
        # Doubling and no scaling are exact. With other factors, Pillow and the graph round single
        # pixels differently, as in `chain` there, and sharp edges of the mask amplify that.
        exact, rounded = ((128, 128), (256, 256)), ((300, 200), (97, 333))
        for size in (*exact, *rounded):
            image = np.asarray(scene.resize(size, Image.Resampling.BICUBIC))
            predictor.set_image(image)
            (expected,) = predictor.predict(referent.expressions[:1])
            words = np.asarray(predictor.reader.read(referent.expressions[:1]).inputs[0])
            result = run(image=image, words=words.astype(np.float32))
            wanted = {
                "box_xyxy_px": expected.box_xyxy,
                "score": expected.score,
                "mask_score": expected.probability,
            }
            assert_same(result, wanted, max(size), 1e-5 if size in exact else 1e-3)


def test_as_a_library(demo, folder, python, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "import numpy as np\nfrom PIL import Image\nfrom ground import ground\n"
        "image = np.zeros((40, 60, 3), np.uint8)\n"
        "(result,) = ground(image, 'the red circle')\n"
        "assert result['mask'].shape == (40, 60) and result['mask'].dtype == bool\n"
        "x1, y1, x2, y2 = result['box_xyxy']\n"
        "assert 0 <= x1 <= x2 <= 60 and 0 <= y1 <= y2 <= 40\n"
        f"long = ground(Image.fromarray(image), ['red ' * {demo.word_len + 2}])[0]\n"
        "assert long['unread_words'] == ['red', 'red']\n"
        "try: ground(Image.new('I;16', (8, 8)), ['red'])\n"
        "except ValueError as error: print(error)\n"
        "for shape in ((0, 9, 3), (9, 0, 3)):\n"
        "    try: ground(np.zeros(shape, np.uint8), ['red'])\n"
        "    except ValueError as error: print(error)\n"
        "for wrong in (None, 1):\n"
        "    try: ground(image, [wrong])\n"
        "    except TypeError: print('no text')\n"
    )
    done = run(python, "-c", code, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "more than 8 bits" in done.stdout
    assert done.stdout.count("expected a uint8 array (h, w, 3)") == 2
    assert done.stdout.count("no text") == 2


def test_masks_never_replace_a_file(folder, python, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    (tmp_path / "photo_1.png").write_text("mine")
    for place, taken in ((".", "photo_1.png"), ("photo_1.png", "photo_1.png")):
        done = run(python, folder / "ground.py", "photo.png", "red", "--masks", place, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("error: photo.png: ")
        assert taken in done.stderr
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "photo_1.png").read_text() == "mine"


def test_pictures_that_cannot_be_read_are_one_line(folder, python, tmp_path):
    Image.new("RGB", (90, 90)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-90])
    (tmp_path / "text.png").write_text("not a picture")
    Image.new("F", (9, 9)).save(tmp_path / "float.tif")
    for name in ("cut.jpg", "text.png", "float.tif", "nowhere.png"):
        done = run(python, folder / "ground.py", name, "red", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {name}: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("whole.onnx", lambda c: c[:6_000] + bytes([c[6_000] ^ 64]) + c[6_001:], "damaged, or not"),
        ("whole.onnx", lambda c: c[:-9], "damaged, or not of this bundle"),
        ("words.txt", lambda c: b"\n".join([*c.split()[::-1], b""]), "damaged, or not of this"),
        ("words.txt", lambda c: c[:500], "damaged, or not of this bundle"),
        ("vectors.npy", lambda c: c[:20_000], "damaged, or not of this bundle"),
        ("vectors.npy", None, "No such file"),
        ("whole.onnx.json", None, "No such file"),
        ("whole.onnx.json", lambda _: b"{", "Expecting property name"),
        ("whole.onnx.json", lambda _: b"[]", "export the bundle again"),
        ("whole.onnx.json", lambda _: b"{}", "damaged or changed"),
        ("whole.onnx.json", lambda c: re.sub(rb'(thresh": 0.)3', rb"\g<1>7", c), "or changed"),
    ],
)
def test_damaged_bundles_are_refused_in_one_line(folder, python, tmp_path, name, change, said):
    broken = tmp_path / "bundle"
    shutil.copytree(folder, broken)
    if change is None:
        (broken / name).unlink()
    else:
        (broken / name).write_bytes(change((broken / name).read_bytes()))
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    done = run(python, broken / "ground.py", "photo.png", "red", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: photo.png: {broken / name}: ")
    assert said in done.stderr
    assert done.stderr.endswith("; export the bundle again\n")
    assert done.stderr.count("\n") == 1


def test_a_changed_script_and_another_threshold_are_used(folder, python, tmp_path):
    changed = tmp_path / "bundle"
    shutil.copytree(folder, changed)
    with (changed / "ground.py").open("a") as script:
        script.write("# mine\n")
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    command = (changed / "ground.py", "photo.png", "red", "--threshold")
    done = run(python, *command, "0", "--masks", ".", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.asarray(Image.open(tmp_path / "photo_1.png")).all()  # Every pixel exceeds 0.
    for wrong in ("-1", "1.5", "nan"):
        done = run(python, *command, wrong, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"error: photo.png: the threshold {float(wrong)} is not in 0..1\n"


def test_masks_on_a_full_disk_leave_nothing(folder, python, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    with mounted_disk(tmp_path / "masks", 4096) as disk:
        (disk / "filler").write_bytes(bytes(4096))
        done = run(python, folder / "ground.py", "photo.png", "red", "--masks", disk, cwd=tmp_path)
        assert (done.returncode, names(disk)) == (1, ["filler"])
    assert done.stderr == "error: photo.png: [Errno 28] No space left on device\n"


def test_a_description_nested_too_deeply_is_refused(folder, python, tmp_path):
    shutil.copytree(folder, tmp_path / "bundle")
    (tmp_path / "bundle" / "whole.onnx.json").write_text("[" * 100_000)
    done = run(python, tmp_path / "bundle" / "ground.py", "photo.png", "red", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: photo.png: ")
    assert done.stderr.endswith("; export the bundle again\n")


def test_results_that_are_no_numbers_are_refused(demo, folder, python, tmp_path, monkeypatch):
    """Finite weights whose products overflow, as float32 of a diverged training do."""
    import onnx

    def write_huge(_, path):
        network = onnx.load(folder / "whole.onnx")
        for weight in network.graph.initializer:
            values = onnx.numpy_helper.to_array(weight)
            if values.dtype == np.float32 and values.ndim == 4:
                values = onnx.numpy_helper.from_array(values * np.float32(1e30), weight.name)
                weight.CopyFrom(values)
        onnx.save(network, path)

    monkeypatch.setattr(bundle, "write_onnx", write_huge)
    folder = write_bundle(demo, DEMO_WEIGHTS, tmp_path / "bundle")
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    done = run(python, folder / "ground.py", "photo.png", "red", "--masks", "masks", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("error: photo.png: 'red': the network computes NaN or infinite values\n")
    assert not (tmp_path / "masks").exists()


def test_the_script_is_short(folder):
    assert len((folder / "ground.py").read_text().splitlines()) < 120


def test_vocabulary_and_replacement(demo, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(bundle, "write_onnx", lambda _, path: path.write_bytes(b"network"))
    (tmp_path / "words.txt").write_text("image.jpg 1,2,3 red\ncircle frobnicate red-circle")
    target = tmp_path / "bundle"
    arguments = ["--config", str(DEMO_MODEL / "config.json"), "--weights", str(DEMO_WEIGHTS)]
    arguments += ["--bundle", str(target), "--vocabulary", str(tmp_path / "words.txt")]
    main(arguments)
    printed = capsys.readouterr().out
    assert f"{target}  " in printed
    assert re.search(r"words\.txt: \d of its \d words and other texts have no vector in ", printed)
    words = (target / "words.txt").read_text().splitlines()
    assert words == ["circle", "red", "red-circle"]
    vectors = np.load(target / "vectors.npy")
    assert vectors.shape == (4, demo.embed_dim)
    assert not vectors[0].any()

    changed = ["ground.py", "vectors.npy", "whole.onnx", "words.txt"]
    for name in ("notes.txt", *changed):
        (target / name).write_text("mine")
    details = json.loads((target / "whole.onnx.json").read_text())
    details["settings"]["segment_thresh"] = 0.6
    (target / "whole.onnx.json").write_text(json.dumps(details))
    (tmp_path / "words.txt").write_text("red")
    for _ in range(2):  # What was not changed is replaced.
        main(arguments)
        assert (target / "words.txt").read_text() == "red\n"
        kept = [f"{name}.2" for name in ("whole.onnx.json", *changed)]
        assert names(target) == sorted([*FILES, *kept, "notes.txt"])
        assert json.loads((target / "whole.onnx.json.2").read_text()) == details
        for name in changed:
            assert (target / f"{name}.2").read_text() == "mine"
            assert (target / name).read_bytes() != b"mine"

    # A full disk or anything else that goes wrong keeps the former bundle.
    monkeypatch.setattr(bundle, "write_onnx", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        main(arguments)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before


@pytest.mark.parametrize("at", [2, 3])
def test_a_bundle_that_was_killed_is_completed(demo, tmp_path, monkeypatch, at):
    """Between its renames, the folder has another name."""
    pytest.importorskip("onnx")
    written = []
    for content in (b"first", b"second"):
        monkeypatch.setattr(bundle, "write_onnx", lambda _, path, c=content: path.write_bytes(c))
        written.append(write_bundle(demo, DEMO_WEIGHTS, tmp_path / content.decode()))
    first, second = written
    replace_and_be_killed([second], [first], at)
    write_bundle(demo, DEMO_WEIGHTS, first)
    assert names(first) == FILES
    assert sorted(path.name for path in tmp_path.glob("*[!k]")) == ["first", "second"]


def test_a_full_disk_keeps_the_former_bundle(demo, small_disk):
    disk = small_disk(20_000_000)
    (disk / "other").write_bytes(bytes(free_bytes(disk) - 2_000_000))
    with pytest.raises(NoSpaceError, match=r"disk/bundle.*needs"):
        write_bundle(demo, DEMO_WEIGHTS, disk / "bundle")
    assert names(disk) == ["other"]


@pytest.mark.parametrize("room", [14_000, 40_000])
def test_a_disk_that_fills_up_in_any_file_is_one_sentence(demo, small_disk, monkeypatch, room):
    """It has room for a part of the vectors, or for these and a part of the script."""
    disk = small_disk(20_000_000)
    monkeypatch.setattr(bundle, "check_free_space", lambda *_: None)

    def fill(_, path):
        path.write_bytes(b"network")
        (disk / "other").write_bytes(bytes(free_bytes(disk) - room))

    monkeypatch.setattr(bundle, "write_onnx", fill)
    with pytest.raises(NoSpaceError, match=r"disk/bundle.*the disk is full"):
        write_bundle(demo, DEMO_WEIGHTS, disk / "bundle")
    assert names(disk) == [".bundle.lock", "other"]


def test_folders_of_others_are_refused(demo, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    for name in ("photos", "file"):
        with pytest.raises(ExportError, match=rf"{name}: something else is in the way"):
            write_bundle(demo, DEMO_WEIGHTS, tmp_path / name)


def test_words_that_cannot_be_bundled(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MOST_WORDS", 3)
    with pytest.raises(ExportError, match="--vocabulary FILE"):
        write_bundle(demo, DEMO_WEIGHTS, tmp_path / "b")
    (tmp_path / "w.txt").write_text("frobnicate")
    with pytest.raises(ExportError, match="none of its words has a vector"):
        write_bundle(demo, DEMO_WEIGHTS, tmp_path / "b", tmp_path / "w.txt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: not a file"):
        write_bundle(demo, DEMO_WEIGHTS, tmp_path / "b", tmp_path / "pipe")
    pieces = network_config(text_encoder="bert", bert_path=str(tmp_path))
    with pytest.raises(ExportError, match="--format onnx"):
        write_bundle(pieces, DEMO_WEIGHTS, tmp_path / "b")
