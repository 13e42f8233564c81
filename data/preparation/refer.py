"""Raw data sets of the RefCOCO family: instances.json and refs(<split>).p, read safely.

`refs(...).p` is a Python pickle, and a pickle may run any code when it is opened. These hold plain
containers, text and numbers only, so anything else in one is refused.
"""

import collections
import io
import json
import math
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError

# What each data set was divided by, and the splits that gave.
SPLITS: dict[tuple[str, str], tuple[str, ...]] = {
    ("refcoco", "unc"): ("train", "val", "testA", "testB"),
    ("refcoco", "google"): ("train", "val", "test"),
    ("refcoco+", "unc"): ("train", "val", "testA", "testB"),
    ("refcocog", "umd"): ("train", "val", "test"),
    ("refcocog", "google"): ("train", "val"),
    ("refclef", "unc"): ("train", "val", "testA", "testB", "testC"),
    ("refclef", "berkeley"): ("train", "val", "test"),
}
DATASETS = tuple(dict.fromkeys(dataset for dataset, _ in SPLITS))


class UnreadablePickleError(UserError):
    """A pickle that is damaged or holds more than plain data; the message names the file."""


@dataclass(frozen=True)
class RawReferent:
    """One entry of refs(<split>).p joined with its annotation and image.

    Attributes:
        ref_id, ann_id: numbers in the data set.
        split: one of `SPLITS[dataset, split_by]`.
        image: file name of the image on disk, width × height pixels.
        category_id: as in the data set (COCO: 1–90).
        box_xywh_px: left, top, width, height in pixels of the image.
        segmentation: polygons or run lengths as COCO writes them; see
            `data.preparation.segmentation`.
        expressions: as stored, not cleaned; may be none.
    """

    ref_id: int
    ann_id: int
    split: str
    image: str
    width: int
    height: int
    category_id: int
    box_xywh_px: tuple[float, float, float, float]
    segmentation: Any
    expressions: tuple[str, ...]


def check_split(dataset: str, split_by: str) -> None:
    """Refuse a pair of data set and division that does not exist, listing those that do.

    Raises:
        ValueError
    """
    if (dataset, split_by) not in SPLITS:
        valid = "; ".join(
            f"{name}: {', '.join(by for other, by in SPLITS if other == name)}" for name in DATASETS
        )
        raise ValueError(f"data set {dataset!r} has no split {split_by!r}; valid are {valid}")


def load_refs(data_root: str | os.PathLike, dataset: str, split_by: str) -> list[RawReferent]:
    """Read <data_root>/<dataset>/{instances.json, refs(<split_by>).p}, in the order of the latter.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: unknown data set or split, broken JSON, a pickle that is damaged or holds more
            than plain data, a referent without annotation or image, a missing or impossible
            value; the message names file and number.
    """
    check_split(dataset, split_by)
    folder = Path(data_root) / dataset
    refs_path, instances_path = folder / f"refs({split_by}).p", folder / "instances.json"
    for path in (refs_path, instances_path):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; {folder} must hold instances.json and refs({split_by}).p "
                f"of {dataset} (data/README.md says where they come from)"
            )
    refs = safe_unpickle(refs_path)
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise ValueError(f"{refs_path}: expected a list of referents, found {type(refs).__name__}")
    images, annotations = _read_instances(instances_path)
    return [
        _join(ref, number, images, annotations, SPLITS[dataset, split_by], refs_path)
        for number, ref in enumerate(refs)
    ]


def safe_unpickle(path: str | os.PathLike) -> Any:
    """Read a pickle that holds nothing but plain data; Python 2's text is UTF-8 or Latin-1.

    Admitted are None, booleans, numbers, text, bytes, lists, tuples, dicts, ordered dicts, sets.

    Raises:
        FileNotFoundError: no such file.
        UnreadablePickleError: anything else is asked for (the message names it), or the file is
            damaged. Nothing of what it asks for is imported or called.
    """
    content = Path(path).read_bytes()
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except _RefusedError as error:
        raise UnreadablePickleError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        pass
    except Exception as error:  # a damaged pickle can fail in any way
        raise _damaged(path, error) from None
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _RefusedError as error:
        raise UnreadablePickleError(f"{path}: {error}") from None
    except Exception as error:
        raise _damaged(path, error) from None


class _RefusedError(Exception):
    """The pickle asks for something that is no plain data."""


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes in the old protocols; any other codec is refused."""
    if encoding != "latin1":
        raise _RefusedError(f"refused: text in the encoding {encoding!r}")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    _ADMITTED = {  # noqa: RUF012 (a constant table)
        ("builtins", "set"): set,
        ("__builtin__", "set"): set,
        ("builtins", "frozenset"): frozenset,
        ("__builtin__", "frozenset"): frozenset,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _latin1_bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise _RefusedError(
                f"refused: the file asks for {module}.{name}, and only plain containers, text and "
                "numbers are admitted; the file is not what it should be, and opening it otherwise "
                "might run code of a stranger"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError(f"refused: the file refers to an object outside it ({str(pid)[:60]!r})")


def _damaged(path: str | os.PathLike, error: Exception) -> UnreadablePickleError:
    return UnreadablePickleError(
        f"{path}: no readable pickle ({type(error).__name__}: {error}); fetch the file again"
    )


def _read_instances(path: Path) -> tuple[dict[int, dict], dict[int, dict]]:
    """Images and annotations of a COCO file, by id."""
    try:
        with path.open(encoding="utf-8") as file:
            content = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: broken JSON: {error}") from None
    tables = []
    for key in ("images", "annotations"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and "id" in entry for entry in entries
        ):
            raise ValueError(f"{path}: expected a list {key!r} of objects with an 'id'")
        tables.append({entry["id"]: entry for entry in entries})
    return tables[0], tables[1]


def _join(
    ref: dict,
    number: int,
    images: dict[int, dict],
    annotations: dict[int, dict],
    splits: tuple[str, ...],
    path: Path,
) -> RawReferent:
    where = f"{path}: referent {ref.get('ref_id', f'number {number} (from 0)')}"
    try:
        annotation = annotations.get(ref["ann_id"])
        if annotation is None:
            raise ValueError(f"instances.json has no annotation {ref['ann_id']!r}")
        image = images.get(ref["image_id"])
        if image is None:
            raise ValueError(f"instances.json has no image {ref['image_id']!r}")
        if min(int(image["width"]), int(image["height"])) <= 0:
            raise ValueError(f"image {image['id']} is {image['width']}×{image['height']} pixels")
        if ref["split"] not in splits:
            raise ValueError(f"its split is {ref['split']!r}, expected one of {', '.join(splits)}")
        return RawReferent(
            ref_id=int(ref["ref_id"]),
            ann_id=ref["ann_id"],
            split=ref["split"],
            image=str(image["file_name"]),
            width=int(image["width"]),
            height=int(image["height"]),
            category_id=int(ref["category_id"]),
            box_xywh_px=_box(annotation),
            segmentation=annotation.get("segmentation"),
            expressions=tuple(str(sentence["sent"]) for sentence in ref["sentences"]),
        )
    except KeyError as error:
        raise ValueError(f"{where}: {error} is missing in it or in its annotation") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _box(annotation: dict) -> tuple[float, float, float, float]:
    box = tuple(float(value) for value in annotation["bbox"])
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise ValueError(f"bbox of annotation {annotation['id']} is {annotation['bbox']!r}")
    return box
