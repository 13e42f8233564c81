"""Text encoders: an expression to its language features. Start with `registry.py`.

`recurrent.py` and `bert.py` register one encoder each; the imports below are their entries.
"""

from model.text_encoders import bert, recurrent
from model.text_encoders.registry import TextEncoder, build_text_encoder, text_encoder_names

__all__ = ["TextEncoder", "bert", "build_text_encoder", "recurrent", "text_encoder_names"]
