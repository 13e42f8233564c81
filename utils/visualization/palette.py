"""The colors of pictures, training curves and the page, as (red, green, blue) in 0..255.

The hues are those of Okabe and Ito, which people with color blindness can tell apart.
"""

Color = tuple[int, int, int]

BLUE: Color = (0, 114, 178)
VERMILION: Color = (213, 94, 0)
GREEN: Color = (0, 158, 115)
PURPLE: Color = (204, 121, 167)
ORANGE: Color = (230, 159, 0)
SKY_BLUE: Color = (86, 180, 233)
DARK_GRAY: Color = (60, 60, 60)

PREDICTED, TRUTH = ORANGE, SKY_BLUE
NOTE, ERROR, MARK = SKY_BLUE, VERMILION, VERMILION
# Yellow, the eighth color of the palette, is too faint on white.
CURVES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, DARK_GRAY)

PAPER: Color = (255, 255, 255)
GRID: Color = (228, 230, 234)
INK: Color = (28, 30, 34)
FAINT_INK: Color = (104, 108, 116)
# The casings of outlines: of the two, at least one contrasts with any color.
INNER_CASING: Color = (255, 255, 255)
OUTER_CASING: Color = (0, 0, 0)


def hex_code(color: Color, opacity: float = 1.0) -> str:
    """Returns "#rrggbb", or "#rrggbbaa" if the opacity is below 1, as CSS and Matplotlib do."""
    code = "#" + "".join(f"{value:02x}" for value in color)
    return code if opacity >= 1 else f"{code}{round(255 * opacity):02x}"
