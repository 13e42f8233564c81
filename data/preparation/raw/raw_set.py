"""Raw data sets, as their readers return them, and what several readers share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.errors import UserError, shown
from data.loading.errors import DataError
from data.preparation.json_fields import refusal, whole_number
from data.preparation.manifest import REVIEWED_SUFFIX

# (data set, name of its division) → splits.
SPLITS: dict[tuple[str, str], tuple[str, ...]] = {
    ("refcoco", "unc"): ("train", "val", "testA", "testB"),
    ("refcoco", "google"): ("train", "val", "test"),
    ("refcoco+", "unc"): ("train", "val", "testA", "testB"),
    ("refcocog", "umd"): ("train", "val", "test"),
    ("refcocog", "google"): ("train", "val"),
    ("refcoco-m", "unc"): ("val",),
    ("grefcoco", "unc"): ("train", "val", "testA", "testB"),
    ("refclef", "unc"): ("train", "val", "testA", "testB", "testC"),
    ("refclef", "berkeley"): ("train", "val", "test"),
}
# The divisions that are also published as Parquet, and those that Ref-L4 has reviews of.
COMMON_DIVISIONS = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}
DATASETS = tuple(dict.fromkeys(dataset for dataset, _ in SPLITS))


@dataclass(frozen=True)
class RawReferent:
    """A referent with its annotations and image, such as an entry of refs(<split>).p.

    Attributes:
        ref_id: id in the data set.
        ann_ids: ids of its annotations, several if it consists of several objects, none if there is
            no such object in the image or the data set has no such ids.
        splits: those of `SPLITS[dataset, split_by]` that it belongs to, usually one.
        image: name of the image file.
        width, height: size of the image in pixels.
        category_id: as in the data set (COCO: 1–90).
        box_xywh_px: left, top, width and height in pixels of the image.
        segmentation: polygons or run lengths in COCO's format, see
            `data.preparation.segmentation`; not checked.
        expressions: as stored; may be empty.
        sent_ids: id of each expression in the data set; None for those without.
        fault: why it is skipped, as in "skipped because its …"; empty if it is not.
    """

    ref_id: int
    ann_ids: tuple[int | str, ...]
    splits: tuple[str, ...]
    image: str
    width: int
    height: int
    category_id: int
    box_xywh_px: tuple[float, float, float, float]
    segmentation: Any
    expressions: tuple[str, ...]
    sent_ids: tuple[int | None, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class RawSet:
    """A raw data set.

    Attributes:
        dataset, split_by: a key of `SPLITS`.
        referents: all referents, in the order of the files.
        files: name of each file that was read → its SHA-256 in hexadecimal digits.
        is_reviewed: whether expressions that were judged wrong are left out, see `reviewed.py`.
        without_target: entries whose expressions refer to no object in the image; their boxes are
            empty.
        photographs: yields name and content of each image file; None for sets that come without.
        photograph_bytes: upper bound of their total size in bytes.
        categories: id of a category → its name as the files have it; not checked.
    """

    dataset: str
    split_by: str
    referents: list[RawReferent]
    files: Mapping[str, str]
    is_reviewed: bool = False
    without_target: Sequence[RawReferent] = ()
    photographs: Callable[[], Iterator[tuple[str, bytes]]] | None = None
    photograph_bytes: int = 0
    categories: Mapping[Any, Any] = field(default_factory=dict)

    @property
    def division(self) -> str:
        """The name of what is prepared: that of the division, and that it was reviewed."""
        return self.split_by + REVIEWED_SUFFIX * self.is_reviewed


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


def check_present(folder: Path, refs_name: str, dataset: str) -> tuple[Path, Path]:
    """The paths of the referents and of instances.json of a data set in a folder.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    paths = folder / refs_name, folder / "instances.json"
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; {folder} must contain instances.json and {refs_name} of "
                f"{dataset} (data/README.md says where to get them)"
            )
    return paths


def place_of(ref: Mapping[str, Any], index: int, path: Path) -> str:
    """What messages call an entry of a list of referents: by its id, or else by its position."""
    given = ref.get("ref_id")
    return f"{path}: referent {f'number {index} (from 0)' if given is None else shown(given)}"


def add_referent(found: dict[int, RawReferent], referent: RawReferent, path: Path) -> None:
    """Adds a referent under its id, which numbers its mask.

    Raises:
        DataError: another referent has it.
    """
    if found.setdefault(referent.ref_id, referent) is not referent:
        raise DataError(
            f"{path}: two referents have the 'ref_id' {referent.ref_id}; download the file again"
        )


def splits_of(value: Any, splits: Sequence[str]) -> tuple[str, ...]:
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


def sentences_of(ref: dict[str, Any]) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """The expressions of a referent and their ids.

    Raises:
        EntryError: its "sentences" have another form.
    """
    sentences = ref.get("sentences")
    if not isinstance(sentences, list | tuple) or not all(
        isinstance(sentence, dict) and isinstance(sentence.get("sent"), str)
        for sentence in sentences
    ):
        raise refusal("sentences", sentences, "a list of objects with a string 'sent'")
    ids = [sentence.get("sent_id") for sentence in sentences]
    return (
        tuple(sentence["sent"] for sentence in sentences),
        tuple(None if value is None else whole_number("sent_id", value) for value in ids),
    )
