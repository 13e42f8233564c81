"""Foundations that all packages may import. Start with `schema.py`, the settings of a run.

`setting.py` declares and checks one setting, and overrides, keys and combinations of several;
`settings_table.py` writes docs/settings.md from them. `registry.py` holds what a setting selects by
name, `run_folder.py` and `run_files` find what a run has left and what it reads. `bert` has the
formats of BERT checkpoints, `json_text.py` the parser of JSON. `errors.py` has the errors meant for
people, `command_line.py` what all commands share, `signals.py` the signals to stop, `quiet.py` the
import of TensorFlow without its messages, `files.py` atomic writes, locks and free space,
`hdf5_file` HDF5 files that are checked. The JSON files are the shipped configs.
"""
