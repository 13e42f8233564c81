"""Random variations of training samples that change image, box, mask and words together.

`recipe.py` draws the variation of each sample and applies it; start there. `flip.py` mirrors,
unless the expression is one of `ambiguity.py`; `scale.py` enlarges and shrinks, `color.py` changes
brightness, contrast and saturation. All work on the original image, before it is letterboxed.
"""
