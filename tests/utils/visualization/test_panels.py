"""Panels are arranged on a sheet."""

import numpy as np
import pytest

from utils.visualization.panels import contact_sheet


def test_sheet_holds_every_panel():
    panels = [np.full((40 + 10 * k, 60, 3), 10 + k, np.uint8) for k in range(5)]
    sheet = contact_sheet(panels, columns=2)
    for k, panel in enumerate(panels):
        assert (sheet == 10 + k).all(axis=-1).sum() == panel.shape[0] * panel.shape[1]
    titled = contact_sheet(panels, columns=2, title="RefCOCO val")
    assert titled.shape[0] > sheet.shape[0]
    assert titled.shape[1] == sheet.shape[1]
    assert contact_sheet(panels[:1], columns=4).shape[1] < sheet.shape[1]


@pytest.mark.parametrize(("panels", "columns"), [([], 2), ([np.zeros((9, 9, 3), np.uint8)], 0)])
def test_empty_sheets_are_refused(panels, columns):
    with pytest.raises(ValueError, match="sheet needs panels"):
        contact_sheet(panels, columns)
