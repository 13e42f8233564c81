"""Pictures of predictions and training curves. Start with `drawing.py`, which draws one picture.

`outlines.py` draws its lines, `panels.py` combines pictures into sheets, `curves.py` draws training
curves, `typesetting.py` and `palette.py` hold text and colors for all of them, and `png.py` writes
files.
"""
