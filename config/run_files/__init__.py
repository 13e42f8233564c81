"""The files that a run needs, and the commands that fetch or make them.

`released.py` lists the weight files that `data/download.py` fetches; start there. `commands.py`
knows the command for each file, and `missing.py` which files of a run are missing.
"""
