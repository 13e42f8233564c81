"""The results that predict.py writes: pictures, masks and records."""

import functools
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError
from config.files import (
    check_place,
    is_unchanged,
    locked,
    no_space_named,
    remove_partial_files,
    write_bytes,
)
from config.json_text import parse_json, read_lines
from utils.prediction.expressions import in_file_name
from utils.prediction.jobs import Job
from utils.prediction.photographs import Source, path_text, source_of, source_path
from utils.prediction.prediction import Prediction, mask_of, to_record
from utils.visualization.drawing import draw_prediction
from utils.visualization.gallery import INDEX, is_gallery
from utils.visualization.png import png_bytes
from utils.visualization.results_page import COMMAND, results_page

RECORDS, LOCK = "predictions.jsonl", ".predictions.lock"
FILES = PICTURE, MASK = "picture", "mask"  # Keys of a record.
LONGEST_STEM = 150  # Bytes of the name of a photograph in those of its pictures.
NAMELESS = "photograph"
NARROWEST_PICTURE, WIDEST_PICTURE = 480, 2048

_PNG_NAME = re.compile(r".*_\d+(_.*)?\.png", re.DOTALL)  # Former versions had no words in it.
_NUMBER = re.compile(r"_\d+(?=[_.])")
_PARTIAL_NAME = re.compile(rf"\.predictions\.{_PNG_NAME.pattern}\.tmp", re.DOTALL)
NUMBER, WORDS = (int, float), ("unknown_words", "unread_words")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "image": str, "width": int, "height": int, "score": NUMBER, "mask_area": int,
    "seconds": NUMBER, **dict.fromkeys(WORDS, list),
}  # fmt: skip


class Output:
    """The folder of results: a picture, a mask and a record for each expression and photograph.

    Files are named `<image>_<n>_<words>.png` and `<image>_<n>_<words>_mask.png`, with the words of
    the expression as `in_file_name` writes them. The lines of `predictions.jsonl`
    are the records and name these files; `index.html` shows all of them. A folder holds the results
    of one network; those of earlier runs stay, so that a run that was interrupted can continue. No
    other file is ever replaced or removed, nor one that has changed since: records have checksums
    of their files.

    Args:
        folder: the folder; created by `opened`.
        jobs: the jobs of the run.
        network: what the predictions follow from, see `utils.prediction.run_folder.network_id`.
        overwrite: whether `opened` removes the results of earlier runs.

    Raises:
        UserError: the results would be mixed with the photographs or with results of another
            network, or predictions.jsonl or index.html is a file of another kind or a link.
        OSError: one of these two cannot be read.
    """

    # Within `opened`: predictions.jsonl, and "<image>_<n>" of the files that were there.
    _records: FileIO
    _taken: set[str]

    def __init__(
        self, folder: str | os.PathLike, jobs: Sequence[Job], network: str, overwrite: bool = False
    ) -> None:
        self.folder, self._network, self._overwrite = Path(folder), network, overwrite
        self._path = self.folder / RECORDS
        self._images = {source_path(job.image): job.image for job in jobs}
        # (absolute path of the photograph, expression) → start and length of the record.
        self._places: dict[tuple[str, str], tuple[int, int]] = {}
        self._numbers: Counter[str] = Counter()
        real = os.path.realpath(self.folder)
        if len({job.image for job in jobs if os.path.realpath(job.image.parent) == real}) > 1:
            raise UserError(f"{self.folder} holds the photographs: name another --output")
        for _ in self._earlier():
            pass
        self._check_index()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Prepares the folder for `write` and keeps it for this process during the block.

        Removes results for photographs of the jobs if these have changed or a picture or mask is
        missing, and all earlier results if they are to be overwritten. Other photographs are not
        read: a run whose jobs include them does this. Writes `index.html` at the end of the block,
        unless that raises.

        Raises:
            UserError: another process writes to the folder, or has done so with another network
                since this object was created, or has put another index.html there.
            NoSpaceError, OSError: predictions.jsonl or index.html cannot be written.
        """
        message = f"another predict.py is writing to {self.folder}: name another --output"
        with locked(self.folder / LOCK, message):
            found = list(self._earlier())  # All are checked before anything is removed.
            self._complete_killed(found)
            kept = bytearray()
            present = functools.cache(source_of)
            for record, line in found:
                if self._overwrite or not self._is_current(record, present):
                    self._remove_files(record)
                else:
                    self._add_place(record, len(kept), line)
                    kept += line
            if not self._path.exists() or self._path.read_bytes() != kept:
                write_bytes(self._path, memoryview(kept))
            names = os.listdir(self.folder)
            self._taken = {name[: m.end()] for name in names for m in _NUMBER.finditer(name)}
            with self._path.open("r+b", buffering=0) as self._records:
                yield
            self._write_index()

    def missing(self, job: Job) -> list[str]:
        """The expressions of a job that have no record yet, each once."""
        source = source_path(job.image)
        return [t for t in dict.fromkeys(job.expressions) if (source, t) not in self._places]

    def count_others(self, jobs: Sequence[Job]) -> int:
        """Number of results in the folder that are not of these jobs but of earlier runs."""
        ours = {(source_path(job.image), text) for job in jobs for text in job.expressions}
        return len(self._places.keys() - ours)

    def records(self, job: Job) -> list[dict[str, Any]]:
        """The records of the expressions of a job, none of which may be missing.

        Returns:
            What `to_record` returns, with the paths "picture" and "mask" and their "sha256",
            "network", and "source", which identifies the photograph.
        """
        source = source_path(job.image)
        places = [self._places[source, text] for text in job.expressions]
        return [json.loads(os.pread(self._records.fileno(), size, at)) for at, size in places]

    def write(
        self,
        image: Path,
        source: Source,
        photograph: np.ndarray,
        predictions: Sequence[Prediction],
    ) -> None:
        """Writes predictions for one photograph, all of them or none.

        Args:
            image: path of the photograph.
            source: what `source_of` returned for it before it was read.
            photograph: (h, w, 3) uint8, RGB.
            predictions: of different expressions that have no record yet.

        Raises:
            NoSpaceError, OSError: a file cannot be written; earlier results stay.
        """
        records, prepared = [], []
        try:
            for prediction in predictions:
                paths = dict(
                    zip(FILES, self._unused_files(image, prediction.expression), strict=True)
                )
                pixels = mask_of(prediction).astype(np.uint8) * 255
                drawn = {PICTURE: _draw(photograph, prediction), MASK: pixels}
                sha256 = {}
                for key, path in paths.items():
                    prepared.append(path)
                    content = png_bytes(drawn[key])
                    sha256[key] = hashlib.sha256(content).hexdigest()
                    with no_space_named(path):
                        _partial(path).write_bytes(content)
                records.append(
                    to_record(image, prediction)
                    | {key: path_text(path) for key, path in paths.items()}
                    | {"sha256": sha256, "network": self._network, "source": source}
                )
            self._append(records)
        except BaseException:
            for path in prepared:
                _partial(path).unlink(missing_ok=True)
            raise
        # After the records, so that a kill leaves no picture that is not listed.
        try:
            _put_in_place(prepared)
        except BaseException:  # A signal.
            _put_in_place(prepared)
            raise

    def _complete_killed(self, found: Sequence[tuple[dict[str, Any], bytes]]) -> None:
        """Puts the pictures of records in place, and removes what else killed processes left."""
        for record, _ in found:
            _put_in_place(self._files(record))
        for path in self.folder.iterdir():
            if _PARTIAL_NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)
        remove_partial_files(self._path)
        remove_partial_files(self.folder / INDEX)

    def _earlier(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yields the records of earlier runs and their lines, and checks whose they are."""
        for record, line in _read_records(self._path):
            if not self._overwrite and record.get("network") != self._network:
                raise UserError(
                    f"{self.folder} holds results of other weights or settings, such as "
                    "--min_score: name another --output, or replace them with --overwrite"
                )
            yield record, line

    def _check_index(self) -> None:
        """Raises UserError if the page of the results would replace anything but an earlier one."""
        path = self.folder / INDEX
        check_place(path)
        if os.path.lexists(path) and not is_gallery(path, COMMAND):
            raise UserError(
                f"{path}: was not written by predict.py, or has changed since; move it, or name "
                "another --output"
            )

    def _write_index(self) -> None:
        """Writes the page of all results in the folder, or removes it if there are none."""
        records = (record for record, _ in _read_records(self._path))
        content = results_page(self.folder, records, len(self._places))
        self._check_index()  # Not before: a page of many results takes a while.
        if content is None:
            (self.folder / INDEX).unlink(missing_ok=True)
        elif not is_unchanged(self.folder / INDEX, hashlib.sha256(content).hexdigest()):
            write_bytes(self.folder / INDEX, content)

    def _append(self, records: Sequence[dict[str, Any]]) -> None:
        """Appends records; removes what was written of them if the disk becomes full."""
        lines = [json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records]
        content = memoryview(b"".join(lines))
        end = self._records.seek(0, os.SEEK_END)
        try:
            with no_space_named(self._path, len(content)):
                while content:  # A disk that becomes full takes a part first.
                    content = content[self._records.write(content) :]
        except BaseException:
            self._records.truncate(end)
            raise
        for record, line in zip(records, lines, strict=True):
            self._add_place(record, end, line)
            end += len(line)

    def _add_place(self, record: dict[str, Any], start: int, line: bytes) -> None:
        self._places[record["source"]["path"], record["expression"]] = (start, len(line))

    def _unused_files(self, image: Path, expression: str) -> tuple[Path, Path]:
        """Picture and mask with the lowest number that no file of the photograph has."""
        words = in_file_name(expression)
        # Names of photographs may have bytes that are no UTF-8, and any length up to 255 bytes.
        stem = os.fsencode(image.stem)[:LONGEST_STEM].decode("utf-8", "ignore") or NAMELESS
        while True:
            self._numbers[stem] += 1
            name = f"{stem}_{self._numbers[stem]}"
            base = self.folder / (f"{name}_{words}" if words else name)
            picture, mask = (base.with_name(f"{base.name}{end}.png") for end in ("", "_mask"))
            if not (name in self._taken or os.path.lexists(picture) or os.path.lexists(mask)):
                return picture, mask

    def _files(self, record: dict[str, Any]) -> list[Path]:
        """Picture and mask of a record, which are in the folder wherever it was moved."""
        return [self.folder / Path(record[key]).name for key in FILES]

    def _is_current(self, record: dict[str, Any], present: Callable[[Path], Source]) -> bool:
        """Whether a result is that of the present photograph, if it is one of the jobs.

        A result without the checksum of its photograph is not.
        """
        image = self._images.get(record["source"]["path"])
        if image is None:
            return True
        if not all(path.is_file() for path in self._files(record)):
            return False
        source = present(image)
        # A photograph that is gone or elsewhere does not change the result.
        return source["sha256"] is None or source == record["source"]

    def _remove_files(self, record: dict[str, Any]) -> None:
        """Removes picture and mask unless they have changed, or are of a version without checksums.

        What stays is a file of the user.
        """
        sha256 = record.get("sha256", {})
        for key, path in zip(FILES, self._files(record), strict=True):
            if key in sha256 and is_unchanged(path, sha256[key]):
                path.unlink()


def _partial(path: Path) -> Path:
    """Where a picture waits for its record."""
    return path.with_name(f".predictions.{path.name}.tmp")


def _put_in_place(pictures: Iterable[Path]) -> None:
    """Moves the pictures that waited for their records to their places, if these are free."""
    for path in pictures:
        if _partial(path).is_file() and not os.path.lexists(path):
            _partial(path).rename(path)


def _read_records(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yields records and their lines; omits an incomplete last line, left by a killed process."""
    check_place(path)
    for number, line in read_lines(path) if path.exists() else ():
        try:
            record = parse_json(line, path, number)
        except UserError:
            if not line.endswith(b"\n"):
                return
            record = None
        if not _is_record(record):
            raise UserError(f"{path}:{number}: not a result of predict.py: name another --output")
        yield record, line.rstrip(b"\n") + b"\n"


def _is_record(record: Any) -> bool:
    """Whether a value is a record of this or a former version, without "network" or "sha256"."""
    if not isinstance(record, dict):
        return False
    names = [record.get(key) for key in FILES]
    source, sha256 = record.get("source", {"path": ""}), record.get("sha256", {})
    return (
        isinstance(record.get("expression"), str)
        and all(isinstance(name, str) and _PNG_NAME.fullmatch(Path(name).name) for name in names)
        and isinstance(source, dict)
        and isinstance(source.get("path"), str)
        and isinstance(sha256, dict)
        and ("network" not in record or ("source" in record and _is_printable(record)))
    )


def _is_printable(record: dict[str, Any]) -> bool:
    """Whether a record has everything that `utils.prediction.batch.format_records` prints."""
    if not all(_is_a(record.get(key), kinds) for key, kinds in _FIELDS.items()):
        return False
    if record.get("found", True):  # Records of former versions have no such field.
        box = record.get("box_xyxy")
        numbers = box if isinstance(box, list) and len(box) == 4 else [None]
    else:
        numbers = [record.get("min_score")]
    return (
        all(_is_a(number, NUMBER) for number in numbers)
        and all(isinstance(word, str) for key in WORDS for word in record[key])
        and min(record["width"], record["height"]) > 0
        and 0 <= record["score"] <= 1
    )


def _is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """Whether a value is of a kind, and a number no larger than a float can be."""
    if not isinstance(value, kinds):
        return False
    return not isinstance(value, NUMBER) or abs(value) <= sys.float_info.max


def _draw(photograph, prediction):
    found = prediction.found
    width = int(np.clip(max(photograph.shape[:2]), NARROWEST_PICTURE, WIDEST_PICTURE))
    return draw_prediction(
        photograph,
        prediction.expression,
        prediction.box_xyxy if found else None,
        prediction.mask if found else None,
        score=prediction.score,
        width=width,
        unknown_words=prediction.unknown_words,
        unread_words=prediction.unread_words,
        nothing_found=not found,
    )
