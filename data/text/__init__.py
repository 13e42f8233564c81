"""Expressions to network input: word vectors and word pieces.

`vectors.py` is what the rest uses; start there. `sources.py` finds out what a word-vector file
is, `glove.py` and `glove_index.py` read GloVe, `wordpiece.py` encodes for BERT.
"""
