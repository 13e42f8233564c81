"""The names of categories, in sets whose numbers of categories are COCO's."""

import os
from collections.abc import Iterable
from pathlib import Path

from data.loading.annotations import image_key
from data.preparation.coco import COCO_CATEGORIES
from data.preparation.manifest import read_manifest
from data.preparation.own.writing import IMPORTED
from data.preparation.referring_sets import COCO_DATASETS


def category_names(annotation_file: str | os.PathLike, images: Iterable[str]) -> tuple[str, ...]:
    """The names of the categories of a set, by number.

    Its numbers are those of COCO's categories if it was prepared from one of `COCO_DATASETS`, as
    the manifest says, and its images are COCO's. The demo set, which is prepared from
    tables in the same layout, imports of own data and sets without a manifest have other numbers.

    Args:
        annotation_file: annotation file of a split.
        images: names of its images.

    Returns:
        COCO's 80 names, or none.

    Raises:
        DataError: the manifest is damaged.
    """
    manifest = read_manifest(Path(annotation_file).parent)
    if manifest is None or manifest.dataset not in COCO_DATASETS or manifest.division == IMPORTED:
        return ()
    are_of_coco = all(image_key(name) != name for name in images)
    return COCO_CATEGORIES if are_of_coco else ()
