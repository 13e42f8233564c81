"""Pictures of predictions and training curves. Start with `drawing.py`, which draws one picture.

`outlines.py` draws its lines. `panels.py` combines pictures into sheets, and `gallery.py` into
pages for the browser, whose style and script are in `page_parts.py`. `prepared_set.py` shows
prepared data sets, and `results_page.py` what predict.py has written. `curves.py` draws training
curves, `typesetting.py` and `palette.py` hold text and colors for all of them, and `png.py` writes
files.
"""
