"""Layers that several parts of the network share. Start with `blocks.py`.

`blocks.py` makes convolution blocks with the settings of one network, `batch_norm.py` is its
normalization, `dilated.py` its dilated convolution and `recurrence.py` the recurrent cells of
Keras 2.2.4.
"""
