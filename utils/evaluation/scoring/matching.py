"""Assigns predictions to the expressions of sets, and counts those that are left over.

A row belongs to the expressions with its text of its referent or, if it names none, of its image;
upper case and spaces do not count. If a text occurs several times there, one row answers all of
them, and several rows answer them in the order of the set, as a dump lists them.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from config.command_line import counted
from config.errors import UserError, shown
from data.loading.annotations import Referent
from utils.evaluation.scoring.rows import Row

LISTED = 20  # Of each kind of fault, in result.json.

# The position of an expression: the number of its set, and its position there.
Place = tuple[int, int]


@dataclass
class Matched:
    """The predictions for the expressions of one set.

    Attributes:
        rows: one per expression, in the order of the set; None where there is none.
        missing: the expressions without a prediction, for people.
    """

    rows: list[Row | None]
    missing: list[str] = field(default_factory=list)


@dataclass
class Matches:
    """The predictions of a file for sets.

    Attributes:
        n_rows: number of rows of the file.
        sets: one per set.
        doubled: places in the file of rows for expressions that had a prediction already.
        unknown: those of rows that belong to no expression of the sets, with the reason.
    """

    n_rows: int
    sets: list[Matched]
    doubled: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def to_json(self, number: int) -> dict[str, Any]:
        """What result.json says about the rows for set `number`."""
        missing = self.sets[number].missing
        faults = {"missing": missing, "doubled": self.doubled, "unknown": self.unknown}
        return {"rows": self.n_rows} | {
            name: {"count": len(names), "first": names[:LISTED]} for name, names in faults.items()
        }

    def warnings(self) -> list[str]:
        """Sentences about faults of all sets, for people."""
        missing = [text for matched in self.sets for text in matched.missing]
        texts = {
            "expressions without a prediction, which count as wrong": missing,
            "rows for expressions that have a prediction already; the first ones count": (
                self.doubled
            ),
            "rows that belong to no expression of the evaluated sets": self.unknown,
        }
        return [f"{what}: {counted(names)}" for what, names in texts.items() if names]


def match(rows: Sequence[Row], sets: Sequence[Sequence[Referent]]) -> Matches:
    """Assigns rows to the expressions of sets.

    Args:
        rows: the predictions.
        sets: the referents of each set.

    Raises:
        UserError: a row names an expression incompletely, the sets have no ids as the rows name
            them, or no row belongs to any expression.
    """
    index = _Index(sets)
    matches = Matches(len(rows), [Matched([None] * len(texts)) for texts in index.texts])
    groups: dict[Hashable, list[Row]] = defaultdict(list)
    places: dict[Hashable, list[Place]] = {}
    for row in rows:
        key, found = index.find(row)
        if isinstance(found, str):
            matches.unknown.append(f"{row.where}: {found}")
        else:
            groups[key].append(row)
            places[key] = found
    if not groups:
        raise UserError(
            f"{rows[0].where} and all other rows belong to no expression of the evaluated sets: "
            f"{matches.unknown[0].removeprefix(f'{rows[0].where}: ')}; choose the splits that the "
            "predictions are for with --splits or --set evaluate_set=FILE"
        )
    for key, some in groups.items():
        answers = some * len(places[key]) if len(some) == 1 else some
        used = set()
        for row, (number, position) in zip(answers, places[key], strict=False):
            if matches.sets[number].rows[position] is None:
                matches.sets[number].rows[position] = row
                used.add(row.where)
        matches.doubled += [row.where for row in some if row.where not in used]
    for matched, texts in zip(matches.sets, index.texts, strict=True):
        matched.missing = [
            text for row, text in zip(matched.rows, texts, strict=True) if row is None
        ]
    return matches


class _Index:
    """Finds the expressions of sets that a row is for."""

    def __init__(self, sets: Sequence[Sequence[Referent]]) -> None:
        self.texts: list[list[str]] = []
        self._by_referent: dict[int, dict[str, list[Place]]] = {}
        self._by_image: dict[str, dict[str, list[Place]]] = {}
        self._image_of: dict[int, set[str]] = defaultdict(set)
        for number, referents in enumerate(sets):
            texts: list[str] = []
            for referent in referents:
                self._image_of[referent.mask_id].add(referent.image)
                for expression in referent.expressions:
                    text, place = normalized(expression), (number, len(texts))
                    for table, key in (
                        (self._by_referent, referent.mask_id),
                        (self._by_image, referent.image),
                    ):
                        table.setdefault(key, {}).setdefault(text, []).append(place)  # type: ignore
                    texts.append(f"{referent.image}: {shown(expression)}")
            self.texts.append(texts)
        names = defaultdict(list)
        for image in self._by_image:
            names[PurePath(image).name].append(image)
        self._by_name = {name: images[0] for name, images in names.items() if len(images) == 1}

    def find(self, row: Row) -> tuple[Hashable, list[Place] | str]:
        """A key that is equal for rows of equal expressions, and their places or a reason."""
        if row.sample_id is not None:
            return self._of_sample(row)
        image = None if row.image is None else self._image(row.image)
        if row.ref_id is not None:
            return self._of_referent(row, image)
        if image is None:
            return None, f"no image is named {shown(row.image)}"
        text = normalized(row.expression or "")
        places = self._by_image[image].get(text)
        if places is None:
            return None, f"{image} has no expression {shown(row.expression)}"
        return (image, text), places

    def _image(self, image: str) -> str | None:
        return image if image in self._by_image else self._by_name.get(PurePath(image).name)

    def _of_referent(self, row: Row, image: str | None) -> tuple[Hashable, list[Place] | str]:
        assert row.ref_id is not None
        expressions = self._by_referent.get(row.ref_id)
        if expressions is None:
            return None, f"no referent has the mask-id {row.ref_id}"
        if row.image is not None and image not in self._image_of[row.ref_id]:
            return None, f"the referent with mask-id {row.ref_id} is not in {shown(row.image)}"
        if row.expression is None:
            if sum(map(len, expressions.values())) > 1:
                raise UserError(
                    f"{row.where}: the referent with mask-id {row.ref_id} has several expressions; "
                    "add the key 'expression'"
                )
            (text,) = expressions
        else:
            text = normalized(row.expression)
        places = expressions.get(text)
        if places is None:
            fault = f"the referent with mask-id {row.ref_id} has no expression"
            return None, f"{fault} {shown(row.expression)}"
        return (row.ref_id, text), places

    def _of_sample(self, row: Row) -> tuple[Hashable, list[Place] | str]:
        """By the id of an expression, which a set has if each mask-id has one expression."""
        if any(sum(map(len, texts.values())) > 1 for texts in self._by_referent.values()):
            raise UserError(
                f"{row.where}: key 'id' names one expression, as in Ref-L4, but the lines of the "
                "evaluated sets hold no such ids: a mask-id has several expressions there; give "
                "'image' or 'ref_id', the mask-id, and 'expression' instead"
            )
        assert row.sample_id is not None
        expressions = self._by_referent.get(row.sample_id)
        if expressions is None:
            return None, f"no expression has the id {row.sample_id}"
        ((text, places),) = expressions.items()
        return (row.sample_id, text), places


def normalized(expression: str) -> str:
    """An expression as it is compared: in lower case, with single spaces."""
    return " ".join(expression.lower().split())
