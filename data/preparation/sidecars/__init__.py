"""Files beside annotation lines, for what lines have no room for.

`ids.py` keeps the ids of the data set, and `no_target.py` the expressions that refer to no object;
`rows.py` reads and writes the lines of both. Start with `ids.py`.
"""
