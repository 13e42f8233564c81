"""Registry of how the expressions of a set are divided into groups.

A division is one function decorated with `@division`: it names the groups of one expression. Every
registered division is computed and written to result.json.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.evaluation.breakdown.words import (
    ATTRIBUTES,
    COCO_CATEGORIES,
    RELATIONS,
    SPATIAL,
    has_phrase,
    words_of,
)
from utils.evaluation.results.measurement import Measurement

# COCO's bounds of the area of small and medium objects, in pixels.
SMALL_BELOW, LARGE_FROM = 32**2, 96**2
# The longest expression of each group, in words; the last group has no bound.
LENGTHS = {"1-2 words": 2, "3-5 words": 5, "6-10 words": 10}
LONGEST = "11+ words"
COCO_PREFIX = "COCO_"

GroupsOf = Callable[[Measurement], Sequence[str]]


@dataclass(frozen=True)
class Division:
    """A way to divide the expressions of a set.

    Attributes:
        name: key in result.json.
        label: heading in tables.
        groups_of: `Measurement` → the names of the groups that it belongs to; any number.
        groups: the names in the order of the table; others follow, the largest group first.
    """

    name: str
    label: str
    groups_of: GroupsOf
    groups: tuple[str, ...] = ()


DIVISIONS: dict[str, Division] = {}


def division(
    name: str, *, label: str, groups: Sequence[str] = ()
) -> Callable[[GroupsOf], GroupsOf]:
    """Registers a function `Measurement` → names of groups; see `Division`.

    Raises:
        ValueError: the name is taken.
    """

    def register(groups_of: GroupsOf) -> GroupsOf:
        if name in DIVISIONS:
            raise ValueError(f"a division named {name!r} is registered already")
        DIVISIONS[name] = Division(name, label, groups_of, tuple(groups))
        return groups_of

    return register


@division("size", label="size of the object", groups=("small", "medium", "large"))
def size_of_the_object(case: Measurement) -> tuple[str]:
    """COCO's sizes, of the area of the true box: below 32², below 96², and larger."""
    x1, y1, x2, y2 = case.true_box_xyxy
    area = (x2 - x1) * (y2 - y1)
    return ("small" if area < SMALL_BELOW else "medium" if area < LARGE_FROM else "large",)


@division("length", label="length of the expression", groups=(*LENGTHS, LONGEST))
def length_of_the_expression(case: Measurement) -> tuple[str]:
    """Number of words, without punctuation."""
    count = len(words_of(case.expression))
    return (next((name for name, most in LENGTHS.items() if count <= most), LONGEST),)


@division(
    "words",
    label="words of the expression",
    groups=("spatial", "attribute", "relation", "none of these"),
)
def words_of_the_expression(case: Measurement) -> tuple[str, ...]:
    """Which kinds of words the expression contains, see `utils.evaluation.breakdown.words`."""
    words = words_of(case.expression)
    found = {
        "spatial": not SPATIAL.isdisjoint(words),
        "attribute": not ATTRIBUTES.isdisjoint(words),
        "relation": not RELATIONS.isdisjoint(words) or has_phrase(words),
    }
    return tuple(name for name, is_found in found.items() if is_found) or ("none of these",)


@division("category", label="category of the object")
def category_of_the_object(case: Measurement) -> tuple[str]:
    """COCO's name of the category on images of COCO, else its number."""
    if case.image.startswith(COCO_PREFIX) and case.category < len(COCO_CATEGORIES):
        return (COCO_CATEGORIES[case.category],)
    return (f"category {case.category}",)
