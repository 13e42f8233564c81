"""Reading of raw data sets of the RefCOCO family: instances.json and refs(<split>).p.

`refs(<split>).p` is a Python pickle. Loading an untrusted pickle can execute arbitrary code, so
`safe_unpickle` accepts only lists, tuples, dicts, strings and numbers.
"""

import collections
import hashlib
import io
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError, shortened, shown
from data.loading.errors import DataError
from data.preparation.coco import CocoFile, box_xywh_px, image_size, look_up, read_coco
from data.preparation.json_fields import entry_at, file_name, refusal, whole_number

# (data set, name of its division) → splits.
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

# (data set, name of its division) → split → numbers of referents and expressions, as far as they
# are confirmed: referents by public data cards, expressions by the totals of the data sets.
PUBLISHED_COUNTS: dict[tuple[str, str], dict[str, tuple[int, int]]] = {
    ("refcoco", "unc"): {
        "train": (42_404, 120_624),
        "val": (3_811, 10_834),
        "testA": (1_975, 5_657),
        "testB": (1_810, 5_095),
    },
    ("refcoco+", "unc"): {
        "train": (42_278, 120_191),
        "val": (3_805, 10_758),
        "testA": (1_975, 5_726),
        "testB": (1_798, 4_889),
    },
    ("refcocog", "umd"): {
        "train": (42_226, 80_512),
        "val": (2_573, 4_896),
        "test": (5_023, 9_602),
    },
    ("refcocog", "google"): {"train": (44_822, 85_474), "val": (5_000, 9_536)},
}

# A pickle can refer to what it contains already: a list of all expressions in two bytes. In the
# published files, the expressions have fewer characters than the file has bytes.
MAX_EXPANSION = 10

# An empty list or an entry of the memo takes a byte in a pickle and about a hundred in memory. In
# the published files, there are at least 15 bytes per list, dict, tuple or mark and per entry of
# the memo. Small pickles may have more of them.
MIN_BYTES, ALWAYS_ALLOWED = 8, 1000


class UnreadablePickleError(UserError):
    """A pickle is damaged or contains more than plain data; the message names the file."""


@dataclass(frozen=True)
class RawReferent:
    """One entry of refs(<split>).p joined with its annotation and image.

    Attributes:
        ref_id, ann_id: ids in the data set.
        splits: those of `SPLITS[dataset, split_by]` that it belongs to, usually one.
        image: name of the image file.
        width, height: size of the image in pixels.
        category_id: as in the data set (COCO: 1–90).
        box_xywh_px: left, top, width and height in pixels of the image.
        segmentation: polygons or run lengths in COCO's format, see
            `data.preparation.segmentation`; not checked.
        expressions: as stored; may be empty.
    """

    ref_id: int
    ann_id: int | str
    splits: tuple[str, ...]
    image: str
    width: int
    height: int
    category_id: int
    box_xywh_px: tuple[float, float, float, float]
    segmentation: Any
    expressions: tuple[str, ...]


@dataclass(frozen=True)
class RawSet:
    """A raw data set.

    Attributes:
        dataset, split_by: a key of `SPLITS`.
        referents: all referents, in the order of refs(<split_by>).p.
        files: name of each file that was read → its SHA-256 in hexadecimal digits.
    """

    dataset: str
    split_by: str
    referents: list[RawReferent]
    files: dict[str, str]


def check_split(dataset: str, split_by: str) -> None:
    """Checks that a data set has a division.

    Raises:
        UserError: it does not have this division; the message lists the divisions of all data sets.
    """
    if (dataset, split_by) not in SPLITS:
        raise UserError(
            f"data set {dataset!r} has no split {split_by!r}; valid are {division_list()}"
        )


def division_list() -> str:
    """Lists the divisions of all data sets: "refcoco: unc, google; …"."""
    return "; ".join(
        f"{name}: {', '.join(by for other, by in SPLITS if other == name)}" for name in DATASETS
    )


def read_raw_set(data_root: str | os.PathLike, dataset: str, split_by: str) -> RawSet:
    """Reads a raw data set.

    Args:
        data_root: folder that contains the folder of the data set, in which there are
            instances.json and refs(<split_by>).p.
        dataset, split_by: a key of `SPLITS`.

    Raises:
        FileNotFoundError: one of the files is missing.
        UserError: the data set has no such division, the JSON file or pickle cannot be read, or a
            referent lacks its annotation or image, has an impossible value, or has the id of
            another one; the message names the file and the object.
    """
    check_split(dataset, split_by)
    folder = Path(data_root) / dataset
    refs_path, instances_path = folder / f"refs({split_by}).p", folder / "instances.json"
    for path in (refs_path, instances_path):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; {folder} must contain instances.json and "
                f"refs({split_by}).p of {dataset} (data/README.md says where to get them)"
            )
    content = refs_path.read_bytes()
    refs = safe_unpickle(content, refs_path)
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise DataError(
            f"{refs_path}: contains a {type(refs).__name__}, but must be a list of referents"
        )
    coco = read_coco(instances_path)
    splits = SPLITS[dataset, split_by]
    referents, expanded = [], 0
    for index, ref in enumerate(refs):
        referents.append(_join(ref, index, coco, splits, refs_path))
        expanded += sum(len(text) + 1 for text in referents[-1].expressions)
        if expanded > MAX_EXPANSION * len(content):
            raise UnreadablePickleError(
                f"{refs_path}: refused: its referents repeat the same expressions over and over; "
                "download the file again"
            )
    _check_ids(referents, refs_path)
    refs_sha256 = hashlib.sha256(content).hexdigest()
    digests = {refs_path.name: refs_sha256, instances_path.name: coco.sha256}
    return RawSet(dataset, split_by, referents, digests)


def safe_unpickle(content: bytes, path: str | os.PathLike) -> Any:
    """Decodes a pickle of plain data without executing anything that it contains.

    Accepted are None, booleans, numbers, strings, bytes, lists, tuples, and dicts whose keys are
    strings: what the files of the data sets consist of. Nothing else is needed, and so time and
    memory stay proportional to the size of the pickle. The strings of Python 2 are decoded as
    UTF-8, or as Latin-1 if that fails.

    Args:
        content: the pickle.
        path: file it comes from, for error messages.

    Raises:
        UnreadablePickleError: the pickle refers to anything else, which the message names, or is
            damaged.
    """
    try:
        try:
            return _PlainUnpickler(content, encoding="utf-8").load()
        except UnicodeDecodeError:
            return _PlainUnpickler(content, encoding="latin1").load()
    except _RefusedError as error:
        raise UnreadablePickleError(f"{path}: {error}; download the file again") from None
    except Exception as error:  # A damaged pickle can raise any exception.
        raise UnreadablePickleError(
            f"{path}: not a readable pickle ({type(error).__name__}: {shortened(str(error))}); "
            "download the file again"
        ) from None


class _RefusedError(Exception):
    """The pickle contains something that is not plain data."""


# Instructions of pickles that make sets, call something or change an object.
_OBJECTS = (
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    *(pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.OBJ, pickle.BUILD),
)


def _refuse_object(unpickler: Any) -> None:
    raise _RefusedError("refused: the pickle contains sets or objects, not only plain data")


def _with_text_keys(code: bytes, keys: slice) -> dict[int, Callable[[Any], None]]:
    """The instruction `code`, which fills a dict from the stack, for keys that are strings.

    The hash of a tuple of some bytes, which contains the same tuple twice and so on, would take
    years, and numbers can be chosen so that their hashes collide.

    Args:
        code: the instruction.
        keys: where on the stack it expects the keys.
    """

    def load(unpickler: Any) -> None:
        for key in unpickler.stack[keys]:
            if type(key) is not str:
                raise _RefusedError(f"refused: {shown(key)} is the key of a dict, not a string")
        pickle._Unpickler.dispatch[code[0]](unpickler)

    return {code[0]: load}


# Instructions that take much more memory than bytes: LIST, DICT and TUPLE follow a mark.
_CONTAINERS = (
    *(pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT),
    *(pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
)
_MEMO = (pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE)


def _counted(codes: Sequence[bytes]) -> dict[int, Callable[[Any], None]]:
    """Instructions of which there may be one per `MIN_BYTES` bytes of the pickle."""

    def counted(code: bytes) -> Callable[[Any], None]:
        def load(unpickler: Any) -> None:
            unpickler.count[codes] += 1
            if unpickler.count[codes] > unpickler.most:
                raise _RefusedError("refused: it consists of little more than empty lists")
            pickle._Unpickler.dispatch[code[0]](unpickler)

        return load

    return {code[0]: counted(code) for code in codes}


class _PlainUnpickler(pickle._Unpickler):
    """Python's own unpickler in Python.

    The one in C allocates up to 34 GB for a number in the pickle, and no instruction can be taken
    from it. Without instructions that call something, nothing that was read can be copied.
    """

    dispatch = (
        pickle._Unpickler.dispatch
        | dict.fromkeys((code[0] for code in _OBJECTS), _refuse_object)
        | _with_text_keys(pickle.SETITEM, slice(-2, -1))
        | _with_text_keys(pickle.SETITEMS, slice(None, None, 2))
        | _with_text_keys(pickle.DICT, slice(None, None, 2))
        | _counted(_CONTAINERS)
        | _counted(_MEMO)
    )

    def __init__(self, content: bytes, encoding: str) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self.count: collections.Counter[Sequence[bytes]] = collections.Counter()
        self.most = len(content) // MIN_BYTES + ALWAYS_ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        raise _RefusedError(
            f"refused: the pickle refers to {shortened(f'{module}.{name}')}, but only lists, "
            "dicts, strings and numbers are accepted, because anything else could execute code"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError(
            f"refused: the pickle refers to an object outside the file ({shown(pid)})"
        )


def _join(
    ref: dict[str, Any], index: int, coco: CocoFile, splits: tuple[str, ...], path: Path
) -> RawReferent:
    """Checks a referent and joins it with its annotation and image."""
    given_id = ref.get("ref_id")
    with entry_at(
        f"{path}: referent {f'number {index} (from 0)' if given_id is None else shown(given_id)}"
    ):
        ref_id = whole_number("ref_id", ref.get("ref_id"))
        annotation = look_up(coco.annotations, ref, "ann_id")
        image = look_up(coco.images, ref, "image_id")
        of_splits = _splits_of(ref.get("split"), splits)
        category_id = whole_number("category_id", ref.get("category_id"))
        expressions = _sentences(ref)
    with entry_at(f"{coco.path}: image {shown(image['id'])}"):
        name = file_name("file_name", image.get("file_name"))
        width, height = image_size(image)
    with entry_at(f"{coco.path}: annotation {shown(annotation['id'])}"):
        box = box_xywh_px(annotation)
    return RawReferent(
        ref_id=ref_id,
        ann_id=annotation["id"],
        splits=of_splits,
        image=name,
        width=width,
        height=height,
        category_id=category_id,
        box_xywh_px=box,
        segmentation=annotation.get("segmentation"),
        expressions=expressions,
    )


def _splits_of(value: Any, splits: Sequence[str]) -> tuple[str, ...]:
    """The splits that the field "split" of a referent names.

    As in the authors' reader, "testAB" is both testA and testB, and any name with "test" belongs
    to the split "test" of divisions that have one.
    """
    if isinstance(value, str):
        if value in splits:
            return (value,)
        kind, letters = value[:4], value[4:]
        named = tuple(split for split in splits if split[:4] == kind and split[4:] in letters)
        complete = named == ("test",) or len(named) == len(set(letters)) > 0
        if kind == "test" and set(letters) <= set("ABC") and complete:
            return named
    raise refusal("split", value, f"one of {', '.join(splits)}")


def _check_ids(referents: Sequence[RawReferent], path: Path) -> None:
    """Checks that no two referents have the same id, which numbers the masks."""
    seen: set[int] = set()
    for referent in referents:
        if referent.ref_id in seen:
            raise DataError(
                f"{path}: two referents have the 'ref_id' {referent.ref_id}; download the file "
                "again"
            )
        seen.add(referent.ref_id)


def _sentences(ref: dict[str, Any]) -> tuple[str, ...]:
    sentences = ref.get("sentences")
    if not isinstance(sentences, list | tuple) or not all(
        isinstance(sentence, dict) and isinstance(sentence.get("sent"), str)
        for sentence in sentences
    ):
        raise refusal("sentences", sentences, "a list of objects with a string 'sent'")
    return tuple(sentence["sent"] for sentence in sentences)
