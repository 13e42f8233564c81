"""The network, its targets, losses and decoding, and weight files. Start with `mcn.py`.

It assembles `backbones`, `text_encoders` and `heads` from `layers`; `weights` loads and saves them.
"""
