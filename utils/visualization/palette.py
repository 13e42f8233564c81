"""The colours of pictures, training curves and the page, as (red, green, blue) in 0..255.

The hues are those of Okabe and Ito, which people with colour blindness can tell apart.
"""

Colour = tuple[int, int, int]

BLUE: Colour = (0, 114, 178)
VERMILION: Colour = (213, 94, 0)
GREEN: Colour = (0, 158, 115)
PURPLE: Colour = (204, 121, 167)
ORANGE: Colour = (230, 159, 0)
SKY_BLUE: Colour = (86, 180, 233)
DARK_GREY: Colour = (60, 60, 60)

PREDICTED, TRUTH = ORANGE, SKY_BLUE
NOTE, ERROR = SKY_BLUE, VERMILION
# Yellow, the eighth colour of the palette, is too faint on white.
CURVES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, DARK_GREY)

PAPER: Colour = (255, 255, 255)
BACKDROP: Colour = (238, 239, 241)
GRID: Colour = (228, 230, 234)
INK: Colour = (28, 30, 34)
FAINT_INK: Colour = (104, 108, 116)
EDGE: Colour = (20, 20, 24)


def hex_code(colour: Colour, opacity: float = 1.0) -> str:
    """Returns "#rrggbb", or "#rrggbbaa" if the opacity is below 1, as CSS and Matplotlib do."""
    code = "#" + "".join(f"{value:02x}" for value in colour)
    return code if opacity >= 1 else f"{code}{round(255 * opacity):02x}"
