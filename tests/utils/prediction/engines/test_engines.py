"""All engines compute the same, from files that are converted once and belong to their weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from config.errors import ConfigError, UserError
from model.mcn import build_mcn
from model.weights import save_weights
from predict import _parser as prediction_parser
from test import _parser as evaluation_parser
from tests.limits import mounted_disk
from tests.tiny import network_config, random_batch, scramble
from utils.evaluation.report import build_evaluator
from utils.prediction.engines import onnx_files as files_module
from utils.prediction.engines.conversion import ConversionError, require
from utils.prediction.engines.registry import ONNX_ENGINES
from utils.prediction.expressions import ExpressionReader
from utils.prediction.grounder import NotFiniteError, load_grounder
from utils.prediction.predictor import Predictor

pytestmark = pytest.mark.slow

SIDE, TOLERANCE = 96, 1e-4


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.weights.h5"
    save_weights(network(), path)
    return path


@pytest.fixture(scope="module")
def config(tiny_set, weights):
    return tiny_set.config(evaluate_model=str(weights))


@pytest.fixture(scope="module", params=sorted(ONNX_ENGINES))
def engine(request, config):
    """The grounder of an engine; the second one reads the files that the first has converted."""
    pytest.importorskip(request.param)
    pytest.importorskip("tf2onnx")
    return load_grounder(config.replace(engine=request.param))


def pixels(count):
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def ground(grounder, images, words, rows):
    features = grounder.encode_images(images)
    return grounder.locate(features, rows, grounder.encode_words(words), ["a", "b", "c"])


@pytest.mark.parametrize("rows", [[0], [0, 2, 2, 1, 0], [1, 1]], ids=str)
def test_results_are_those_of_tensorflow(engine, grounder, rows):
    images = pixels(max(rows) + 1)
    words = random_batch(network_config(), n=len(rows))["words"]
    found, expected = (ground(one, images, words, rows) for one in (engine, grounder))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=TOLERANCE)


def test_results_of_a_call_stay_when_the_next_one_follows(engine):
    words = random_batch(network_config(), n=2)["words"]
    first = engine.encode_words(words)
    before = [np.array(feature) for feature in first]
    engine.encode_words(words + 1)
    for now, then in zip(first, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_an_evaluation_and_a_prediction(engine, grounder, config):
    evaluator = build_evaluator(config)
    ours, theirs = (evaluator.evaluate(one, config.word_len) for one in (engine, grounder))
    assert ours["n_expressions"] == theirs["n_expressions"] > 0
    for key in ("det_acc", "seg_iou", "overall_iou"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-4)


def test_predictions_and_attention(engine, grounder, config):
    photograph = next(Path(config.image_path).iterdir())
    found = []
    for one in (engine, grounder):
        predictor = Predictor(one, ExpressionReader(config))
        predictor.set_image(photograph)
        found.append((*predictor.predict("red thing"), *predictor.attention("red thing")))
    (ours, our_attention), (theirs, their_attention) = found
    np.testing.assert_allclose(ours.box_xyxy, theirs.box_xyxy, atol=1e-3)
    assert (ours.mask != theirs.mask).mean() < 1e-3
    np.testing.assert_allclose(our_attention.mask, their_attention.mask, atol=TOLERANCE)


def test_numbers_that_are_not_finite_are_no_result(config, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    model = scramble(build_mcn(network_config()))
    kernel = model.get_layer("box_logits").kernel
    kernel.assign(np.full(kernel.shape, 3e38))  # Finite, as weights must be; the sum is not.
    save_weights(model, tmp_path / "w.weights.h5")
    engine = load_grounder(config.replace(engine="onnxruntime"), tmp_path / "w.weights.h5")
    words = random_batch(network_config(), n=2)["words"]
    with pytest.raises(NotFiniteError, match=r"^b: the network computes NaN"):
        ground(engine, pixels(2), words, [1, 1])


@pytest.fixture
def converted(monkeypatch, config, tmp_path):
    """`converted()`: the files of weights in tmp_path; counts the conversions."""
    path = tmp_path / "best.weights.h5"
    shutil.copyfile(config.evaluate_model, path)
    calls = []

    class Model:
        def SerializeToString(self):
            return f"network {len(calls)}".encode()

    def to_onnx(function, name):
        calls.append(name)
        return Model()

    monkeypatch.setattr(files_module, "to_onnx", to_onnx)
    monkeypatch.setattr(files_module, "require", lambda *_: None)

    def get(**changes):
        calls.clear()
        settings = config.replace(engine="openvino", **changes)
        files = files_module.onnx_files(settings, path, _Named)
        return files, len(calls)

    get.folder = Path(f"{path}.engine")
    get.weights = path
    return get


class _Named:
    encode_images = encode_words = locate = None


def test_files_are_converted_once(converted):
    files, count = converted()
    assert count == 3
    assert converted(segment_thresh=0.9) == (files, 0)
    names = {"encode_images.onnx", "encode_words.onnx", "locate.onnx", "engine.json"}
    assert {path.name for path in converted.folder.iterdir()} == names


def test_other_code_of_the_network_is_converted_anew(converted, tmp_path, monkeypatch):
    converted()
    shutil.copytree(files_module.PROJECT_ROOT / "model", tmp_path / "model")
    monkeypatch.setattr(files_module, "PROJECT_ROOT", tmp_path)
    assert converted()[1] == 0
    with (tmp_path / "model" / "heads" / "garan.py").open("a") as file:
        file.write("# Another network.\n")
    assert converted()[1] == 3


def test_other_weights_and_settings_of_the_network_are_converted_anew(converted):
    converted()
    assert converted(word_len=3)[1] == 3
    assert converted()[1] == 3
    with converted.weights.open("ab") as file:
        file.write(b"\0")
    assert converted()[1] == 3


@pytest.mark.parametrize("damage", ["bit", "missing", "description", "folder"])
def test_damaged_files_are_converted_anew(converted, damage):
    files, _ = converted()
    path = converted.folder / "locate.onnx"
    if damage == "bit":
        path.write_bytes(b"\1" + path.read_bytes()[1:])
    elif damage == "missing":
        path.unlink()
    elif damage == "description":
        description = converted.folder / "engine.json"
        content = json.loads(description.read_text())
        content["sha256"]["locate.onnx"] = "0" * 64
        description.write_text(json.dumps(content))
    else:
        shutil.rmtree(converted.folder)
        converted.folder.write_text("a file of the user")
    assert converted()[1] == 3
    if damage != "description":  # Whose files are no longer known to be ours.
        assert converted() == (files, 0)


def test_files_of_the_user_stay(converted):
    converted()
    notes = converted.folder / "notes.txt"
    notes.write_text("mine")
    (converted.folder / "locate.onnx").write_bytes(b"changed by the user")
    converted(word_len=3)
    kept = {path.read_bytes() for path in converted.folder.parent.rglob("*") if path.is_file()}
    assert {b"mine", b"changed by the user"} <= kept


def test_a_full_disk_is_reported_and_the_network_runs(converted, tmp_path, capsys):
    with mounted_disk(converted.folder, 4096 * 4):
        (converted.folder / "filler").write_bytes(bytes(4096 * 2))
        files, count = converted()
    assert count == len(files) == 3
    assert "note: the converted network is not kept: " in capsys.readouterr().err


def test_onnxruntime_has_no_half_precision(config):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match=r"mixed_bfloat16: .*; add --precision float32"):
        load_grounder(config.replace(engine="onnxruntime", precision="mixed_bfloat16"))


def precision_of_openvino(hint):
    """What OpenVINO takes on this processor for a precision, seen by a network of one product."""
    from openvino import Core, Model, opset13

    x = opset13.parameter([-1, 8], np.float32)
    model = Model([opset13.matmul(x, np.eye(8, dtype=np.float32), False, False)], [x])
    name = "INFERENCE_PRECISION_HINT"
    return Core().compile_model(model, "CPU", {name: hint}).get_property(name).to_string()


@pytest.mark.parametrize(
    ("precision", "hint"), [("mixed_bfloat16", "bf16"), ("mixed_float16", "f16")]
)
def test_half_precision_of_openvino_is_close_or_reported(
    weights, config, grounder, capsys, precision, hint
):
    pytest.importorskip("openvino")
    used = precision_of_openvino(hint)
    half = load_grounder(config.replace(engine="openvino", precision=precision))
    note = f"note: precision={precision}: OpenVINO computes in {used}, as this processor has no"
    assert (note in capsys.readouterr().err) == (used != hint)
    words = random_batch(network_config(), n=2)["words"]
    found, expected = (ground(one, pixels(1), words, [0, 0]) for one in (half, grounder))
    np.testing.assert_allclose(found[3], expected[3], atol=0.05)
    # Half precision has an error of its own.
    assert (np.abs(found[3] - expected[3]).max() > TOLERANCE) == (used != "f32")


def test_missing_packages_are_named():
    with pytest.raises(
        ConversionError, match=r"^engine=x needs .* no-such, which .*requirements-engines\.txt"
    ):
        require(("numpy", "no-such"), "engine=x", "requirements-engines.txt")
    assert issubclass(ConversionError, UserError)


@pytest.mark.parametrize(
    "parser", [evaluation_parser, prediction_parser], ids=["test.py", "predict.py"]
)
def test_options_are_settings(parser):
    given = ["--image", "a.jpg"] if parser is prediction_parser else []
    options = parser().parse_args(
        [*given, "--set", "word_len=3", "--engine", "openvino", "--precision", "bfloat16"]
    )
    assert options.overrides == ["word_len=3", "engine=openvino", "precision=mixed_bfloat16"]
    assert parser().parse_args([*given, "--precision", "auto"]).overrides == []
