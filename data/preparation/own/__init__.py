"""Import of own data: JSON lines or a COCO file → annotation lines, masks and a config.

`entries.py` reads JSON lines and `coco_entries.py` COCO files, `objects.py` checks one object
against its image and makes its mask, and `importing.py` writes the data set. Start with
`importing.py`.
"""
