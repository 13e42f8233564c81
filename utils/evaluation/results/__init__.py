"""What an evaluation measures and writes. Start with `writing.py`, which writes a result.

`measurement.py` is the prediction for one expression compared with the truth, and its line in a
dump. `tasks.py` names the results of several splits and writes their table, and `pictures.py`
draws measured expressions, on a sheet and on a page for the browser.
"""
