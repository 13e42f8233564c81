"""Conversion of raw data sets and own data to annotation lines and masks.

`referring_sets.py` prepares published data sets, which `raw` reads, and `own` imports own data.
`manifest.py` records what a set was made from, so that lines and masks of different preparations
are never paired, and `sidecars` what lines have no room for. `coco.py` reads COCO files for all
modules, `json_fields.py` checks their fields and `segmentation.py` decodes their masks.
`detection.py` builds the detection set for pretraining a backbone. `inspection.py` examines a
prepared set and `check_report.py` prints the result. Start with `referring_sets.py`.
"""
