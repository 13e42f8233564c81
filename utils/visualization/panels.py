"""Arranges pictures of predictions on sheets."""

from collections.abc import Mapping, Sequence

import numpy as np

from utils.visualization.palette import PAPER
from utils.visualization.typesetting import draw_title


def contact_sheet(
    sections: Mapping[str, Sequence[np.ndarray]], columns: int, title: str | None = None
) -> np.ndarray:
    """Arranges panels side by side, row by row, in sections with headings.

    Args:
        sections: heading → panels, each (h, w, 3) uint8, as
            `utils.visualization.drawing.draw_prediction` returns them; sizes may differ. An empty
            heading is omitted.
        columns: number of panels per row.
        title: text above everything.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: there are no panels, or columns is not positive.
    """
    n_panels = max(map(len, sections.values()), default=0)
    if not n_panels or columns < 1:
        raise ValueError(f"a sheet needs panels and columns, got {n_panels} and {columns}")
    columns = min(columns, n_panels)
    width = max(panel.shape[1] for panels in sections.values() for panel in panels)
    gap, size = max(width // 30, 4), max(round(width / 18), 14)
    total_width = columns * (width + gap) + gap
    parts = [draw_title(title, total_width, gap, size)] if title else [_blank(gap, total_width)]
    for heading, panels in sections.items():
        if heading:
            parts.append(draw_title(heading, total_width, gap, round(0.8 * size)))
        for start in range(0, len(panels), columns):
            parts.append(_row(panels[start : start + columns], width, gap, total_width))
    return np.concatenate(parts)


def _row(panels: Sequence[np.ndarray], width: int, gap: int, total_width: int) -> np.ndarray:
    row = _blank(max(panel.shape[0] for panel in panels) + gap, total_width)
    for column, panel in enumerate(panels):
        left = gap + column * (width + gap)
        row[: panel.shape[0], left : left + panel.shape[1]] = panel
    return row


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)
