"""The synthetic demo set: scenes of drawn shapes with unambiguous expressions.

`dataset.py` generates the set, `raw_layout.py` builds its tables, `scene.py` composes and draws the
scenes, `expressions.py` chooses and words the expressions, and `semantics.py` decides which object
an expression refers to.
Start with `dataset.py`.
"""
