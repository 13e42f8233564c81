"""Metrics of parts of a set, with confidence intervals. Start with `figures.py`.

`groups.py` registers how expressions are divided; `words.py` holds the words that they are divided
by and `categories.py` the names of categories. `bootstrap.py` computes the intervals.
`differences.py` compares the metrics and expressions of two dumps, and `frames.py` says in which
pixels their boxes are.
"""
