"""Parquet files from strangers."""

import random
import sys
import tracemalloc
from collections import deque

import pytest

from config.errors import UserError
from data.loading.errors import DataError
from data.preparation.raw import parquet
from data.preparation.raw.parquet import import_parquet, parquet_rows

COLUMNS = ("name", "number")


@pytest.fixture
def file(tmp_path):
    """A file of 200 rows, more than are in memory at once."""
    pytest.importorskip("pyarrow", reason="pip install -r requirements-parquet.txt")
    from tests.data.preparation.raw.parquet_fixtures import write_rows

    rows = [{"name": f"row {n}", "number": n, "more": [n]} for n in range(200)]
    write_rows(tmp_path / "a.parquet", rows)
    return tmp_path / "a.parquet"


def test_the_chosen_columns_come_back_row_by_row(file):
    rows = list(parquet_rows(file, COLUMNS))
    assert rows[70] == (70, {"name": "row 70", "number": 70})
    assert [number for number, _ in rows] == list(range(200))


def test_damaged_files_are_refused_or_read(file):
    content, random_ = file.read_bytes(), random.Random(0)
    messages = []
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(random_.choice((1, 5, 30))):
            damaged[random_.randrange(len(damaged))] = random_.randrange(256)
        file.write_bytes(damaged[: random_.choice((len(damaged), random_.randrange(len(damaged))))])
        try:
            list(parquet_rows(file, COLUMNS))
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all(message.startswith(f"{file}: ") for message in messages)


def test_files_that_expand_are_refused(file, monkeypatch):
    monkeypatch.setattr(parquet, "ALWAYS_ALLOWED", 0)
    monkeypatch.setattr(parquet, "MAX_EXPANSION", 0.1)
    with pytest.raises(DataError, match=r"a\.parquet: refused: it would expand to"):
        next(parquet_rows(file, COLUMNS))


@pytest.mark.parametrize("nested", [False, True])
def test_texts_that_a_few_bytes_repeat_are_refused_before_they_fill_the_memory(tmp_path, nested):
    """A dictionary has each text once, so that the sizes in the file say nothing about them."""
    pytest.importorskip("pyarrow", reason="pip install -r requirements-parquet.txt")
    from tests.data.preparation.raw.parquet_fixtures import write_rows

    text = "x" * 100_000
    name = [{"sent": text}] * 2_000 if nested else text
    numbers = range(1 if nested else 1_100)
    write_rows(tmp_path / "a.parquet", [{"name": name, "number": n} for n in numbers])
    assert (tmp_path / "a.parquet").stat().st_size < 30_000
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.parquet: refused: it would expand to more than"):
        deque(parquet_rows(tmp_path / "a.parquet", COLUMNS), maxlen=0)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_texts_that_occur_often_are_read(tmp_path):
    pytest.importorskip("pyarrow", reason="pip install -r requirements-parquet.txt")
    from tests.data.preparation.raw.parquet_fixtures import write_rows

    rows = [
        {"name": "ab"[n % 2] * 500, "number": [{"sent": "dog", "more": None}, None][: n % 3]}
        for n in range(200)
    ]
    write_rows(tmp_path / "a.parquet", rows)
    assert [row for _, row in parquet_rows(tmp_path / "a.parquet", COLUMNS)] == rows


def test_files_of_equal_rows_are_refused(tmp_path):
    pytest.importorskip("pyarrow", reason="pip install -r requirements-parquet.txt")
    from tests.data.preparation.raw.parquet_fixtures import write_rows

    write_rows(tmp_path / "a.parquet", [{"name": "same", "number": 1}] * 20_000)
    with pytest.raises(DataError, match=r"a\.parquet: refused: it repeats equal rows"):
        next(parquet_rows(tmp_path / "a.parquet", COLUMNS))


def test_missing_columns_are_named(file):
    with pytest.raises(DataError, match=r"has no column 'x'; its columns are name, number, more"):
        next(parquet_rows(file, ("name", "x")))


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pyarrow .*pip install -r requirements-parquet\.txt"):
        import_parquet()
