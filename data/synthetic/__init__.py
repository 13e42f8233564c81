"""The synthetic demo set: scenes of drawn shapes with unambiguous expressions.

Start with `scene.py`; `semantics.py` decides what an expression refers to and `expressions.py`
puts it into words.
"""
