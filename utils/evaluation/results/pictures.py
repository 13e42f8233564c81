"""Pictures of measured expressions: predicted and true box and mask over the image."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import shown
from config.schema import PROJECT_ROOT
from data.loading.images import read_image
from data.preparation.json_fields import EntryError, entry_at, four_numbers
from data.preparation.segmentation import SegmentationError, decode_segmentation
from data.preparation.wording import plural
from utils.evaluation.metrics import CONSISTENCY_THRESHOLD
from utils.evaluation.results.measurement import MASK, Measurement
from utils.visualization.drawing import draw_overlay, draw_prediction
from utils.visualization.gallery import Card, embedded, gallery, picture_width
from utils.visualization.panels import contact_sheet

BEST, MEDIAN, WORST = "best", "median", "worst"
COMMAND = "test.py"
MOST_COLUMNS, MOST_ON_SHEET, MOST_ON_PAGE = 6, 24, 1000
CARDS_AT_ONCE = 100  # Pictures in memory, of up to 0.5 MB each.
LEGEND = "Predictions are solid orange lines around the object, the ground truth is dashed blue."
INCONSISTENT = "An answer is inconsistent if exactly one of box and mask is right."

Ranked = dict[str, list[Measurement]]
UnseenWords = tuple[tuple[str, ...], tuple[str, ...]]


def _all_seen(expression: str) -> UnseenWords:
    return (), ()


@dataclass(frozen=True)
class Painter:
    """Draws measured expressions, with the masks that the measurements contain.

    Attributes:
        image_path: folder of the images.
        det_thresh: IoU above which a box is right.
        unseen_words: returns the words of an expression to mark as unknown and as unread, see
            `utils.prediction.expressions.unseen_words`; by default, none are.
    """

    image_path: str | os.PathLike
    det_thresh: float
    unseen_words: Callable[[str], UnseenWords] = _all_seen

    def panel(self, case: Measurement) -> np.ndarray:
        """Draws a picture with a caption.

        Returns:
            (h, w, 3) uint8, RGB.

        Raises:
            DataError: the image cannot be read.
        """
        unknown, unread = self.unseen_words(case.expression)
        return draw_prediction(
            self._image(case),
            case.expression,
            case.box_xyxy,
            case.mask,
            case.true_box_xyxy,
            case.true_mask,
            case.score,
            case.det_iou if "REC" in case.tasks else None,
            case.seg_iou if "RES" in case.tasks else None,
            unknown_words=unknown,
            unread_words=unread,
        )

    def card(self, case: Measurement, kinds: Sequence[str], n_cards: int) -> Card:
        """The entry on a page of `n_cards`; `kinds` are some of `rank`. Raises as `panel`."""
        image = self._image(case)
        picture = draw_overlay(
            image,
            case.box_xyxy,
            case.mask,
            case.true_box_xyxy,
            case.true_mask,
            width=picture_width(image, n_cards),
        )
        right, values = dict[str, bool](), dict[str, float]()
        if "REC" in case.tasks:
            right["box"], values["Box IoU"] = case.det_iou > self.det_thresh, case.det_iou
        if "RES" in case.tasks:
            right["mask"], values["Mask IoU"] = case.seg_iou > CONSISTENCY_THRESHOLD, case.seg_iou
        if case.score is not None:
            values["Score"] = case.score
        answer = ", ".join(f"{part} {'right' if ok else 'wrong'}" for part, ok in right.items())
        groups = {"Rank": tuple(kinds), "Answer": (answer,)}
        if len(right) == 2:
            is_consistent = right["box"] == right["mask"]
            groups["Consistency"] = ("consistent" if is_consistent else "inconsistent",)
        unknown, unread = self.unseen_words(case.expression)
        return Card(
            embedded(picture),
            (picture.shape[1], picture.shape[0]),
            (case.expression,),
            (case.image, answer),
            unknown,
            unread,
            groups=groups,
            values=values,
        )

    def _image(self, case: Measurement) -> np.ndarray:
        return np.asarray(read_image(Path(self.image_path) / case.image))


def draw_dumped(image_path: str | os.PathLike, row: Mapping[str, Any], before: str) -> np.ndarray:
    """Draws a line of a dump, with the mask and the true box that it contains.

    Args:
        image_path: folder of the images.
        row: the line.
        before: text before the expression.

    Returns:
        (h, w, 3) uint8, RGB.

    Raises:
        DataError: the image cannot be read, a box is damaged, or the mask is damaged or of another
            size.
    """
    image = np.asarray(read_image(Path(image_path) / row["image"]))
    height, width = image.shape[:2]
    mask, runs = None, row.get(MASK)
    place = f"the line of {row['image']}: {shown(row['expression'])}"
    with entry_at(place):
        boxes = [
            None if row.get(key) is None else four_numbers(key, row[key], "x1, y1, x2, y2")
            for key in ("box_xyxy", "true_box_xyxy")
        ]
        try:
            mask = None if runs is None else decode_segmentation(runs, width, height)
        except SegmentationError as error:
            raise EntryError(f"'{MASK}': {error}") from None
    return draw_prediction(
        image,
        before + row["expression"],
        boxes[0],
        mask,
        boxes[1],
        None,
        None,
        row["det_iou"],
        row["seg_iou"],
    )


def rank(measured: Sequence[Measurement], count: int) -> Ranked:
    """Chooses the `count` best, median and worst expressions of a set.

    Expressions are ranked by the mean of box and mask IoU.

    Args:
        measured: `Measurement` of every expression that was evaluated.
        count: expressions of each kind; fewer if the set is smaller.

    Returns:
        `BEST`, `MEDIAN` and `WORST` → measurements, best first.
    """
    quality = np.array([case.det_iou + case.seg_iou for case in measured])
    ranked = [measured[number] for number in np.argsort(-quality, kind="stable")]
    count = min(count, len(ranked))
    middle = (len(ranked) - count) // 2
    return {
        BEST: ranked[:count],
        MEDIAN: ranked[middle : middle + count],
        WORST: ranked[len(ranked) - count :],
    }


def rank_photographs(
    quality: Mapping[int, float], images: Sequence[str], count: int
) -> dict[str, list[int]]:
    """Chooses best, median and worst expressions, each of another photograph.

    Args:
        quality: a number by position in the set, the higher the better.
        images: file name of the photograph of each expression of the set.
        count: expressions of each kind; fewer if there are not three times as many photographs.

    Returns:
        `BEST`, `MEDIAN` and `WORST` → positions, the most typical of its kind first; only the
        kinds that there are photographs for.
    """
    order = sorted(quality, key=lambda position: (-quality[position], position))
    middle = len(order) // 2
    outward = sorted(range(len(order)), key=lambda rank: abs(rank - middle))
    count = min(count, max(1, len({images[position] for position in order}) // 3))
    chosen: dict[str, list[int]] = {}
    used: set[str] = set()
    candidates = {BEST: order, WORST: order[::-1], MEDIAN: [order[rank] for rank in outward]}
    for kind, positions in candidates.items():
        chosen[kind] = []
        for position in positions:
            if len(chosen[kind]) < count and images[position] not in used:
                chosen[kind].append(position)
                used.add(images[position])
    return {kind: chosen[kind] for kind in (BEST, MEDIAN, WORST) if chosen[kind]}


def sheet_and_page(
    measured: Sequence[Measurement],
    count: int,
    name: str,
    painter: Painter,
    measure: Callable[[Sequence[int]], Iterable[Measurement]],
) -> tuple[np.ndarray, memoryview]:
    """Draws the `count` best, median and worst expressions of a set.

    Args:
        measured, count: as in `rank`.
        name: of the set, for the titles, see `set_name`.
        painter: draws an expression.
        measure: measures the expressions at some positions in the set once more, with masks, in any
            order and without those of skipped images.

    Returns:
        A sheet, (H, W, 3) uint8 RGB, of at most `MOST_ON_SHEET` expressions of each kind, and a
        page of at most `MOST_ON_PAGE` of each, as `utils.visualization.gallery.gallery` returns it.
    """
    ranked = rank(measured, min(count, MOST_ON_PAGE))
    kinds: dict[int, list[str]] = {}  # Of a small set, an expression is of several kinds.
    for kind, cases in ranked.items():
        for case in cases:
            kinds.setdefault(case.index, []).append(kind)
    few = rank(measured, min(count, MOST_ON_SHEET))  # Among those of the page.
    on_sheet = {case.index for cases in few.values() for case in cases}
    panels = dict[int, np.ndarray]()

    def cards() -> Iterator[Card]:
        order = list(kinds)
        for start in range(0, len(order), CARDS_AT_ONCE):
            chosen, drawn = order[start : start + CARDS_AT_ONCE], dict[int, Card]()
            for case in measure(chosen):
                if case.index in on_sheet:
                    panels[case.index] = painter.panel(case)
                drawn[case.index] = painter.card(case, kinds[case.index], len(kinds))
            yield from (drawn[index] for index in chosen if index in drawn)

    title = f"{name}: {plural(len(measured), 'expression')}"
    notes = [LEGEND if len(measured[0].tasks) == 1 else f"{LEGEND} {INCONSISTENT}"]
    notes += [heading(kind, cases, len(measured)) for kind, cases in ranked.items()]
    page = gallery(COMMAND, title, notes, cards())
    sections = {
        heading(kind, cases, len(measured)): [
            panels[case.index] for case in cases if case.index in panels
        ]
        for kind, cases in few.items()
    }
    return contact_sheet(sections, min(count, MOST_COLUMNS), title), page


def set_name(path: str | os.PathLike) -> str:
    """Names a set on pictures by its annotation file: "data/anns/refcoco/val.txt"."""
    path = Path(path)
    if path.is_relative_to(PROJECT_ROOT):
        return str(path.relative_to(PROJECT_ROOT))
    return f"{path.parent.name}/{path.name}"


def heading(kind: str, cases: Sequence[Measurement], n_measured: int) -> str:
    """The heading of a kind of expressions, with the IoU of the tasks that were measured.

    Returns:
        "best 6 of 402: mean box IoU 0.93, mean mask IoU 0.90".
    """
    tasks, ious = cases[0].tasks, []
    if "REC" in tasks:
        ious.append(f"mean box IoU {np.mean([case.det_iou for case in cases]):.2f}")
    if "RES" in tasks:
        ious.append(f"mean mask IoU {np.mean([case.seg_iou for case in cases]):.2f}")
    return f"{kind} {len(cases):,} of {n_measured:,}: {', '.join(ious)}"
