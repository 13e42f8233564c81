"""The tests, in the layout of the project. Start with `conftest.py` and `tiny.py`, the fixtures.

`parity` compares with values recorded from the authors' implementation. `test_imports.py`,
`test_style.py` and `test_documents.py` check the rules of CONTRIBUTING.md.
"""
