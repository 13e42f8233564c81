"""Ids that a data set gives to objects and expressions: `ids.jsonl` beside annotation lines.

Lines have no room for them. One line describes one referent; `ref_id` is its mask-id:

    {"ref_id": 1719, "ann_id": 281, "sentences": [{"sent_id": 5, "expression": "the lady"}]}

Own data that was imported with an `id` per expression has this key in place of `sent_id`.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.loading.annotations import Referent
from data.preparation.json_fields import refusal, single_expression, whole_number
from data.preparation.sidecars.rows import read_rows, write_rows

FILE_NAME = "ids.jsonl"
# Keys of the id of an expression: in the RefCOCO family, and in own data and Ref-L4.
SENT_ID, SAMPLE_ID = EXPRESSION_KEYS = ("sent_id", "id")


@dataclass(frozen=True)
class ReferentIds:
    """The ids of a referent in its data set.

    Attributes:
        ref_id: its mask-id.
        ann_ids: ids of its annotations in instances.json; none in own data, or if there is no
            target.
        sentences: (id, expression as in the annotation line) of those expressions that have one.
        key: one of `EXPRESSION_KEYS`, the key of these ids.
    """

    ref_id: int
    ann_ids: tuple[int | str, ...]
    sentences: tuple[tuple[int, str], ...]
    key: str = SENT_ID

    def to_json(self) -> dict[str, Any]:
        """The line of a file, see the module."""
        several = len(self.ann_ids) != 1
        sentences = [{self.key: number, "expression": text} for number, text in self.sentences]
        ann_id = list(self.ann_ids) if several else self.ann_ids[0]
        return {"ref_id": self.ref_id, "ann_id": ann_id, "sentences": sentences}

    def expression_ids(self, referent: Referent) -> list[int | None]:
        """The id of each expression of an annotation line; None for those that were edited since.

        Equal expressions take their ids in order.
        """
        left = list(self.sentences)
        found: list[int | None] = []
        for expression in referent.expressions:
            pair = next((pair for pair in left if pair[1] == expression), None)
            if pair is not None:
                left.remove(pair)
            found.append(None if pair is None else pair[0])
        return found


def write_ids(folder: Path, ids: Iterable[ReferentIds]) -> None:
    """Writes the ids of a prepared set beside its lines.

    Raises:
        NoSpaceError: the disk is full.
    """
    write_rows(folder / FILE_NAME, (one.to_json() for one in ids))


def read_ids(folder: str | os.PathLike) -> Mapping[int, ReferentIds] | None:
    """Reads the ids beside annotation lines.

    Returns:
        Mask-id → ids; None if there is no such file, as in sets of earlier versions and own data.

    Raises:
        DataError: a line cannot be used; the message names it.
    """
    return read_rows(Path(folder) / FILE_NAME, _ids_of)


def _ids_of(row: Mapping[str, Any]) -> ReferentIds:
    given: Any = row.get("ann_id")
    sentences = row.get("sentences")
    ann_ids: list[Any] = given if isinstance(given, list) else [given]
    if not all(type(value) in (int, str) for value in ann_ids):
        raise refusal("ann_id", given, "the id of an annotation or a list of them")
    if not isinstance(sentences, list) or not all(isinstance(one, dict) for one in sentences):
        raise refusal("sentences", sentences, "a list of objects")
    key = SAMPLE_ID if any(SAMPLE_ID in one for one in sentences) else SENT_ID
    return ReferentIds(
        whole_number("ref_id", row.get("ref_id")),
        tuple(ann_ids),
        tuple(
            (
                whole_number(key, one.get(key)),
                single_expression("expression", one.get("expression")),
            )
            for one in sentences
        ),
        key,
    )
