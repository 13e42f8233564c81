"""The network, its targets, losses and decoding, and weight files. Start with `mcn.py`.

It assembles `backbones`, `text_encoders` and `heads` from `layers`; `weights` loads and saves them.
`targets.py` builds what `losses.py` compares the outputs with, `decode.py` turns raw outputs into
boxes (`boxes.py` has their formats), and `nls.py` is ASNLS, which weights the mask by the box.
"""
