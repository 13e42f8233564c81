"""Conversion of raw data sets and own data to annotation lines and masks.

`refer.py` reads data sets of the RefCOCO family and `segmentation.py` decodes their masks.
`own_data.py` imports own data, which `own_entries.py` and `own_objects.py` read and check.
`detection.py` builds the detection set for pretraining a backbone. `inspection.py` examines a
prepared set and `check_report.py` prints the result. Start with `refer.py`.
"""
