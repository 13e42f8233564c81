"""The engines by the name that the config key `engine` gives them."""

import os
from collections.abc import Callable, Mapping

from config.errors import ConfigError
from config.schema import Config
from utils.prediction.engines.conversion import require
from utils.prediction.engines.onnx_files import onnx_files
from utils.prediction.engines.onnxruntime_engine import onnxruntime_parts
from utils.prediction.engines.openvino_engine import openvino_parts
from utils.prediction.engines.parts import Parts

# Those that run ONNX files: (files, precision) → parts. Their packages have the same names.
ONNX_ENGINES: dict[str, Callable[[Mapping[str, bytes], str], Parts]] = {
    "onnxruntime": onnxruntime_parts,
    "openvino": openvino_parts,
}


def check_engine(config: Config) -> None:
    """Checks, before the network is built, that the engine of a config can be used.

    Raises:
        ConversionError: its package is missing.
        ConfigError: it has no such precision.
    """
    if config.engine in ONNX_ENGINES:
        require((config.engine,), f"engine={config.engine}", "requirements-engines.txt")
    if config.engine == "onnxruntime" and config.precision != "float32":
        raise ConfigError(
            f"precision={config.precision}: the engine onnxruntime computes in float32; add "
            "--precision float32, or use the engine openvino or tensorflow"
        )


def onnx_engine(config: Config, weights: str | os.PathLike, parts: Callable[[], Parts]) -> Parts:
    """Runs a network by the engine of a config, which is one of `ONNX_ENGINES`.

    Args:
        config: the settings of the network.
        weights: its weight file.
        parts: makes the parts in TensorFlow, in float32, for the conversion.

    Raises:
        UserError, OSError: packages are missing, or the network cannot be converted.
    """
    return ONNX_ENGINES[config.engine](onnx_files(config, weights, parts), config.precision)
