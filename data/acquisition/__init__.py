"""Downloading and extracting the raw data sets.

`archives.py` lists what can be downloaded; start there. `fetch.py` downloads one file,
`verification.py` says whether it is the expected one, and `unpack.py` extracts an archive.
"""
