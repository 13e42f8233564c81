"""Text is set in a font that has its letters, and wrapped to the width."""

import numpy as np
import pytest
from PIL import ImageFont

from utils.visualization import typesetting


def test_without_system_fonts_pillows_font_is_used(monkeypatch):
    monkeypatch.setattr(typesetting, "FALLBACK_FONTS", ("no-such-font.ttf",))
    font = typesetting._font(14, "größte")
    assert font.getname() == ImageFont.load_default(14).getname()


@pytest.mark.parametrize(
    "text", ["one", "two words", "many words " * 20, "x" * 300, "大きな木" * 40]
)
@pytest.mark.parametrize("max_lines", [1, 3])
def test_lines_fit_the_width(text, max_lines):
    font = ImageFont.load_default(14)
    lines = typesetting._wrap(text, font, 120, max_lines)
    assert 1 <= len(lines) <= max_lines
    assert all(font.getlength(line) <= 120 for line in lines)
    cut = lines[-1].endswith("…")
    assert "".join(lines).rstrip("…").replace(" ", "") in text.replace(" ", "")
    assert cut == ("".join(lines).replace(" ", "") != text.replace(" ", ""))


def test_a_title_is_one_line():
    short, long = (typesetting.draw_title(text, 200, 5, 14) for text in ("val", "val " * 99))
    assert short.shape == long.shape
    assert (short != long).any()
    assert np.all(long[:, -5:] == 255)
