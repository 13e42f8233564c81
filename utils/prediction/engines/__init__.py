"""Engines that run the three parts of a network. Start with `parts.py`, the interface.

`tensorflow_engine.py` runs the network itself. `onnxruntime_engine.py` and `openvino_engine.py` run
`onnx_files.py`: the same parts as ONNX, written once per weight file. `conversion.py` makes ONNX
of a function.
"""
