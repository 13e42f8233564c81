"""Export to SavedModel, ONNX and TFLite: `python -m utils.export`. Start with `graph.py`.

`graph.py` holds the exported functions, `letterbox.py` their pre- and postprocessing, `files.py`
the writers, `description.py` the JSON file beside each export. `bundle.py` writes a folder for use
without this project, `ground.py` is its script.
"""
