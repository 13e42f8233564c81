"""Import of own data: JSON lines or a COCO file → annotation lines, masks and a config.

`entries.py` reads JSON lines and `coco_entries.py` COCO files, `objects.py` checks one object
against its image and makes its mask, `importing.py` imports a data set, and `writing.py` says what
it consists of and replaces. Start with `importing.py`.
"""
