"""What the entry points run. Start with `training`, `evaluation` or `prediction`.

`visualization` draws pictures and curves, `export` writes other formats, `page` serves the page
for the browser. `environment.py` describes what a run computes with; `pretrain.py` is a command.
"""
