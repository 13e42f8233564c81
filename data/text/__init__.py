"""Expressions to network input: word vectors and word pieces.

`vectors.py` is the interface to word vectors; start there. `sources.py` identifies and opens
sources of word vectors, `glove.py` and `glove_index.py` read GloVe files, `pipeline_vectors.py`
reads spaCy pipelines, `array_cache.py` keeps results on disk, `wordpiece.py` encodes expressions
for BERT.
"""
