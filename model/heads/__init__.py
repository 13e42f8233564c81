"""Everything after the encoders, sections 3.1 to 3.3 of the paper. Start with `fusion.py`.

In the order of the data: `fusion.py` multiplies image and text, `segmentation.py` is the RES
branch, `detection.py` the REC branch, `garan.py` the attention unit in both, and `cem.py` the
co-energy that ties them.
"""
