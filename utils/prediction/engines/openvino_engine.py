"""The parts of a network in OpenVINO, on the CPU."""

import sys
from collections.abc import Mapping

import numpy as np

from utils.prediction.engines.parts import Array, Parts, parts_of

# The config key `precision` → that of OpenVINO, which by default is not float32 on every CPU.
PRECISIONS = {"float32": "f32", "mixed_bfloat16": "bf16", "mixed_float16": "f16"}
HINT = "INFERENCE_PRECISION_HINT"


def openvino_parts(files: Mapping[str, bytes], precision: str) -> Parts:
    """Compiles the ONNX files of a network.

    OpenVINO takes another precision where the processor has no instructions for the one that is
    asked for; a line on standard error then says so.

    Args:
        files: of `onnx_files`.
        precision: config key. Inputs and outputs are float32 in any case.
    """
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        HINT: PRECISIONS[precision],
    }
    compiled = {
        name: core.compile_model(core.read_model(content), "CPU", settings)
        for name, content in files.items()
    }
    used = {network.get_property(HINT).to_string() for network in compiled.values()}
    if used - {PRECISIONS[precision]}:
        print(
            f"note: precision={precision}: OpenVINO computes in {', '.join(sorted(used))}, as this "
            "processor has no instructions for it",
            file=sys.stderr,
        )

    def run(name: str, *arrays: Array) -> list[np.ndarray]:
        network = compiled[name]
        # A copy: the next call reuses the memory of the outputs.
        outputs = network([np.asarray(array) for array in arrays], share_outputs=False)
        return [outputs[index] for index in range(len(network.outputs))]

    return parts_of(run)
