"""Downloading and extracting the raw data sets.

`archives.py` lists what can be downloaded; start there. `fetch.py` downloads one file,
`unpack.py` extracts an archive.
"""
