"""HDF5 weight files. Start with `content.py`, which identifies and opens a file.

`layers.py` lists the layers in it and their arrays.
"""
