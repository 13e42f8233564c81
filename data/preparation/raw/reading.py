"""Chooses the reader of a raw data set by the files in its folder."""

import os
from collections.abc import Callable
from pathlib import Path

from data.preparation.raw.grefcoco import read_grefcoco
from data.preparation.raw.parquet import parquet_files
from data.preparation.raw.raw_set import RawSet, check_split
from data.preparation.raw.refcoco_m import read_refcoco_m
from data.preparation.raw.refcoco_parquet import read_refcoco_parquet
from data.preparation.raw.refer import read_refer

# Data sets with a reader of their own; each takes the folder of the data set and its division.
READERS: dict[str, Callable[[Path, str], RawSet]] = {
    "refcoco-m": read_refcoco_m,
    "grefcoco": read_grefcoco,
}


def read_raw_set(data_root: str | os.PathLike, dataset: str, split_by: str) -> RawSet:
    """Reads a raw data set.

    Args:
        data_root: folder that contains the folder of the data set. In this, RefCOCO, RefCOCO+ and
            RefCOCOg are Parquet files if refs(<split_by>).p does not exist.
        dataset, split_by: a key of `data.preparation.raw.raw_set.SPLITS`.

    Raises:
        FileNotFoundError: one of the files is missing.
        UserError: the data set has no such division, a file cannot be read, or a referent cannot be
            used; the message names the file and the object.
    """
    check_split(dataset, split_by)
    folder = Path(data_root) / dataset
    if dataset in READERS:
        return READERS[dataset](folder, split_by)
    if not (folder / f"refs({split_by}).p").exists() and parquet_files(folder):
        return read_refcoco_parquet(folder, dataset, split_by)
    return read_refer(folder, dataset, split_by)
