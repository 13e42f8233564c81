"""ONNX of a TensorFlow function."""

import gc
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from config.errors import UserError

ONNX_OPSET = 17
CONVERTERS = ("tf2onnx", "onnx")


class ConversionError(UserError):
    """ONNX cannot express a function, or packages are missing."""


def require(packages: tuple[str, ...], purpose: str, requirements: str) -> None:
    """Checks that optional packages are installed.

    Args:
        packages: names to import.
        purpose: what needs them, the beginning of the message.
        requirements: the file that installs them.

    Raises:
        ConversionError: one is missing.
    """
    for package in packages:
        # By its name of import: onnxruntime-gpu, for example, provides onnxruntime.
        if importlib.util.find_spec(package) is None:
            raise ConversionError(
                f"{purpose} needs the package {package}, which is not installed: "
                f"pip install -c constraints.txt -r {requirements}"
            )


def to_onnx(function: tf.types.experimental.PolymorphicFunction, name: str) -> Any:
    """Converts a function to ONNX.

    Args:
        function: `tf.function` with one input signature. Inputs and outputs keep their order.
        name: what the error message calls it.

    Returns:
        onnx.ModelProto.

    Raises:
        ConversionError: ONNX cannot express the function.
    """
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    import onnx
    import tf2onnx

    with _prompt_collection():
        model, _ = tf2onnx.convert.from_function(
            function, function.input_signature, opset=ONNX_OPSET
        )
    _simplify_unsqueeze(model.graph)
    try:
        # The converter keeps operations that it cannot convert without reporting them.
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ConversionError(f"{name}: ONNX cannot express this network: {error}") from error
    return model


@contextmanager
def _prompt_collection() -> Iterator[None]:
    """Frees unreachable objects soon.

    The converter copies all weights for each of its optimizations, in cycles of references. Python
    would look for them too rarely: it counts objects, not bytes. A full-size network then takes
    22 GB instead of 6, and more than twice the time.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()  # What exists already need not be searched again and again,
    gc.collect()  # nor counted when Python decides whether a search is worth its while.
    gc.set_threshold(700, 1, 0)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _simplify_unsqueeze(graph):
    """Makes nodes that insert no axis, which the converter writes for einsum, identities.

    OpenVINO does not read them.
    """
    no_axes = {value.name for value in graph.initializer if list(value.dims) == [0]}
    for node in graph.node:
        if node.op_type == "Unsqueeze" and node.input[1] in no_axes:
            node.op_type = "Identity"
            del node.input[1]
    # Runtimes warn about values that nothing reads.
    used = {name for node in graph.node for name in node.input}
    for value in [value for value in graph.initializer if value.name in no_axes - used]:
        graph.initializer.remove(value)
