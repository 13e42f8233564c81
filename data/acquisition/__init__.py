"""Downloading and extracting the raw data sets.

`archives.py` lists what can be downloaded; start there. `fetch.py` downloads one file,
`attempts.py` says when it gives up an address, `continuation.py` whether a response continues what
has arrived, `verification.py` whether the file is the expected one, and `unpack.py` extracts an
archive.
"""
