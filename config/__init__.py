"""Foundations that all packages may import. Start with `schema.py`, the settings of a run.

`setting.py` declares and checks one setting, `checks.py` overrides, keys and combinations;
`settings_table.py` writes docs/settings.md from them. `registry.py` holds what a setting selects by
name, `bert` the formats of BERT checkpoints, `json_text.py` the parser of JSON. `errors.py` has the
errors meant for people, `command_line.py` what all commands share, `signals.py` the signals to
stop, `quiet.py` the import of TensorFlow without its messages, `files.py` atomic writes, locks and
free space, `hdf5_file` HDF5 files that are checked. The JSON files are the shipped configs.
"""
