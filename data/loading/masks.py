"""Ground-truth masks: one file of run lengths per data set, `masks.jsonl`.

Each line is one mask, encoded as in COCO's files, about a thousandth of its size as an array:

    {"id": 17, "size": [height, width], "counts": "…"}

Folders with one array `<id>.npy` per mask, as the authors' preparation writes them, are read too.
"""

import json
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard

import numpy as np
from pycocotools import mask as coco_mask

from config.files import written_atomically
from config.json_text import MAX_LINE_BYTES, check_regular, parse_json
from data.loading.annotations import Referent
from data.loading.errors import DataError

FILE_NAME = "masks.jsonl"
REMEDY = "prepare the masks again"
EXAMPLE_LINE = '{"id": 17, "size": [height, width], "counts": "…"}'
# Characters of five bits; more would not fit the sizes of images, and could overflow int64.
_MAX_CHARACTERS = 7
PARSING_ATTEMPTS = 10  # Of the header of an array.


class RunLengthError(DataError):
    """Run lengths cannot be decoded; the message does not name the mask they belong to."""


class MissingMaskError(DataError):
    """There is no mask of this id."""


class MaskSizeError(DataError):
    """A mask has another size than its image."""


class Masks(ABC):
    """The masks of a data set. Safe for use by several threads."""

    @abstractmethod
    def read(self, referent: Referent, width: int, height: int) -> np.ndarray:
        """Reads the mask of a referent whose image has `width` × `height` pixels.

        Returns:
            (height, width) uint8, 0 or 1.

        Raises:
            MissingMaskError: there is none.
            MaskSizeError: it is of another size than the image.
            DataError: it is damaged.
        """


class MasksOfFolders(Masks):
    """The masks of several data sets, which `Referent.mask_folder` tells apart.

    Args:
        masks: those of each folder.
    """

    def __init__(self, masks: Mapping[str, Masks]) -> None:
        self._masks = dict(masks)

    def read(self, referent: Referent, width: int, height: int) -> np.ndarray:
        return self._masks[referent.mask_folder].read(referent, width, height)


def open_masks(folder: str | os.PathLike) -> Masks:
    """Opens the masks in a folder: `masks.jsonl`, or `<id>.npy` files if there is no such file.

    `masks.jsonl` is read as it was, even if it is replaced later. Files `<id>.npy` are opened when
    their mask is read: nothing tells whether they were changed meanwhile.

    Raises:
        DataError: it is a pipe or device, a line of it is damaged, or an id occurs twice.
    """
    path = Path(folder) / FILE_NAME
    return _MaskFile(path) if path.exists() else _MaskFolder(Path(folder))


def write_masks(folder: str | os.PathLike, masks: Iterable[tuple[int, np.ndarray]]) -> None:
    """Writes the `masks.jsonl` of a folder, atomically, one mask at a time.

    Args:
        folder: created if missing.
        masks: pairs of an id and a mask (height, width), bool or integers, above 0 on the object.

    Raises:
        DataError: an id occurs twice.
        NoSpaceError: the disk is full.
    """
    path, written = Path(folder) / FILE_NAME, set()
    with written_atomically(path, durable=True) as file:
        for mask_id, mask in masks:
            if mask_id in written:
                raise DataError(f"{path}: two masks have the id {mask_id}; make the ids unique")
            written.add(mask_id)
            runs = coco_mask.encode(np.asfortranarray(mask > 0, np.uint8))
            row = {"id": int(mask_id), "size": list(mask.shape), "counts": runs["counts"].decode()}
            file.write(json.dumps(row).encode("ascii") + b"\n")


def run_lengths(counts: str | bytes, pixels: int) -> np.ndarray:
    """Decodes COCO's compressed counts.

    Each number consists of characters that encode five bits each, least significant first, offset
    by "0". Bit 5 of a character says that another one follows; bit 4 of the last one is the sign.
    From the fourth number on, the difference to the number two positions earlier is stored.

    Args:
        counts: the characters.
        pixels: pixels of the mask, which bound the memory that decoding takes.

    Returns:
        int64 (n,), lengths of the runs outside and on the object, in turns. They can be negative
        if the counts are damaged.

    Raises:
        RunLengthError: the counts have another form.
    """
    # A mask has at most one run per pixel and one of length 0. Most take one character: a second
    # one is needed only where runs differ by 16 pixels or more.
    if len(counts) > 2 * (pixels + 1):
        raise RunLengthError(f"the run lengths are too many for {pixels:,} pixels")
    text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - ord("0")
    valid = (groups >= 0) & (groups < 64)
    if not valid.all():
        character = chr(text[int(np.argmin(valid))])
        raise RunLengthError(f"the run lengths contain the character {character!r}")
    if not len(groups):
        return groups
    ends = np.flatnonzero(groups < 32) + 1
    if not len(ends) or ends[-1] != len(groups):
        raise RunLengthError("the run lengths end within a number")
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    if lengths.max() > _MAX_CHARACTERS:
        raise RunLengthError("the run lengths contain a number that no image can have")
    place = np.arange(len(groups)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((groups & 31) << (5 * place), starts)
    runs -= ((groups[ends - 1] & 16) > 0) * (np.int64(1) << (5 * lengths))
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs


def decode_runs(runs: np.ndarray, width: int, height: int) -> np.ndarray:
    """Decodes run lengths, which go down the columns, to a mask.

    Args:
        runs: int (n,), of `run_lengths`.
        width, height: size of the mask in pixels.

    Returns:
        (height, width) uint8, 0 or 1.

    Raises:
        RunLengthError: the run lengths do not add up to the pixels of the mask.
    """
    if (runs < 0).any() or runs.sum() != width * height:
        raise RunLengthError(f"the run lengths do not add up to {height}×{width} pixels")
    values = (np.arange(len(runs)) % 2).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


class _MaskFile(Masks):
    """The masks of a `masks.jsonl`, of which only the position of each line is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        check_regular(path, DataError)
        # Lines are read from the file that was indexed, even if it is replaced meanwhile.
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        index = np.array(self._index(), np.int64).reshape(-1, 4)
        self._rows = index[np.argsort(index[:, 0], kind="stable")]
        self._ids = np.ascontiguousarray(self._rows[:, 0])
        twice = np.flatnonzero(self._ids[1:] == self._ids[:-1])
        if len(twice):
            mask_id, _, _, first = self._rows[twice[0]]
            raise DataError(
                f"{path}:{self._rows[twice[0] + 1, 3]}: the id {mask_id} occurs in line {first} "
                f"already; {REMEDY}"
            )

    def read(self, referent: Referent, width: int, height: int) -> np.ndarray:
        position = int(np.searchsorted(self._ids, referent.mask_id))
        if position == len(self._ids) or self._ids[position] != referent.mask_id:
            raise MissingMaskError(
                f"{self.path}: no mask has the id {referent.mask_id} of a referent in "
                f"{referent.image}; is seg_gt_path set to the masks of this set?"
            )
        _, offset, length, number = self._rows[position].tolist()
        mask_id, size, counts = _parse(
            os.pread(self._descriptor, length, offset), self.path, number
        )
        if mask_id != referent.mask_id:
            raise DataError(f"{self.path}:{number}: the line has changed; start again")
        _check_size(f"{self.path}:{number}", referent, size, (width, height))
        try:
            return decode_runs(run_lengths(counts, width * height), width, height)
        except RunLengthError as error:
            raise DataError(f"{self.path}:{number}: {error}; {REMEDY}") from None

    def _index(self) -> list[tuple[int, int, int, int]]:
        """Id, offset, length and number of each line."""
        rows, offset = [], 0
        with open(self._descriptor, "rb", closefd=False) as file:
            lines = iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")
            for number, line in enumerate(lines, start=1):
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{self.path}:{number}: the line has more than {MAX_LINE_BYTES:,} bytes; "
                        f"{REMEDY}"
                    )
                if line.strip():
                    rows.append((_parse(line, self.path, number)[0], offset, len(line), number))
                offset += len(line)
        return rows


def _parse(line: bytes, path: Path, number: int) -> tuple[int, tuple[int, int], str]:
    """Id, (width, height) and compressed counts of a line."""
    row = parse_json(line, path, number, DataError)
    row = row if isinstance(row, dict) else {}
    mask_id, size, counts = (row.get(key) for key in ("id", "size", "counts"))
    if isinstance(size, list) and len(size) == 2 and isinstance(counts, str):
        height, width = size
        if _is_count(mask_id) and _is_count(height) and _is_count(width):
            return mask_id, (width, height), counts
    raise DataError(f"{path}:{number}: expected a line like {EXAMPLE_LINE}; {REMEDY}")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


class _MaskFolder(Masks):
    """Masks in files `<id>.npy`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, referent: Referent, width: int, height: int) -> np.ndarray:
        path = self.folder / f"{referent.mask_id}.npy"
        array = _mapped_array(path)
        _check_size(path, referent, (array.shape[1], array.shape[0]), (width, height))
        if array.dtype.kind == "i" and (array < 0).any():
            raise DataError(f"{path}: not a readable mask (it contains negative numbers); {REMEDY}")
        return (array > 0).reshape(height, width).astype(np.uint8)


def _mapped_array(path: Path) -> np.ndarray:
    """Opens an array (h, w) or (h, w, 1) of a .npy file without reading its values."""
    check_regular(path, DataError)
    try:
        array = _parsed_repeatedly(path)
    except FileNotFoundError:
        raise MissingMaskError(
            f"{path}: no such mask; is seg_gt_path set to its folder, and was data_process.py run "
            "with --generate_mask?"
        ) from None
    # A damaged header reaches Python's tokenizer and parser, which raise errors of many kinds.
    except Exception as error:
        raise DataError(f"{path}: not a readable mask ({error}); {REMEDY}") from None
    if (
        array.dtype.kind not in "biu"
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (1,))
    ):
        raise DataError(
            f"{path}: not a readable mask (an array of {array.dtype} {array.shape} instead of "
            f"bool or integers (height, width)); {REMEDY}"
        )
    return array


def _parsed_repeatedly(path: Path) -> np.ndarray:
    """Opens an array of a .npy file, whose header NumPy has Python parse.

    Python 3.11 counts the depth of its parser for all threads together, and raises SystemError if
    another one parses at the same time.
    """
    for _ in range(PARSING_ATTEMPTS - 1):
        with suppress(SystemError):
            return np.lib.format.open_memmap(path, mode="r")
    return np.lib.format.open_memmap(path, mode="r")


def _check_size(
    place: str | Path,
    referent: Referent,
    mask_size: tuple[int, int],
    image_size: tuple[int, int],
) -> None:
    if mask_size != image_size:
        raise MaskSizeError(
            f"{place}: the mask has {mask_size[0]}×{mask_size[1]} pixels, but its image "
            f"{referent.image} has {image_size[0]}×{image_size[1]}"
        )
