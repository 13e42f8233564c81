"""Readers of published data sets, as their authors or others distribute them.

`reading.py` chooses the reader: `refer.py` for instances.json and refs(<split>).p of RefCOCO,
RefCOCO+, RefCOCOg and ReferIt, with `plain_pickle.py`; `refcoco_parquet.py` and `refcoco_m.py` for
files in Parquet, with `parquet.py`; and `grefcoco.py`. Each returns a `RawSet` of `raw_set.py`,
which `data.preparation.referring_sets` prepares; `categories.py` numbers and names the categories.
`reviewed.py` leaves out expressions that were judged wrong, and `published.py` has the published
counts. Start with `raw_set.py`.
"""
