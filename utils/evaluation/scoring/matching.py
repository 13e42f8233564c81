"""Assigns predictions to the expressions of sets, and counts those that are left over.

A row belongs to the expressions with its text of its referent or, if it names none, of its image,
or to the expression whose id it names. Case and extra spaces of texts are ignored. If a text occurs
several times there, rows answer them in the order of the set, as a dump lists them, and the last
row answers those that are left. Rows that name an expression more closely come first.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

from config.command_line import counted
from config.errors import UserError, shown
from data.loading.annotations import Referent, image_key
from data.preparation.sidecars.ids import FILE_NAME as IDS
from data.preparation.sidecars.ids import SAMPLE_ID, SENT_ID, ReferentIds
from utils.evaluation.scoring.rows import Row

LISTED = 20  # Of each kind of fault, in result.json.

# By key of a row, the most specific key first: what it names, and that the sets have no such thing.
SUBJECTS = {
    "sample_id": "the expression with id {}",
    "sent_id": "the expression with sent_id {}",
    "ref_id": "the referent with mask-id {}",
    "ann_id": "the object with ann_id {}",
    "image": "{}",
}
NOT_FOUND = {
    "sample_id": "no expression has the id {}",
    "sent_id": "no expression has the sent_id {}",
    "ref_id": "no referent has the mask-id {}",
    "ann_id": "no object has the ann_id {}",
    "image": "no image is named {}",
}

# Key of the ids of expressions in `ids.jsonl` → field of `Row`.
FIELDS = {SENT_ID: "sent_id", SAMPLE_ID: "sample_id"}

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
        duplicate: places in the file of rows for expressions that had a prediction already.
        unknown: those of rows that belong to no expression of the sets, with the reason.
    """

    n_rows: int
    sets: list[Matched]
    duplicate: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def to_json(self, number: int) -> dict[str, Any]:
        """What result.json says about the rows for set `number`."""
        missing = self.sets[number].missing
        faults = {"missing": missing, "duplicate": self.duplicate, "unknown": self.unknown}
        return {"rows": self.n_rows} | {
            name: {"count": len(names), "first": names[:LISTED]} for name, names in faults.items()
        }

    def warnings(self) -> list[str]:
        """Sentences about faults of all sets, for people."""
        missing = [text for matched in self.sets for text in matched.missing]
        texts = {
            "expressions without a prediction, which count as wrong": missing,
            "rows for expressions that have a prediction already; the first ones count": (
                self.duplicate
            ),
            "rows that belong to no expression of the evaluated sets": self.unknown,
        }
        return [f"{what}: {counted(names)}" for what, names in texts.items() if names]


def match(
    rows: Sequence[Row],
    sets: Sequence[Sequence[Referent]],
    ids: Mapping[int, ReferentIds] | None = None,
) -> Matches:
    """Assigns rows to the expressions of sets.

    Args:
        rows: the predictions.
        sets: the referents of each set.
        ids: mask-id → ids in the data set, which rows with `ann_id`, `sent_id` or `id` need.

    Raises:
        UserError: a row names an expression incompletely, the sets have no ids as the rows name
            them, or no row belongs to any expression.
    """
    index = _Index(sets, ids)
    matches = Matches(len(rows), [Matched([None] * len(texts)) for texts in index.texts])
    groups: dict[tuple[Place, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found = index.find(row)
        if isinstance(found, str):
            matches.unknown.append(f"{row.where}: {found}")
        else:
            groups[tuple(found)].append(row)
    if not groups:
        raise UserError(
            f"{rows[0].where} and all other rows belong to no expression of the evaluated sets: "
            f"{matches.unknown[0].removeprefix(f'{rows[0].where}: ')}; choose the splits that the "
            "predictions are for with --splits or --set evaluate_set=FILE"
        )
    # Rows that name fewer expressions first, so that those for several take what is left.
    for places, some in sorted(groups.items(), key=lambda group: len(group[0])):
        answers = some + some[-1:] * (len(places) - len(some))
        used = set()
        for row, (number, position) in zip(answers, places, strict=False):
            if matches.sets[number].rows[position] is None:
                matches.sets[number].rows[position] = row
                used.add(row.where)
        matches.duplicate += [row.where for row in some if row.where not in used]
    for matched, texts in zip(matches.sets, index.texts, strict=True):
        matched.missing = [
            text for row, text in zip(matched.rows, texts, strict=True) if row is None
        ]
    return matches


class _Index:
    """Finds the expressions of sets that a row is for.

    Each key that names a referent leads to places, and a row is for those that all of its keys lead
    to.
    """

    def __init__(
        self, sets: Sequence[Sequence[Referent]], ids: Mapping[int, ReferentIds] | None
    ) -> None:
        self.texts: list[list[str]] = []
        self._expressions: dict[Place, str] = {}
        self._has_ids = ids is not None
        # Places in the order of the sets, as keys, so that they are found in constant time.
        self._tables: dict[str, dict[Any, dict[Place, None]]] = {key: {} for key in SUBJECTS}
        self._texts: dict[tuple[str, Any], dict[str, list[Place]]] = {}
        for which, referents in enumerate(sets):
            texts: list[str] = []
            for referent in referents:
                of_referent = None if ids is None else ids.get(referent.mask_id)
                given = [None] if of_referent is None else of_referent.expression_ids(referent)
                for expression, number in zip_longest(referent.expressions, given):
                    place = (which, len(texts))
                    self._expressions[place] = normalized(expression)
                    texts.append(f"{referent.image}: {shown(expression)}")
                    self._add("image", referent.image, place)
                    self._add("ref_id", referent.mask_id, place)
                    for ann_id in () if of_referent is None else of_referent.ann_ids:
                        self._add("ann_id", ann_id, place)
                    if of_referent is not None and number is not None:
                        self._add(FIELDS[of_referent.key], number, place)
            self.texts.append(texts)
        ends = defaultdict(list)
        for image in self._tables["image"]:
            for end in {*_ends(image), image_key(image)}:
                ends[end].append(image)
        self._by_end = {end: images[0] for end, images in ends.items() if len(images) == 1}

    def _add(self, key: str, value: Any, place: Place) -> None:
        self._tables[key].setdefault(value, {})[place] = None

    def find(self, row: Row) -> list[Place] | str:
        """The places of the expressions that a row is for, or the reason why there are none."""
        self._check_ids(row)
        named = self._named(row)
        for key, value in named.items():
            if value not in self._tables[key]:
                return NOT_FOUND[key].format(shown(getattr(row, key)))
        (first, value), *others = named.items()
        tables = [self._tables[key][other] for key, other in others]
        by_text, subject = self._by_text(first, value), _subject(first, value)
        if row.expression is None:
            if len(by_text) > 1:
                raise UserError(
                    f"{row.where}: {subject} has several expressions; add the key 'expression'"
                )
            (places,) = by_text.values()
        else:
            places = by_text.get(normalized(row.expression), [])
        if found := [place for place in places if all(place in table for table in tables)]:
            return found
        return self._fault(row, named)

    def _by_text(self, key: str, value: Any) -> dict[str, list[Place]]:
        """Normalized expression → its places among those that a key leads to."""
        if (key, value) not in self._texts:
            by_text = self._texts[key, value] = defaultdict(list)
            for place in self._tables[key][value]:
                by_text[self._expressions[place]].append(place)
        return self._texts[key, value]

    def _fault(self, row: Row, named: Mapping[str, Any]) -> str:
        """Why a row that names existing things is for no expression."""
        (first, value), *others = named.items()
        places, subject = list(self._tables[first][value]), _subject(first, value)
        for key, other in others:
            places = [place for place in places if place in self._tables[key][other]]
            if not places:
                of_other = f"that of {_subject(key, other)}"
                is_not = f"in {shown(row.image)}" if key == "image" else of_other
                return f"{subject} is not {is_not}"
        assert row.expression is not None
        if row.sent_id is not None or "sample_id" in named:
            (place,) = places[:1]
            return f"{subject} is {shown(self._expressions[place])}, not {shown(row.expression)}"
        return f"{subject} has no expression {shown(row.expression)}"

    def _check_ids(self, row: Row) -> None:
        """Raises `UserError` if the sets have no ids as a row names them."""
        if row.is_named_by_id and not self._tables["sample_id"]:
            raise UserError(
                f"{row.where}: key 'id' names one expression, as in Ref-L4, but the evaluated sets "
                "do not record such ids; import them again from lines with an 'id' each "
                "(data/README.md), or give 'sent_id', or 'image' or 'ref_id', the mask-id, and "
                "'expression' instead"
            )
        by_ids = row.ann_id is not None or row.sent_id is not None
        if by_ids and not self._has_ids:
            key = "ann_id" if row.sent_id is None else "sent_id"
            raise UserError(
                f"{row.where}: key '{key}': there is no {IDS} with such ids beside the lines of "
                "the evaluated sets; prepare them again with data/data_process.py, or give "
                "'ref_id', the mask-id, and 'expression' instead"
            )

    def _named(self, row: Row) -> dict[str, Any]:
        """The values of the keys of a row, the most specific key first."""
        image = None if row.image is None else self._image(row.image)
        values = {key: image if key == "image" else getattr(row, key) for key in SUBJECTS}
        if not self._tables["sample_id"]:  # The id of something else, beside other keys.
            values["sample_id"] = None
        return {key: value for key, value in values.items() if value is not None}

    def _image(self, path: str) -> str:
        """The image whose name a path ends with, or else the only one that ends with the path.

        If there is none, the only one that has the same id of COCO.
        """
        if path in self._tables["image"]:
            return path
        known = [end for end in _ends(path) if end in self._tables["image"]]
        found = (self._by_end.get(end) for end in (next(_ends(path), path), image_key(path)))
        return next((image for image in (*known, *found) if image), path)


def _ends(path: str) -> Iterator[str]:
    """The ends of a path, the longest first: "x/y/a.png" itself, "y/a.png" and "a.png"."""
    parts = PurePosixPath(path).parts
    return ("/".join(parts[first:]) for first in range(len(parts)))


def _subject(key: str, value: Any) -> str:
    """What the key of a row names, for messages."""
    return SUBJECTS[key].format(shown(value) if key == "ann_id" else value)


def normalized(expression: str) -> str:
    """An expression as it is compared: in lower case, with single spaces."""
    return " ".join(expression.lower().split())
