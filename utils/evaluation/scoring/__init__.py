"""Scores of predictions that any system wrote, without a network or TensorFlow.

Start with `report.py`, the body of `test.py --predictions`. `reading.py` chooses the files of
predictions, `rows.py` reads one, `matching.py` assigns its rows to the expressions of sets, and
`scorer.py` compares them with the truth. `doubts.py` warns about boxes in another form than
expected, and `mask_images.py` hashes the files of masks.
"""
