"""Exports a network for use without this project: as SavedModel, ONNX or TFLite.

    python -m utils.export --config config/config.json --weights log/refcoco/best.weights.h5 \\
        --format onnx --output exported

writes exported/whole.onnx, which takes an RGB image of any size (h, w, 3 bytes) and the word
vectors of one expression and gives the box in the image's pixels, its score, and the mask's
probability for every pixel; beside it whole.onnx.json, which says what goes in and comes out.
With --part all the image encoder and the grounder are written too, to encode an image once for
many expressions. ONNX needs: pip install -r requirements-export.txt
"""

import argparse
import importlib.metadata
import json
import logging
import shutil
import tempfile
from pathlib import Path

from config.files import written_atomically
from config.schema import add_config_arguments, load_config

PARTS = ("whole", "image_encoder", "grounder")
SUFFIXES = {"savedmodel": "", "onnx": ".onnx", "tflite": ".tflite"}
ONNX_OPSET = 17
# What whoever uses an exported file has to know of the settings.
SETTINGS = ("input_size", "word_len", "word_embed", "embed_dim", "use_bert", "segment_thresh",
            "use_nls")  # fmt: skip


class ExportError(ValueError):
    """An export that cannot be made; the message says why and the way out."""


def main(arguments=None):
    """Runs the command line."""
    options = _parser().parse_args(arguments)
    config = load_config(options.config, options.overrides)
    parts = PARTS if options.part == "all" else (options.part,)
    for path in export(config, options.weights, options.format, options.output, parts):
        print(f"{path}  {_size(path) / 1e6:.1f} MB")


def export(config, weights, file_format, output, parts=("whole",)):
    """Writes parts of a network, its weights included, in float32 whatever the precision.

    Args:
        config: `config.schema.Config`; of its run settings, `use_nls` counts.
        weights: file for `load_weights`, or None for config.evaluate_model.
        file_format: "savedmodel", "onnx" or "tflite".
        output: folder, made where it does not exist.
        parts: of PARTS.

    Returns:
        list of Path: a file (a folder for "savedmodel") for each part, in order.

    Raises:
        ExportError: packages are missing, or something else lies where a file should go.
        WeightsError, ConfigError, OSError: the weights or settings cannot be used.
    """
    if file_format == "onnx":
        require("tf2onnx", "onnx")
    output = Path(output)
    paths = [output / f"{part}{SUFFIXES[file_format]}" for part in parts]
    for path in paths:
        _check_free(path, file_format)

    from data.loading.anchors import read_anchors
    from model.mcn import build_mcn
    from model.weights import load_weights
    from utils.export.graph import build_exportables

    anchors_px = read_anchors(config.anchors_file)
    model = build_mcn(config.replace(precision="float32", distribute="one"))
    weights = config.evaluate_model if weights is None else weights
    print(load_weights(model, weights))
    exportables = build_exportables(model, anchors_px, bool(config.use_nls))
    write = {"savedmodel": _write_savedmodel, "onnx": _write_onnx, "tflite": _write_tflite}
    output.mkdir(parents=True, exist_ok=True)
    for part, path in zip(parts, paths, strict=True):
        write[file_format](exportables[part], path)
        _describe(config, weights, exportables[part], path, file_format)
    return paths


def require(*packages):
    """Raises ExportError if one of the optional packages is not installed."""
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise ExportError(
                f"ONNX needs the package {package}, which is not installed: "
                "pip install -r requirements-export.txt"
            ) from None


def _parser():
    parser = argparse.ArgumentParser(prog="python -m utils.export", description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        "--weights", metavar="FILE", help="what to export (default: evaluate_model of the config)"
    )
    parser.add_argument("--format", choices=list(SUFFIXES), required=True, help="kind of file")
    parser.add_argument(
        "--output", default="exported", metavar="DIR", help="folder to write to (default: exported)"
    )
    parser.add_argument(
        "--part",
        choices=[*PARTS, "all"],
        default="whole",
        help="the whole function from image to mask (default), one of its halves, or all three",
    )
    return parser


def _check_free(path, file_format):
    """Refuses to replace what is no earlier export."""
    replaceable = not path.exists() or (
        (path / "saved_model.pb").is_file() if file_format == "savedmodel" else path.is_file()
    )
    if not replaceable:
        raise ExportError(f"{path}: is in the way; remove it or name another --output")


def _write_savedmodel(exportable, path):
    import tensorflow as tf

    module = _module(exportable)
    # Written beside its place first, so that a broken-off export leaves what was there.
    with tempfile.TemporaryDirectory(prefix=".export_", dir=path.parent) as scratch:
        target = Path(scratch) / "model"
        tf.saved_model.save(module, str(target), signatures=_concrete(exportable))
        if path.exists():
            shutil.rmtree(path)
        target.rename(path)


def _write_onnx(exportable, path):
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    import onnx
    import tf2onnx

    function = exportable.function
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=ONNX_OPSET)
    try:
        # The converter leaves operations that it cannot convert as they are, and goes on.
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path}: ONNX cannot express this network: {error}") from error
    for value in (*model.graph.input, *model.graph.output):
        _name_axes(value.type.tensor_type.shape.dim)
    with written_atomically(path) as file:
        file.write(model.SerializeToString())


def _name_axes(dimensions):
    """Names the axes whose length is open: those of an image, or the number of expressions."""
    unknown = [dimension for dimension in dimensions if not dimension.HasField("dim_value")]
    names = ("height", "width") if len(unknown) == 2 else ("expressions",)
    for dimension, name in zip(unknown, names, strict=False):
        dimension.dim_param = name


def _write_tflite(exportable, path):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [_concrete(exportable)], _module(exportable)
    )
    with written_atomically(path) as file:
        file.write(converter.convert())


def _module(exportable):
    """What holds the function and its variables for TensorFlow's writers."""
    import tensorflow as tf

    module = tf.Module()
    module.function, module.weights = exportable.function, exportable.variables
    return module


def _concrete(exportable):
    return exportable.function.get_concrete_function()


def _describe(config, weights, exportable, path, file_format):
    concrete = _concrete(exportable)

    def listed(specs):
        return {
            name: {
                "shape": spec.shape.as_list(),
                "dtype": spec.dtype.name,
                "about": exportable.about[name],
            }
            for name, spec in specs.items()
        }

    inputs = {spec.name: spec for spec in exportable.function.input_signature}
    details = {
        "inputs": listed(inputs),
        "outputs": listed(concrete.structured_outputs),
        "settings": {key: getattr(config, key) for key in SETTINGS},
        "weights": Path(weights).name,
    }
    name = f"{path.name}.json" if path.suffix else f"{path.name}.{file_format}.json"
    with written_atomically(path.with_name(name)) as file:
        file.write((json.dumps(details, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def _size(path):
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
