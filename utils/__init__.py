"""What the entry points run. Start with `training` for train.py, `evaluation` for test.py and
`prediction` for predict.py.

`visualization` draws pictures and curves, `export` writes other formats, `page` serves the page
for the browser. `environment.py` describes what a run computes with, and `demo.py` tells the demo
network and its scenes from others. `pretrain.py`, `reproduce.py` and `showcase.py` are commands.
"""
