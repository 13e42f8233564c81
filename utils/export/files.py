"""Writes networks as SavedModel, ONNX or TFLite, each with a JSON description beside it."""

import errno
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from config.files import check_free_space, write_bytes, write_text
from config.schema import Config
from data.support.staging import complete_interrupted, replaced_together
from utils.export.description import described, read_description
from utils.export.formats import SUFFIXES, ExportError
from utils.export.graph import Exportable, build_exportables
from utils.prediction.engines.conversion import CONVERTERS, require, to_onnx
from utils.prediction.grounder import load_grounder
from utils.prediction.photographs import path_text

GRAPH = "saved_model.pb"  # The file of a SavedModel by which it is recognized.


def export(
    config: Config,
    weights: str | os.PathLike | None,
    file_format: str,
    output: str | os.PathLike,
    parts: Sequence[str] = ("whole",),
    check_loaded: Callable[[], object] | None = None,
) -> list[Path]:
    """Writes parts of a network with their weights, in float32 whatever the config's precision.

    Each part replaces an earlier export together with its description, once both are complete.
    Files that no export has written, or that were changed since, are kept.

    Args:
        config: `config.schema.Config`.
        weights: file for `model.weights.load_weights`; None for config.evaluate_model.
        file_format: "savedmodel", "onnx" or "tflite".
        output: folder; created if it does not exist.
        parts: any of `utils.export.formats.PARTS`.
        check_loaded: called once the weights are loaded; raises an error if they are not those of
            the config.

    Returns:
        One path per part, in order: a file, or a folder for "savedmodel".

    Raises:
        ExportError: an unrelated file is in the way, or the format cannot be written to this path.
        ConversionError: packages are missing, or the format cannot express the network.
        NoSpaceError: the disk is full; earlier exports are as they were.
        UserError, OSError: the weights or settings cannot be used.
    """
    if file_format == "onnx":
        require_converters()
    output = Path(output)
    paths = [output / f"{part}{SUFFIXES[file_format]}" for part in parts]
    for path in paths:
        real = os.path.realpath(path)
        if file_format == "savedmodel" and path_text(real) != real:
            raise ExportError(
                f"{path}: the path is not UTF-8, as TensorFlow needs it; name another --output"
            )
        _check_replaceable(path, file_format)
    grounder = load_grounder(
        config, weights, engine="tensorflow", precision="float32", crop_taps=False
    )
    if check_loaded is not None:
        check_loaded()
    print(grounder.weights_report)
    exportables = build_exportables(grounder, bool(config.use_nls))
    write = {"savedmodel": _write_savedmodel, "onnx": write_onnx, "tflite": _write_tflite}
    for part, path in zip(parts, paths, strict=True):
        exportable, description = exportables[part], _description_of(path, file_format)
        check_free_space(
            output,
            variable_bytes(exportable),
            str(path),
            "free some space or name another --output",
        )
        is_ours = functools.partial(_is_ours, path, description)
        with replaced_together(path, description, is_ours=is_ours) as (new, new_description):
            write[file_format](exportable, new)
            source = weights or config.evaluate_model
            write_text(new_description, described(config, source, exportable, new))
    return paths


def _check_replaceable(path, file_format):
    """Refuses to replace anything but an earlier export as it was written."""
    complete_interrupted(path)
    description = _description_of(path, file_format)
    written = read_description(description)
    if description.exists() and (written is None or not written.unchanged):
        raise _in_the_way(description)
    folder, name = (path, GRAPH) if file_format == "savedmodel" else (path.parent, path.name)
    if path.exists() and not (written and written.is_as_written(folder, Path(name))):
        raise _in_the_way(path)


def _in_the_way(path):
    return ExportError(
        f"{path}: something else is in the way, or was changed since it was exported; remove it "
        "or name another --output"
    )


def _description_of(path: Path, file_format: str) -> Path:
    """The JSON file that belongs to an exported file or folder."""
    name = f"{path.name}.json" if path.suffix else f"{path.name}.{file_format}.json"
    return path.with_name(name)


def _is_ours(path: Path, description: Path, folder: Path, name: Path) -> bool:
    """Whether a file in a folder is of the export at a path and was not changed since."""
    written = read_description(description)
    if written is None:
        return False
    if folder != path and name.name == description.name:
        return written.unchanged
    return written.is_as_written(folder, name)


def _write_savedmodel(exportable, path):
    with _errors_of_the_system(path):
        tf.saved_model.save(_module(exportable), str(path), signatures=_concrete(exportable))


@contextmanager
def _errors_of_the_system(path: Path) -> Iterator[None]:
    """Turns the errors with which TensorFlow reports those of the system back into these."""
    try:
        yield
    except tf.errors.OpError as error:
        reasons = {number: os.strerror(number) for number in errno.errorcode}
        for number, reason in reasons.items():
            if f"; {reason}" in str(error):
                raise OSError(number, reason, str(path)) from None
        raise


def variable_bytes(exportable: Exportable) -> int:
    """Size of the variables, which is nearly that of an exported file."""
    return sum(tf.size(x).numpy() * x.dtype.size for x in exportable.variables)


def require_converters() -> None:
    """Raises ConversionError if the packages that write ONNX are not installed."""
    require(CONVERTERS, "ONNX", "requirements-export.txt")


def write_onnx(exportable: Exportable, path: Path) -> None:
    """Writes an ONNX file.

    Raises:
        ConversionError: ONNX cannot express the network.
    """
    model = to_onnx(exportable.function, str(path))
    for value in (*model.graph.input, *model.graph.output):
        _name_axes(value.type.tensor_type.shape.dim)
    write_bytes(path, model.SerializeToString())


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
    write_bytes(path, converter.convert())


def _module(exportable):
    """A module that tracks the function and its variables, as TensorFlow's writers need."""
    module = tf.Module()
    module.function, module.weights = exportable.function, exportable.variables
    return module


def _concrete(exportable):
    return exportable.function.get_concrete_function()
