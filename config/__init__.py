"""Foundations that all packages may import. Start with `schema.py`, the settings of a run.

`checks.py` validates settings, `settings_table.py` writes docs/settings.md from them.
`errors.py` has the errors meant for people, `command_line.py` what all commands share,
`quiet.py` the silent import of TensorFlow, `files.py` atomic writes and free space,
`bert_folder.py` the formats of BERT checkpoints. The JSON files are the shipped configs.
"""
