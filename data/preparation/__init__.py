"""Raw data sets and own data to annotation lines and masks.

`refer.py` reads RefCOCO-style data sets, `own_data.py` imports your own data, `inspection.py`
checks a prepared set. Start with `refer.py`.
"""
