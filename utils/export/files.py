"""Writes networks as SavedModel, ONNX or TFLite, each with a JSON description beside it."""

import importlib.metadata
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from config.files import write_text, written_atomically
from config.schema import Config
from utils.export.formats import SUFFIXES, ExportError
from utils.export.graph import build_exportables
from utils.prediction.grounder import load_grounder

ONNX_OPSET = 17
# The settings that users of an exported file need to know.
SETTINGS = ("input_size", "word_len", "word_embed", "embed_dim", "text_encoder", "segment_thresh",
            "use_nls")  # fmt: skip


def export(
    config: Config,
    weights: str | os.PathLike | None,
    file_format: str,
    output: str | os.PathLike,
    parts: Sequence[str] = ("whole",),
) -> list[Path]:
    """Writes parts of a network with their weights, in float32 whatever the config's precision.

    Args:
        config: `config.schema.Config`.
        weights: file for `model.weights.load_weights`; None for config.evaluate_model.
        file_format: "savedmodel", "onnx" or "tflite".
        output: folder; created if it does not exist.
        parts: any of `utils.export.formats.PARTS`.

    Returns:
        One path per part, in order: a file, or a folder for "savedmodel".

    Raises:
        ExportError: packages are missing, an unrelated file is in the way, or the format cannot
            express the network.
        UserError, OSError: the weights or settings cannot be used.
    """
    if file_format == "onnx":
        require("tf2onnx", "onnx")
    output = Path(output)
    paths = [output / f"{part}{SUFFIXES[file_format]}" for part in parts]
    for path in paths:
        _check_replaceable(path, file_format)
    grounder = load_grounder(config, weights, precision="float32", distribute="one")
    print(grounder.weights_report)
    exportables = build_exportables(grounder, bool(config.use_nls))
    write = {"savedmodel": _write_savedmodel, "onnx": _write_onnx, "tflite": _write_tflite}
    output.mkdir(parents=True, exist_ok=True)
    for part, path in zip(parts, paths, strict=True):
        write[file_format](exportables[part], path)
        _describe(config, weights or config.evaluate_model, exportables[part], path, file_format)
    return paths


def require(*packages: str) -> None:
    """Raises ExportError if one of the optional packages is not installed."""
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise ExportError(
                f"ONNX needs the package {package}, which is not installed: "
                "pip install -r requirements-export.txt"
            ) from None


def _check_replaceable(path, file_format):
    """Refuses to replace anything but an earlier export."""
    replaceable = not path.exists() or (
        (path / "saved_model.pb").is_file() if file_format == "savedmodel" else path.is_file()
    )
    if not replaceable:
        raise ExportError(
            f"{path}: something else is in the way; remove it or name another --output"
        )


def _write_savedmodel(exportable, path):
    # The folder is written elsewhere first, so that an interrupted export leaves the earlier one.
    with tempfile.TemporaryDirectory(prefix=".export_", dir=path.parent) as scratch:
        target = Path(scratch) / "model"
        tf.saved_model.save(_module(exportable), str(target), signatures=_concrete(exportable))
        if path.exists():
            path.rename(Path(scratch) / "earlier")
        target.rename(path)


def _write_onnx(exportable, path):
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    import onnx
    import tf2onnx

    function = exportable.function
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=ONNX_OPSET)
    try:
        # The converter keeps operations that it cannot convert without reporting them.
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path}: ONNX cannot express this network: {error}") from error
    for value in (*model.graph.input, *model.graph.output):
        _name_axes(value.type.tensor_type.shape.dim)
    with written_atomically(path) as file:
        file.write(model.SerializeToString())


def _name_axes(dimensions):
    """Names the axes of variable length: height and width, or the number of expressions."""
    variable = [dimension for dimension in dimensions if not dimension.HasField("dim_value")]
    names = ("height", "width") if len(variable) == 2 else ("expressions",)
    for dimension, name in zip(variable, names, strict=False):
        dimension.dim_param = name


def _write_tflite(exportable, path):
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [_concrete(exportable)], _module(exportable)
    )
    with written_atomically(path) as file:
        file.write(converter.convert())


def _module(exportable):
    """A module that tracks the function and its variables, as TensorFlow's writers need."""
    module = tf.Module()
    module.function, module.weights = exportable.function, exportable.variables
    return module


def _concrete(exportable):
    return exportable.function.get_concrete_function()


def _describe(config, weights, exportable, path, file_format):
    """Writes the JSON file that describes inputs, outputs and settings."""

    def described(specs):
        return {
            name: {
                "shape": spec.shape.as_list(),
                "dtype": spec.dtype.name,
                "about": exportable.about[name],
            }
            for name, spec in specs.items()
        }

    details = {
        "inputs": described({spec.name: spec for spec in exportable.function.input_signature}),
        "outputs": described(_concrete(exportable).structured_outputs),
        "settings": {key: getattr(config, key) for key in SETTINGS},
        "weights": Path(weights).name,
    }
    name = f"{path.name}.json" if path.suffix else f"{path.name}.{file_format}.json"
    write_text(path.with_name(name), json.dumps(details, indent=2, ensure_ascii=False) + "\n")
