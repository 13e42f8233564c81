"""Panels are arranged on a sheet."""

import numpy as np
import pytest

from utils.visualization.panels import contact_sheet


def test_sheet_holds_every_panel():
    panels = [np.full((40 + 10 * k, 60 - k, 3), 10 + k, np.uint8) for k in range(5)]
    sheet = contact_sheet({"": panels}, columns=2)
    for k, panel in enumerate(panels):
        assert (sheet == 10 + k).all(axis=-1).sum() == panel.shape[0] * panel.shape[1]
    titled = contact_sheet({"": panels}, columns=2, title="RefCOCO val")
    assert titled.shape[0] > sheet.shape[0]
    assert titled.shape[1] == sheet.shape[1]
    assert contact_sheet({"": panels[:1]}, columns=4).shape[1] < sheet.shape[1]


def test_sections_have_headings_and_rows_of_their_own():
    panels = [np.full((40, 60, 3), shade, np.uint8) for shade in (10, 20, 30)]
    sheet = contact_sheet({"best 2": panels[:2], "worst 1": panels[2:]}, columns=2)
    plain = contact_sheet({"": panels}, columns=2)
    assert sheet.shape[1] == plain.shape[1]
    assert sheet.shape[0] > plain.shape[0]
    rows = [np.flatnonzero((sheet == s).all(axis=-1).any(axis=1)) for s in (10, 20, 30)]
    np.testing.assert_array_equal(rows[0], rows[1])
    # Between the rows, there is text: ink on paper.
    between = sheet[rows[0][-1] + 1 : rows[2][0]]
    assert (between < 100).any()
    assert rows[2][0] - rows[0][-1] > 14


@pytest.mark.parametrize(
    ("sections", "columns"),
    [({}, 2), ({"best": []}, 2), ({"": [np.zeros((9, 9, 3), np.uint8)]}, 0)],
)
def test_empty_sheets_are_refused(sections, columns):
    with pytest.raises(ValueError, match="sheet needs panels"):
        contact_sheet(sections, columns)
