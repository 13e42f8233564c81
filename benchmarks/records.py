"""The record of measurements: a CSV file per machine, and tables in Markdown files."""

import argparse
import csv
import io
import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import write_text
from config.schema import PROJECT_ROOT
from utils.environment import CPU_INFO, cpu_instructions

FOLDER = PROJECT_ROOT / "benchmarks" / "results"
README, BENCHMARKS_README = PROJECT_ROOT / "README.md", PROJECT_ROOT / "benchmarks" / "README.md"
# As Linux names them: those for long vectors and half precision.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_fp16", "asimd", "bf16")
COLUMNS = ("benchmark", "task", "value", "unit", "spread")


@dataclass(frozen=True)
class Figure:
    """A measured value.

    Attributes:
        task: what was measured.
        value: a median, in `unit`.
        unit: such as "s" or "bytes"; empty for a ratio.
        spread: half the range divided by the median; None if there is one value only.
    """

    task: str
    value: float
    unit: str
    spread: float | None = None


def machine() -> dict[str, Any]:
    """The processor, its instructions for half precision and long vectors, and its threads."""
    model = re.search(r"model name\s*: (.*)", CPU_INFO.read_text() if CPU_INFO.exists() else "")
    known = cpu_instructions() or set()
    return {
        "processor": model[1].strip() if model else platform.processor() or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in known],
        "threads": os.cpu_count(),
    }


def machine_line() -> str:
    """Describes `machine` in a line."""
    found = machine()
    instructions = " ".join(found["instructions"]) or "none known"
    return f"{found['processor']}, {found['threads']} threads; instructions: {instructions}"


def machine_name() -> str:
    """The name of the files of this machine, such as "amd-epyc-2-threads"."""
    found = machine()
    text = f"{found['processor']} {found['threads']} threads".lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def add_record_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --record, which `record` is called for."""
    parser.add_argument(
        "--record",
        action="store_true",
        help="also write the figures to benchmarks/results/ and into the tables of the READMEs",
    )


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parses a command line with --record and --quick, which exclude each other."""
    options = parser.parse_args()
    if options.record and options.quick:
        parser.error("--record is for measurements, and --quick measures nothing; leave out one")
    return options


def record(
    benchmark: str, figures: Iterable[Figure], tables: Mapping[Path, str], folder: Path = FOLDER
) -> Path:
    """Writes the figures of a benchmark to the CSV file of this machine, and its tables.

    Args:
        benchmark: its name; its earlier figures in the file are replaced.
        figures: the rows.
        tables: Markdown file → what to write between its marks `<!-- benchmark -->` and
            `<!-- end of benchmark -->`.
        folder: of the CSV files.

    Returns:
        The CSV file.

    Raises:
        UserError: a Markdown file does not have the marks.
        OSError: a file cannot be read or written.
    """
    texts = {path: placed(path, benchmark, table) for path, table in tables.items()}
    path = folder / f"{machine_name()}.csv"
    others: list[list[str]] = []
    if path.exists():
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        others = [row for row in rows[1:] if row[0] != benchmark]
    new = [
        [benchmark, figure.task, f"{figure.value:.6g}", figure.unit,
         "" if figure.spread is None else f"{figure.spread:.3f}"]
        for figure in figures
    ]  # fmt: skip
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(others), *new])
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())
    for document, content in texts.items():
        write_text(document, content)
    return path


def placed(document: Path, name: str, table: str) -> str:
    """The text of a Markdown file with a table between its two marks.

    Args:
        document: the file.
        name: the marks are the lines `<!-- name -->` and `<!-- end of name -->`.
        table: what to write between them.

    Raises:
        UserError: the file does not have them, each once and in order, on lines of their own.
        OSError: it cannot be read.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    lines = document.read_text(encoding="utf-8").split("\n")
    if [line for line in lines if line in (begin, end)] != [begin, end]:
        raise UserError(
            f"{document}: must have the lines {begin} and {end} once each, between which the table "
            "is written"
        )
    before, after = lines[: lines.index(begin) + 1], lines[lines.index(end) :]
    return "\n".join([*before, "", *table.rstrip("\n").split("\n"), "", *after])
