"""Exported files compute the same as letterbox, network and mask resizing in Python."""

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from config.command_line import BAD_INPUT, exit_code
from config.errors import NoSpaceError, UserError, message_of
from config.files import free_bytes, no_space_named
from data.loading.letterbox import Letterbox, letterbox_image, unletterbox_box
from model.mcn import build_mcn
from model.weights import save_weights
from tests.tiny import ANCHORS, network_config, scramble
from tests.utils.export.killed import replace_and_be_killed
from utils.export import files
from utils.export.__main__ import main
from utils.export.files import export
from utils.export.formats import ExportError
from utils.export.graph import Exportable, build_exportables
from utils.export.letterbox import fit_in_graph, letterbox_in_graph
from utils.prediction.engines.conversion import ConversionError
from utils.prediction.grounder import Grounder
from utils.prediction.masks import place_mask

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]

SIDE, TOLERANCE = 96, 1e-4
# Height and width; the last is a size that doubles cut a pixel short.
SIZES = [(60, 80), (120, 75), (48, 200), (96, 96), (31, 33), (480, 640), (49, 147)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights, the settings to export them with, and the grounder to compare with."""
    folder = tmp_path_factory.mktemp("trained")
    pairs = ",  ".join(f"{width:g},{height:g}" for width, height in ANCHORS)
    (folder / "anchors.txt").write_text(pairs + "\n")
    settings = {"rnn_cell": "gru", "anchors_file": str(folder / "anchors.txt")}
    config = network_config(**settings)
    model = scramble(build_mcn(config))
    weights = folder / "w.weights.h5"
    save_weights(model, weights)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    return SimpleNamespace(
        folder=folder, config=config, weights=weights, grounder=Grounder(model, ANCHORS)
    )


def sample(size, seed=0, steps=4):
    """A smooth image and word vectors, the last of which is padding."""
    rng = np.random.default_rng([seed, *size])
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    image = np.array(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
    words = rng.normal(size=(steps, 8)).astype(np.float32)
    words[-1] = 0
    return image, words


def chain(grounder, image, words, use_nls=True, pillow=False):
    """The same computation in Python, with the letterbox of Pillow or of the graph.

    They differ by ±1 in single pixels, which a network with random weights amplifies.
    """
    height, width = image.shape[:2]
    geometry = Letterbox.fit(width, height, SIDE)
    square = letterbox_image(Image.fromarray(image), SIDE)
    if not pillow:
        in_graph = fit_in_graph(tf.constant(height), tf.constant(width), SIDE)
        ours = letterbox_in_graph(tf.constant(image), in_graph).numpy()
        assert np.abs(ours - square).max() <= 1
        square = ours.astype(np.uint8)
    features = grounder.encode_images(square[None])
    box, rounded, score, probability = grounder.locate(
        features, [0], grounder.encode_words(words[None])
    )
    mask = place_mask(probability[0], rounded[0], score[0], geometry, use_nls)
    return {
        "box_xyxy_px": np.clip(unletterbox_box(box[0], geometry), 0, [width, height] * 2),
        "score": score[0],
        "mask_score": mask,
    }


def assert_same(result, expected, longer, tolerance=TOLERANCE):
    assert sorted(result) == sorted(expected)
    np.testing.assert_allclose(
        np.array(result["box_xyxy_px"]) / longer,
        np.array(expected["box_xyxy_px"]) / longer,
        atol=tolerance,
    )
    for name in set(expected) - {"box_xyxy_px"}:
        assert np.shape(result[name]) == np.shape(expected[name])
        np.testing.assert_allclose(result[name], expected[name], atol=tolerance)


def assert_all_sizes_same(run, grounder):
    boxes = []
    for size in SIZES:
        image, words = sample(size)
        result = run(image=image, words=words)
        assert_same(result, chain(grounder, image, words), max(size))
        assert_same(result, chain(grounder, image, words, pillow=True), max(size), 2e-3)
        boxes.append(np.array(result["box_xyxy_px"]) / max(size))
    assert np.std(boxes, axis=0).max() > 1e-2  # The outputs depend on the inputs.


def test_saved_model_by_command_line(trained, tmp_path, capsys):
    arguments = ["--config", str(trained.folder / "config.json"), "--format", "savedmodel"]
    arguments += ["--weights", str(trained.weights), "--output", str(tmp_path)]
    assert main(arguments) is None
    assert f"{tmp_path / 'whole'}  " in capsys.readouterr().out
    assert visible(tmp_path) == ["whole", "whole.savedmodel.json"]
    assert_all_sizes_same(run_signature(tmp_path / "whole"), trained.grounder)

    details = json.loads((tmp_path / "whole.savedmodel.json").read_text())
    assert details["inputs"]["image"]["shape"] == [None, None, 3]
    assert details["inputs"]["words"] | {"about": ""} == {
        "shape": [4, 8], "dtype": "float32", "about": ""
    }  # fmt: skip
    assert set(details["outputs"]) == {"box_xyxy_px", "score", "mask_score"}
    assert details["settings"]["segment_thresh"] == trained.config.segment_thresh


def run_signature(path):
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]

    def run(**inputs):
        outputs = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def visible(folder):
    """Names in a folder, without the lock."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.fixture
def plus(monkeypatch):
    """`plus(y)`: from now on, all that is exported is a function that adds y, of 4 MB."""

    def exportables(y):
        weights = tf.Variable(tf.random.stateless_normal((1_000_000,), (0, 0)))
        function = tf.function(
            lambda x: {"y": x + y + 1e-30 * tf.reduce_sum(weights * x)},
            input_signature=[tf.TensorSpec((), tf.float32, "x")],
        )
        about = {"x": "a number", "y": f"{y} more"}
        parts = dict.fromkeys(("whole", "grounder"), Exportable(function, [weights], about))
        monkeypatch.setattr(files, "build_exportables", lambda *_: parts)

    return exportables


WRITERS = ["savedmodel", "onnx", "tflite"]


def require(file_format):
    for package in ("tf2onnx", "onnx") if file_format == "onnx" else ():
        pytest.importorskip(package)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


MINE = (
    "notes.json",
    "fingerprint.pb.bak",
    "whole.savedmodel.json",
    "variables/notes.txt",
    "variables/variables.notes.txt",
    "backup/saved_model.pb",
    "backup/variables/variables.index",
)


def test_an_earlier_saved_model_is_replaced_but_nothing_else(trained, plus, tmp_path):
    folder = tmp_path / "whole"
    for y in (1, 2):
        plus(y)
        export(trained.config, trained.weights, "savedmodel", tmp_path)
        assert run_signature(folder)(x=np.float32(1)) == {"y": 1 + y}
        description = json.loads((tmp_path / "whole.savedmodel.json").read_text())
        assert description["outputs"]["y"]["about"] == f"{y} more"
        for mine in MINE:
            assert (folder / mine).exists() == (y == 2)
            (folder / mine).parent.mkdir(parents=True, exist_ok=True)
            (folder / mine).write_text("mine")
    assert visible(tmp_path) == ["whole", "whole.savedmodel.json"]

    (folder / "saved_model.pb").unlink()
    with pytest.raises(ExportError, match="in the way"):
        export(trained.config, trained.weights, "savedmodel", tmp_path)


@pytest.mark.parametrize("name", ["whole.tflite", "whole.tflite.json"])
@pytest.mark.parametrize("content", ["mine", "{}", "[]"])
def test_files_of_others_are_never_replaced(trained, plus, tmp_path, name, content):
    plus(1)
    (tmp_path / name).write_text(content)
    with pytest.raises(ExportError, match=rf"{name}: something else is in the way"):
        export(trained.config, trained.weights, "tflite", tmp_path)
    assert contents(tmp_path) == {name: content.encode()}


@pytest.mark.parametrize("file_format", WRITERS)
def test_an_export_that_was_changed_is_not_replaced(trained, plus, tmp_path, file_format):
    require(file_format)
    plus(1)
    (path,) = export(trained.config, trained.weights, file_format, tmp_path)
    export(trained.config, trained.weights, file_format, tmp_path)
    file = path / "saved_model.pb" if path.is_dir() else path
    file.write_bytes(b"quantized")
    before = contents(tmp_path)
    with pytest.raises(ExportError, match=r"whole.*changed since it was exported"):
        export(trained.config, trained.weights, file_format, tmp_path)
    assert contents(tmp_path) == before


def test_a_description_that_was_edited_is_not_replaced(trained, plus, tmp_path):
    plus(1)
    export(trained.config, trained.weights, "tflite", tmp_path)
    description = tmp_path / "whole.tflite.json"
    for edit in (lambda text: text.replace('"words', '"Words'), lambda text: text + "\n"):
        written = description.read_text()
        description.write_text(edit(written.replace("1 more", "one more")))
        before = contents(tmp_path)
        with pytest.raises(ExportError, match=r"whole.tflite.json: .*changed since it was exp"):
            export(trained.config, trained.weights, "tflite", tmp_path)
        assert contents(tmp_path) == before
        description.write_text(written)
    export(trained.config, trained.weights, "tflite", tmp_path)


@pytest.mark.parametrize(
    ("file_format", "at"), [("savedmodel", 4), *(("tflite", k) for k in (3, 4, 5))]
)
def test_an_export_that_was_killed_is_completed(trained, plus, tmp_path, file_format, at):
    """Also where the new file is in place and its description is not."""
    written = []
    for y, name in ((1, "exported"), (2, "other")):
        plus(y)
        (path,) = export(trained.config, trained.weights, file_format, tmp_path / name)
        written.append((path, path.with_name(f"whole.{file_format}.json")))
    replace_and_be_killed(written[1], written[0], at)
    plus(3)
    export(trained.config, trained.weights, file_format, tmp_path / "exported")
    names = [sorted(contents(tmp_path / name)) for name in ("exported", "other")]
    assert names[0] == names[1]
    assert "3 more" in written[0][1].read_text()


@pytest.mark.parametrize("file_format", WRITERS)
@pytest.mark.parametrize("late", [False, True])
def test_a_full_disk_is_one_sentence_and_keeps_the_earlier_export(
    trained, plus, small_disk, monkeypatch, file_format, late
):
    require(file_format)
    disk = small_disk(10_000_000)
    plus(1)
    export(trained.config, trained.weights, file_format, disk)
    before = contents(disk)
    (disk / "other").write_bytes(bytes(free_bytes(disk) - 2_000_000))
    if late:  # As if the other file had been written after the check.
        monkeypatch.setattr(files, "check_free_space", lambda *_: None)
    plus(2)
    with pytest.raises(NoSpaceError, match=r"/disk/whole.*(needs 4\.0 MB|the disk is full)"):
        export(trained.config, trained.weights, file_format, disk)
    (disk / "other").unlink()
    assert contents(disk) == before
    assert not list(disk.glob(".*.new"))


def write_bias(path):
    """Writes a SavedModel of a thousand numbers."""
    bias = tf.Variable(tf.zeros(1000), name="bias")
    function = tf.function(lambda: {"bias": bias.read_value()}, input_signature=())
    files._write_savedmodel(Exportable(function, [bias], {}), path)


def test_what_the_system_refuses_is_an_error_of_the_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            write_bias(tmp_path / "whole")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message_of(error.value) == f"{tmp_path / 'whole'}: cannot be used (File too large)"


def test_a_full_quota_is_a_full_disk(tmp_path, monkeypatch):
    def save(module, path, signatures):
        said = f"{path}/variables; {os.strerror(errno.EDQUOT)} [Op:SaveV2]"
        raise tf.errors.UnknownError(None, None, said)

    monkeypatch.setattr(tf.saved_model, "save", save)
    path = tmp_path / "whole"
    with pytest.raises(NoSpaceError, match=r"/whole: the disk is full"), no_space_named(path):
        write_bias(path)


def test_a_saved_model_in_a_folder_that_tensorflow_cannot_name_is_refused_at_once(tmp_path):
    output = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(ExportError, match=r"not UTF-8.*name another --output"):
        export(network_config(), "nowhere.weights.h5", "savedmodel", output)
    assert not list(tmp_path.iterdir())
    output.mkdir()
    (tmp_path / "link").symlink_to(output)
    with pytest.raises(ExportError, match=r"/link/whole: .*not UTF-8"):
        export(network_config(), "nowhere.weights.h5", "savedmodel", tmp_path / "link")


@pytest.mark.parametrize("file_format", WRITERS)
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_keeps_the_earlier_export(
    trained, plus, tmp_path, monkeypatch, file_format, interruption
):
    require(file_format)
    plus(1)
    export(trained.config, trained.weights, file_format, tmp_path)
    before = contents(tmp_path)
    plus(2)
    monkeypatch.setattr(files, "write_text", lambda *_: (_ for _ in ()).throw(interruption))
    with pytest.raises(interruption):
        export(trained.config, trained.weights, file_format, tmp_path)
    assert contents(tmp_path) == before


def onnx_runner(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(**inputs):
        return dict(zip(names, session.run(names, inputs), strict=True))

    return session, run


@pytest.fixture(scope="module")
def image_encoder(trained):
    folder = trained.folder / "savedmodel"
    return export(trained.config, trained.weights, "savedmodel", folder, ("image_encoder",))[0]


@pytest.fixture(scope="module")
def onnx_files(trained):
    for package in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    parts = ("whole", "grounder")
    return export(trained.config, trained.weights, "onnx", trained.folder / "onnx", parts)


def test_onnx(trained, onnx_files):
    session, run = onnx_runner(onnx_files[0])
    assert session.get_inputs()[0].shape == ["height", "width", 3]
    assert_all_sizes_same(run, trained.grounder)


def test_the_documented_example_runs(onnx_files, trained, tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import json.*?)```", text, re.DOTALL)
    vectors = {word: np.full(8, value) for word, value in (("woman", 0.5), ("left", -0.25))}
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in vectors.items()]
    (tmp_path / "words.txt").write_text("".join(lines))
    details = json.loads(onnx_files[0].with_name("whole.onnx.json").read_text())
    details["settings"]["word_embed"] = str(tmp_path / "words.txt")
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/whole.onnx").write_bytes(onnx_files[0].read_bytes())
    (tmp_path / "exported/whole.onnx.json").write_text(json.dumps(details))
    Image.fromarray(sample((60, 80))[0]).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "export.md", "exec"), {})

    image = np.asarray(Image.open("photo.jpg"))
    words = np.float32([vectors["woman"], np.zeros(8), np.zeros(8), vectors["left"]])
    expected = chain(trained.grounder, image, words)
    mask = np.asarray(Image.open("mask.png"))
    assert np.mean(mask != (expected["mask_score"] > 0.35)) < 1e-3
    assert f"{expected['score']:.4f}"[:5] in capsys.readouterr().out


def test_parts(trained, image_encoder, onnx_files):
    """Encodes one image, grounds three expressions at once, and combines two formats."""
    session, locate = onnx_runner(onnx_files[1])
    assert [i.shape[0] for i in session.get_inputs()] == [1, 1, 1, "expressions"]
    image, _ = sample((SIDE, SIDE))
    words = np.stack([sample((SIDE, SIDE), seed=seed)[1] for seed in range(3)])
    result = locate(**run_signature(image_encoder)(image=image), words=words)

    grounder = trained.grounder
    features = grounder.encode_images(image[None])
    box, _, score, probability = grounder.locate(features, [0] * 3, grounder.encode_words(words))
    expected = {"box_xyxy_px": box, "score": score, "mask_probability": probability}
    assert_same(result, expected, SIDE)


@pytest.fixture(scope="module")
def whole(trained):
    return build_exportables(trained.grounder, use_nls=True)["whole"]


@pytest.mark.filterwarnings("ignore:.*Interpreter is deprecated")
@pytest.mark.parametrize("file_format", WRITERS)
@pytest.mark.parametrize(
    ("layer", "values"),
    [
        ("box_logits", {2: np.inf}),
        ("box_logits", dict.fromkeys(range(15), np.nan)),
        ("mask_logits", {0: np.inf}),
    ],
)
def test_infinite_values_show_in_the_score(trained, whole, tmp_path, file_format, layer, values):
    """Sigmoid and clipping alone would make a plausible box and mask of them."""
    require(file_format)
    bias = trained.grounder.model.get_layer(layer).bias
    former = np.array(bias)
    bias.assign([values.get(channel, 0) for channel in range(bias.shape[0])])
    try:
        run = written_and_read(whole, tmp_path / "whole", file_format)
    finally:
        bias.assign(former)
    image, words = sample((60, 80))
    assert np.isnan(run(image=image, words=words)["score"])


def written_and_read(whole, path, file_format):
    """Function that runs what was written in a format."""
    if file_format == "savedmodel":
        files._write_savedmodel(whole, path)
        return run_signature(path)
    if file_format == "onnx":
        files.write_onnx(whole, path)
        return onnx_runner(path)[1]
    files._write_tflite(whole, path)
    return tf.lite.Interpreter(str(path)).get_signature_runner()


def test_operations_that_onnx_lacks_are_refused(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
    def strange(x):
        return {"y": tf.math.bessel_i0e(x)}

    with pytest.raises(ConversionError, match="cannot express"):
        files.write_onnx(Exportable(strange, [], {}), tmp_path / "strange.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*Interpreter is deprecated")
def test_tflite_without_select_operations(trained, tmp_path):
    (path,) = export(trained.config, trained.weights, "tflite", tmp_path)
    interpreter = tf.lite.Interpreter(str(path))
    run = interpreter.get_signature_runner()
    names = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert not [name for name in names if "Flex" in name or name in ("WHILE", "CUSTOM")]
    assert_all_sizes_same(run, trained.grounder)


def test_another_network():
    config = network_config(rnn_cell="lstm", bidirectional=0, lang_att=0, use_nls=0)
    model = scramble(build_mcn(config))
    grounder, use_nls = Grounder(model, ANCHORS), bool(config.use_nls)
    image, words = sample((60, 80))
    expected = chain(grounder, image, words, use_nls)
    whole = build_exportables(grounder, use_nls)["whole"].function
    assert_same(whole(image, words), expected, 80)
    operations = {op.type for op in whole.get_concrete_function().graph.get_operations()}
    assert not operations & {"While", "StatelessWhile"}
    assert not [name for name in operations if "Random" in name or "Assign" in name]


def test_weights_that_were_replaced_since_their_settings_were_read_are_not_exported(
    trained, tmp_path, monkeypatch
):
    weights = tmp_path / "best.weights.h5"
    shutil.copy(trained.weights, weights)
    shutil.copy(trained.folder / "config.json", tmp_path)
    load = files.load_grounder

    def replaced(*arguments, **settings):
        shutil.copy(trained.weights, tmp_path / "new")
        (tmp_path / "new").replace(weights)
        return load(*arguments, **settings)

    monkeypatch.setattr(files, "load_grounder", replaced)
    output = tmp_path / "out"
    with pytest.raises(UserError, match="was replaced while it was loaded"):
        main(["--weights", str(weights), "--format", "savedmodel", "--output", str(output)])
    assert not list(output.rglob("*"))


def test_missing_weights_are_reported_in_one_sentence(trained, tmp_path, capsys):
    arguments = ["--config", str(trained.folder / "config.json"), "--format", "tflite"]
    arguments += ["--weights", str(tmp_path / "none.h5"), "--output", str(tmp_path / "out")]
    assert exit_code(lambda: main(arguments), "") == BAD_INPUT
    assert "none.h5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_needs_no_tensorflow():
    code = (
        "import sys; from utils.export.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--part" in done.stdout
    assert done.stdout.endswith("False\n")
