"""Reviews of the labels of RefCOCO, RefCOCO+ and RefCOCOg, which Ref-L4 comes with.

`<data set>_<split>_reviewed.json` is a COCO file with an image and an annotation per expression:
the image has the expression as its "caption", and the annotation has the id of the object in
instances.json as its "original_id" and "caption_quality", which is 0 for labels judged wrong.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from config.errors import UserError, shown
from data.loading.errors import DataError
from data.preparation.coco import CocoFile, look_up, read_coco
from data.preparation.json_fields import entry_at, refusal, whole_number
from data.preparation.raw.raw_set import COMMON_DIVISIONS, SPLITS, RawReferent, RawSet

FOLDER = "refcocos_annotation_reviewed"

# Id of an annotation → its expressions as they are compared, with their quality, in order.
_Labels = dict[int | str, list[tuple[str, int]]]


@dataclass
class Review:
    """What a review says about a data set.

    Attributes:
        judged, wrong: numbers of expressions that were judged, and judged wrong.
        without: expressions of reviewed splits that the review does not contain, for people.
    """

    judged: int = 0
    wrong: int = 0
    without: list[str] = field(default_factory=list)


def only_reviewed(raw: RawSet, folder: Path) -> tuple[RawSet, Review]:
    """Leaves out the expressions that were judged wrong; those without a review are kept.

    Args:
        raw: a data set.
        folder: contains the reviews of all its splits except train, which has none.

    Returns:
        The data set without these expressions, in which a referent may have none left, and the
        review.

    Raises:
        FileNotFoundError: the review of a split is missing.
        UserError: the data set was not reviewed, a file cannot be read, or it is the review of
            another data set.
    """
    if COMMON_DIVISIONS.get(raw.dataset) != raw.split_by:
        given = ", ".join(f"{name} ({division})" for name, division in COMMON_DIVISIONS.items())
        raise UserError(
            f"--only_reviewed: {raw.dataset} ({raw.split_by}) was not reviewed; reviews exist for "
            f"{given}"
        )
    files = dict(raw.files)
    labels: dict[str, _Labels] = {}
    for split in SPLITS[raw.dataset, raw.split_by]:
        if split == "train":
            continue
        path = folder / f"{raw.dataset}_{split}_reviewed.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; put the reviews of Ref-L4 there (data/README.md says where "
                "to get them)"
            )
        coco = read_coco(path)
        files[path.name] = coco.sha256
        labels[split] = _labels_of(coco)
    review = Review()
    referents = [_filtered(referent, labels, review) for referent in raw.referents]
    if not review.judged:
        raise DataError(
            f"{folder}: the reviews contain no expression of {raw.dataset}; are they those of this "
            "data set?"
        )
    return replace(raw, referents=referents, files=files, is_reviewed=True), review


def _labels_of(coco: CocoFile) -> _Labels:
    labels: _Labels = defaultdict(list)
    for annotation in coco.annotations.values():
        with entry_at(f"{coco.path}: annotation {shown(annotation['id'])}"):
            original_id = whole_number("original_id", annotation.get("original_id"))
            quality = whole_number("caption_quality", annotation.get("caption_quality"))
            image = look_up(coco.images, annotation, "image_id")
        with entry_at(f"{coco.path}: image {shown(image['id'])}"):
            caption = image.get("caption")
            if not isinstance(caption, str):
                raise refusal("caption", caption, "an expression")
        labels[original_id].append((_compared(caption), quality))
    return labels


def _filtered(referent: RawReferent, labels: dict[str, _Labels], review: Review) -> RawReferent:
    """A referent without the expressions that were judged wrong."""
    reviewed = [split for split in referent.splits if split in labels]
    if not reviewed:
        return referent
    left = [
        pair
        for split in reviewed
        for ann_id in referent.ann_ids
        for pair in labels[split].get(ann_id, ())
    ]
    kept = []
    for index, expression in enumerate(referent.expressions):
        pair = next((pair for pair in left if pair[0] == _compared(expression)), None)
        if pair is None:
            review.without.append(f"{shown(expression)} of referent {referent.ref_id}")
        else:
            left.remove(pair)
            review.judged += 1
            review.wrong += pair[1] == 0
        if pair is None or pair[1] != 0:
            kept.append(index)
    return replace(
        referent,
        expressions=_chosen(referent.expressions, kept),
        sent_ids=_chosen(referent.sent_ids, kept),
    )


def _chosen(values: tuple, kept: Iterable[int]) -> tuple:
    return tuple(values[index] for index in kept) if values else ()


def _compared(expression: str) -> str:
    return " ".join(expression.lower().split())
