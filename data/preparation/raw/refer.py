"""Reading of raw data sets of the RefCOCO family: instances.json and refs(<split>).p.

`refs(<split>).p` is a Python pickle, which `plain_pickle.py` reads.
"""

import hashlib
from pathlib import Path
from typing import Any

from config.errors import shown
from data.loading.errors import DataError
from data.preparation.coco import (
    CocoFile,
    box_xywh_px,
    category_names,
    image_size,
    look_up,
    read_coco,
)
from data.preparation.json_fields import entry_at, file_name, whole_number
from data.preparation.raw.plain_pickle import UnreadablePickleError, safe_unpickle
from data.preparation.raw.raw_set import (
    SPLITS,
    RawReferent,
    RawSet,
    add_referent,
    check_present,
    place_of,
    sentences_of,
    splits_of,
)

# A pickle can refer to what it contains already: a list of all expressions in two bytes. In the
# published files, the expressions have fewer characters than the file has bytes.
MAX_EXPANSION = 10


def read_refer(folder: Path, dataset: str, split_by: str) -> RawSet:
    """Reads a raw data set.

    Args:
        folder: contains instances.json and refs(<split_by>).p.
        dataset, split_by: a key of `SPLITS`.

    Raises:
        FileNotFoundError: one of the files is missing.
        UserError: the JSON file or pickle cannot be read, or a referent lacks its annotation or
            image, has an impossible value, or has the id of another one; the message names the file
            and the object.
    """
    refs_path, instances_path = check_present(folder, f"refs({split_by}).p", dataset)
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
        # At once, since a pickle can repeat a referent in one byte.
        add_referent(referents, referent, refs_path)
        expanded += sum(len(text) + 1 for text in referent.expressions)
        if expanded > MAX_EXPANSION * len(content):
            raise UnreadablePickleError(
                f"{refs_path}: refused: its referents repeat the same expressions over and over; "
                "download the file again"
            )
    refs_sha256 = hashlib.sha256(content).hexdigest()
    digests = {refs_path.name: refs_sha256, instances_path.name: coco.sha256}
    names = category_names(coco)
    return RawSet(dataset, split_by, list(referents.values()), digests, categories=names)


def _join(
    ref: dict[str, Any], index: int, coco: CocoFile, splits: tuple[str, ...], path: Path
) -> RawReferent:
    """Checks a referent and joins it with its annotation and image."""
    with entry_at(place_of(ref, index, path)):
        ref_id = whole_number("ref_id", ref.get("ref_id"))
        annotation = look_up(coco.annotations, ref, "ann_id")
        image = look_up(coco.images, ref, "image_id")
        of_splits = splits_of(ref.get("split"), splits)
        category_id = whole_number("category_id", ref.get("category_id"))
        expressions, sent_ids = sentences_of(ref)
    with entry_at(f"{coco.path}: image {shown(image['id'])}"):
        name = file_name("file_name", image.get("file_name"))
        width, height = image_size(image)
    with entry_at(f"{coco.path}: annotation {shown(annotation['id'])}"):
        box = box_xywh_px(annotation)
    return RawReferent(
        ref_id=ref_id,
        ann_ids=(annotation["id"],),
        splits=of_splits,
        image=name,
        width=width,
        height=height,
        category_id=category_id,
        box_xywh_px=box,
        segmentation=annotation.get("segmentation"),
        expressions=expressions,
        sent_ids=sent_ids,
    )
