"""Arranges pictures of predictions on sheets."""

from collections.abc import Sequence

import numpy as np

from utils.visualization.palette import PAPER
from utils.visualization.typesetting import draw_title


def contact_sheet(
    panels: Sequence[np.ndarray], columns: int, title: str | None = None
) -> np.ndarray:
    """Arranges panels side by side, row by row.

    Args:
        panels: (h, w, 3) uint8 each, as `utils.visualization.drawing.draw_prediction` returns
            them; sizes may differ.
        columns: number of panels per row.
        title: text above the panels.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: there are no panels, or columns is not positive.
    """
    if not panels or columns < 1:
        raise ValueError(f"a sheet needs panels and columns, got {len(panels)} and {columns}")
    columns = min(columns, len(panels))
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    width = max(panel.shape[1] for panel in panels)
    gap = max(width // 30, 4)
    heights = [max(panel.shape[0] for panel in row) for row in rows]
    total_width = columns * (width + gap) + gap
    if title:
        head = draw_title(title, total_width, gap, size=max(round(width / 18), 14))
    else:
        head = _blank(gap, total_width)
    sheet = _blank(sum(heights) + gap * len(rows), total_width)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left = gap + column * (width + gap)
            sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        top += height + gap
    return np.concatenate([head, sheet])


def _blank(height, width):
    return np.full((height, width, 3), PAPER, np.uint8)
