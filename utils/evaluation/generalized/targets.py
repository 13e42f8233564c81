"""Sets with the expressions that have no target, and what their predictions amount to."""

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.masks import Masks
from data.preparation.manifest import open_sets
from data.preparation.sidecars.no_target import FILE_NAME, NoTarget, read_no_target
from utils.evaluation.generalized.metrics import Samples
from utils.evaluation.results.measurement import Measurement

# Stands for the box of an expression without a target, which is compared with nothing.
NO_BOX = (0, 0, 1, 1)


class WithEmptyMasks(Masks):
    """The masks of a set, and empty ones for expressions without a target.

    Args:
        masks: those of the referents.
        empty: ids for which there is no object.
    """

    def __init__(self, masks: Masks, empty: Collection[int]) -> None:
        self._masks, self._empty = masks, frozenset(empty)

    def read(self, referent: Referent, width: int, height: int) -> np.ndarray:
        if referent.mask_id in self._empty:
            return np.zeros((height, width), np.uint8)
        return self._masks.read(referent, width, height)


def with_no_target(referents: Sequence[Referent], entries: Sequence[NoTarget]) -> list[Referent]:
    """The referents of a set, followed by expressions without a target in place of referents."""
    return [
        *referents,
        *(Referent(entry.image, NO_BOX, 0, entry.ref_id, entry.expressions) for entry in entries),
    ]


@dataclass(frozen=True, eq=False)
class GeneralizedSet:
    """A set with the expressions that have no target.

    Attributes:
        referents: the referents, followed by entries for expressions without a target.
        masks: of all of them.
        empty: mask-ids of those without a target.
    """

    referents: Sequence[Referent]
    masks: Masks
    empty: frozenset[int]


def is_generalized(set_path: str | os.PathLike) -> bool:
    """Whether a set has expressions without a target."""
    return (Path(set_path).parent / FILE_NAME).is_file()


def open_generalized(set_path: str | os.PathLike, mask_folder: str | os.PathLike) -> GeneralizedSet:
    """Opens a set with the expressions that have no target.

    Raises:
        DataError, OSError: lines, masks or these expressions cannot be used, or have an id in
            common.
    """
    [referents], masks = open_sets([set_path], mask_folder)
    entries = read_no_target(set_path) or ()
    empty = frozenset(entry.ref_id for entry in entries)
    if both := empty & {referent.mask_id for referent in referents}:
        raise DataError(
            f"{Path(set_path).with_name(FILE_NAME)}: 'ref_id' {min(both)} is also the mask-id of a "
            f"referent of {set_path}; give one of them another id"
        )
    return GeneralizedSet(with_no_target(referents, entries), WithEmptyMasks(masks, empty), empty)


def samples_of(
    measured: Sequence[Measurement], empty: Collection[int], found: Sequence[bool] | np.ndarray
) -> Samples:
    """The samples of measured expressions.

    Args:
        measured: the expressions.
        empty: ids of those without a target.
        found: for each, whether the system predicts a target, if its score suffices; one without
            a score does.
    """
    scores = [math.inf if case.score is None else case.score for case in measured]
    ids = frozenset(empty)
    return Samples(
        np.array([case.mask_id not in ids for case in measured], bool),
        np.array(found, bool),
        np.array(scores, np.float64),
        np.array([case.intersection for case in measured], np.int64),
        np.array([case.union for case in measured], np.int64),
        np.array([case.image for case in measured]),
    )
