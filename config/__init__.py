"""Foundations that everything else may import. Start with `schema.py`, the settings of a run.

`errors.py` has the base class of errors meant for people, `command_line.py` what the commands have
in common, `files.py` atomic writes and free space, `bert_folder.py` the layout of BERT checkpoints.
"""
