EXPRESSIONS_PER_IMAGE = 7  # As in the evaluation sets of RefCOCO.
