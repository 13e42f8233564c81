"""Rows of Parquet files from strangers, with the optional package pyarrow."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from config.errors import UserError, shortened
from config.files import bytes_text
from config.json_text import check_regular
from data.loading.errors import DataError

# A few bytes of Parquet can stand for billions of equal values. Texts compress up to this factor.
MAX_EXPANSION, ALWAYS_ALLOWED = 100, 100_000_000
BYTES_PER_VALUE = 8  # Of a number, or of the position of a text.
BATCH_ROWS = 16  # Rows that are in memory at once; some hold photographs.


def import_parquet() -> ModuleType:
    """Imports pyarrow with its module `parquet`.

    Raises:
        UserError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"reading Parquet needs pyarrow ({error}): pip install -r requirements-parquet.txt"
        ) from None
    return pyarrow


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a data set: those of its folder, or of data/ in it, by name."""
    return sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))


def parquet_rows(path: str | os.PathLike, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """Reads some columns of a Parquet file, a few rows at a time.

    Args:
        path: the file.
        columns: their names.

    Yields:
        The number of the row, counted from 0, and a dict of plain values by column.

    Raises:
        UserError: pyarrow is not installed.
        DataError: the file is damaged, lacks a column, or would expand to more than a hundred times
            its size.
    """
    pyarrow = import_parquet()
    path = Path(path)
    check_regular(path, DataError)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            texts = _check(path, file, columns)
        number = size = 0
        # Texts stay as the file has them, each once, until the size of all of them is known.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                size += sum(map(_decoded_bytes, batch.columns))
                _check_size(path, size)
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
    except UserError:
        raise
    # Damaged pages make pyarrow raise its own errors, OSError, and those of Python's conversions.
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({shortened(str(error))}); download it again"
        ) from None


def _check(path: Path, file: Any, columns: Sequence[str]) -> list[str]:
    """Checks the columns and the size of an opened file; returns the paths of their values."""
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise DataError(
            f"{path}: has no column '{missing[0]}'; its columns are "
            f"{', '.join(map(shortened, file.schema_arrow.names[:30]))}"
        )
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    chosen = [one for one in chunks if one.path_in_schema.partition(".")[0] in columns]
    n_values = sum(one.num_values for one in chosen)
    _check_size(path, sum(group.total_byte_size for group in groups) + BYTES_PER_VALUE * n_values)
    if file.metadata.num_rows > path.stat().st_size:  # Rows differ, so each takes a byte at least.
        raise DataError(f"{path}: refused: it repeats equal rows")
    return sorted({one.path_in_schema for one in chosen})


def _check_size(path: Path, size: int) -> None:
    """Refuses a file whose content takes so many bytes in memory."""
    if size > max(ALWAYS_ALLOWED, MAX_EXPANSION * path.stat().st_size):
        raise DataError(f"{path}: refused: it would expand to more than {bytes_text(size)}")


def _decoded_bytes(column: Any) -> int:
    """The bytes of the values of a column, where a text counts each time that it occurs."""
    import pyarrow
    import pyarrow.compute

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        lengths = pyarrow.compute.binary_length(column.dictionary).take(column.indices)
        return (pyarrow.compute.sum(lengths).as_py() or 0) + column.indices.nbytes
    if pyarrow.types.is_struct(kind):
        return sum(map(_decoded_bytes, column.flatten()))
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return _decoded_bytes(column.flatten())
    return column.nbytes
