"""The parts of a network in ONNX Runtime, in float32."""

from collections.abc import Mapping

import numpy as np

from utils.prediction.engines.parts import Array, Parts, parts_of

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def onnxruntime_parts(files: Mapping[str, bytes], precision: str) -> Parts:
    """Loads the ONNX files of a network, on a GPU if the installed package supports one.

    Args:
        files: of `onnx_files`.
        precision: config key, "float32": `check_engine` refuses others.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    providers = [provider for provider in PROVIDERS if provider in available]
    sessions = {
        name: onnxruntime.InferenceSession(content, providers=providers)
        for name, content in files.items()
    }

    def run(name: str, *arrays: Array) -> list[np.ndarray]:
        session = sessions[name]
        names = [value.name for value in session.get_inputs()]
        return session.run(
            None, {key: np.asarray(array) for key, array in zip(names, arrays, strict=True)}
        )

    return parts_of(run)
