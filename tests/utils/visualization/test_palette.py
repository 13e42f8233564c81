"""Colours are converted to hex codes."""

import pytest

from utils.visualization.palette import ERROR, TRUTH, hex_code


@pytest.mark.parametrize(
    ("colour", "opacity", "code"),
    [(TRUTH, 1.0, "#56b4e9"), (TRUTH, 0.18, "#56b4e92e"), (ERROR, 0.15, "#d55e0026")],
)
def test_hex_code(colour, opacity, code):
    assert hex_code(colour, opacity) == code
