"""Reading of raw data sets of the RefCOCO family: instances.json and refs(<split>).p.

`refs(<split>).p` is a Python pickle, which `plain_pickle.py` reads.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError, shown
from data.loading.errors import DataError
from data.preparation.coco import CocoFile, box_xywh_px, image_size, look_up, read_coco
from data.preparation.json_fields import entry_at, file_name, refusal, whole_number
from data.preparation.plain_pickle import UnreadablePickleError, safe_unpickle

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
    referents: dict[int, RawReferent] = {}
    expanded = 0
    for index, ref in enumerate(refs):
        referent = _join(ref, index, coco, splits, refs_path)
        # At once, since a pickle can repeat a referent in one byte. The ids number the masks.
        if referents.setdefault(referent.ref_id, referent) is not referent:
            raise DataError(
                f"{refs_path}: two referents have the 'ref_id' {referent.ref_id}; download the "
                "file again"
            )
        expanded += sum(len(text) + 1 for text in referent.expressions)
        if expanded > MAX_EXPANSION * len(content):
            raise UnreadablePickleError(
                f"{refs_path}: refused: its referents repeat the same expressions over and over; "
                "download the file again"
            )
    refs_sha256 = hashlib.sha256(content).hexdigest()
    digests = {refs_path.name: refs_sha256, instances_path.name: coco.sha256}
    return RawSet(dataset, split_by, list(referents.values()), digests)


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


def _sentences(ref: dict[str, Any]) -> tuple[str, ...]:
    sentences = ref.get("sentences")
    if not isinstance(sentences, list | tuple) or not all(
        isinstance(sentence, dict) and isinstance(sentence.get("sent"), str)
        for sentence in sentences
    ):
        raise refusal("sentences", sentences, "a list of objects with a string 'sent'")
    return tuple(sentence["sent"] for sentence in sentences)
