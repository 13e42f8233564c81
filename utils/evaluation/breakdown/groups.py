"""Registry of how the expressions of a set are divided into groups.

A division is one function decorated with `@division`: it names the groups of one expression. Every
registered division is computed and written to result.json.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from utils.evaluation.breakdown.words import (
    ATTRIBUTES,
    RELATIONS,
    SPATIAL,
    has_phrase,
    single_words,
    words_of,
)
from utils.evaluation.results.measurement import Measurement

# COCO's bounds of small and medium objects, in pixels of their area.
SMALL_BELOW, LARGE_FROM = 32**2, 96**2
# The longest expression of each group, in words; the last group has no bound.
LENGTHS = {"1-2 words": 2, "3-5 words": 5, "6-10 words": 10}
LONGEST = "11+ words"
SIZES = ("small", "medium", "large")

# Measurement, names of the categories → names of the groups.
GroupsOf = Callable[[Measurement, Mapping[str, str]], Sequence[str]]


@dataclass(frozen=True)
class Division:
    """A way to divide the expressions of a set.

    Attributes:
        name: key in result.json.
        label: heading in tables.
        groups_of: `Measurement` and the names of the categories, see
            `utils.evaluation.breakdown.categories` → the names of the groups that it belongs to;
            any number.
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
    """Registers a function that names the groups of a `Measurement`; see `Division`.

    Raises:
        ValueError: the name is taken.
    """

    def register(groups_of: GroupsOf) -> GroupsOf:
        if name in DIVISIONS:
            raise ValueError(f"a division named {name!r} is registered already")
        DIVISIONS[name] = Division(name, label, groups_of, tuple(groups))
        return groups_of

    return register


@division("size", label="size of the object", groups=SIZES)
def size_of_the_object(case: Measurement, categories: Mapping[str, str]) -> tuple[str, ...]:
    """COCO's sizes, of the area of the true mask; none if masks were not compared."""
    return () if case.true_px is None else (_size(case.true_px),)


@division("box_size", label="size of the box", groups=SIZES)
def size_of_the_box(case: Measurement, categories: Mapping[str, str]) -> tuple[str]:
    """The same bounds for the area of the true box, which is known without masks, too."""
    x1, y1, x2, y2 = case.true_box_xyxy
    return (_size((x2 - x1) * (y2 - y1)),)


def _size(area_px: int) -> str:
    small, medium, large = SIZES
    return small if area_px < SMALL_BELOW else medium if area_px < LARGE_FROM else large


@division("length", label="length of the expression", groups=(*LENGTHS, LONGEST))
def length_of_the_expression(case: Measurement, categories: Mapping[str, str]) -> tuple[str]:
    """Number of words, without punctuation."""
    count = len(words_of(case.expression))
    return (next((name for name, most in LENGTHS.items() if count <= most), LONGEST),)


@division(
    "words",
    label="words of the expression",
    groups=("spatial", "attribute", "relation", "none of these"),
)
def words_of_the_expression(case: Measurement, categories: Mapping[str, str]) -> tuple[str, ...]:
    """Which kinds of words the expression contains, see `utils.evaluation.breakdown.words`."""
    words = words_of(case.expression)
    single = single_words(words)
    found = {
        "spatial": not SPATIAL.isdisjoint(single),
        "attribute": not ATTRIBUTES.isdisjoint(single),
        "relation": not RELATIONS.isdisjoint(single) or has_phrase(words),
    }
    return tuple(name for name, is_found in found.items() if is_found) or ("none of these",)


@division("category", label="category of the object")
def category_of_the_object(case: Measurement, categories: Mapping[str, str]) -> tuple[str]:
    """The name of the category if it has one, else its number."""
    return (categories.get(str(case.category), f"category {case.category}"),)
