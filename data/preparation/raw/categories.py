"""Numbers and names of the categories of lines."""

from collections.abc import Mapping

from data.loading.errors import DataError
from data.preparation.coco import COCO_IDS, UNUSED_COCO_IDS
from data.preparation.raw.raw_set import RawReferent, RawSet

COCO_DATASETS = ("refcoco", "refcoco+", "refcocog", "refcoco-m", "grefcoco")
MAX_NAME = 100
_COCO_CATEGORY = {coco_id: category for category, coco_id in enumerate(COCO_IDS)}


def category_of(raw: RawReferent, dataset: str) -> int:
    """Maps COCO's ids 1–90 to categories 0–79; the categories of ReferIt stay unchanged.

    Raises:
        DataError: the id is not one of COCO's 80.
    """
    if dataset not in COCO_DATASETS:
        return raw.category_id
    if raw.category_id not in _COCO_CATEGORY:
        raise DataError(
            f"referent {raw.ref_id} of {dataset}: 'category_id' is {raw.category_id}, but must be "
            f"one of COCO's 80 (1–90 without {', '.join(map(str, UNUSED_COCO_IDS))})"
        )
    return _COCO_CATEGORY[raw.category_id]


def names_by_number(raw: RawSet) -> Mapping[str, str]:
    """The names of categories by the numbers of `category_of`, as texts.

    Names that cannot be shown in a table are left out.
    """
    is_of_coco = raw.dataset in COCO_DATASETS
    numbers = _COCO_CATEGORY if is_of_coco else {number: number for number in raw.categories}
    return {
        str(numbers[number]): name
        for number, name in raw.categories.items()
        if number in numbers and isinstance(name, str)
        if name.isprintable() and 0 < len(name) <= MAX_NAME
    }
