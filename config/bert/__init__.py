"""The files of BERT checkpoints, which text and network are built from. Start with `folder.py`."""
