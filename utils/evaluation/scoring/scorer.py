"""Compares predictions with the true boxes and masks of a set."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from config.command_line import counted
from config.errors import UserError, shown
from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.images import check_size, opened_image
from data.loading.letterbox import Letterbox, letterbox_box
from data.loading.masks import Masks
from data.preparation.json_fields import EntryError
from data.preparation.own.objects import ImageFile, read_mask_image
from data.preparation.segmentation import decode_segmentation
from data.support.progress import Progress
from data.support.threads import thread_pool
from utils.evaluation.metrics import detection_iou, mask_iou
from utils.evaluation.results.measurement import Measurement, encode_mask
from utils.evaluation.scoring.rows import Row

_ROUNDING_PX = 1  # Boxes in dumps are rounded to three decimals, and then to whole pixels.


@dataclass(frozen=True)
class Case:
    """An expression of a set with its prediction.

    Attributes:
        index: position of the expression in the set.
        referent: the object it refers to.
        expression: the words.
        row: the prediction, or None.
    """

    index: int
    referent: Referent
    expression: str
    row: Row | None


@dataclass(eq=False)
class Scorer:
    """Compares the predictions for a set with the truth.

    Attributes:
        referents: referents of the set.
        rows: the prediction for each expression, in the order of the set, or None.
        tasks: "REC" to compare boxes, "RES" to compare masks.
        image_path: folder of the images, of which only the sizes are read.
        masks: the masks of the set; None if "RES" is not among the tasks.
        input_size: side of the letterboxed input in which boxes of dumps are compared.
        on_bad_sample: "error", or "skip" to leave out images of which a file cannot be used.
        encode_masks: whether measurements contain the run lengths of the predicted masks.
        bad_images: the images that were left out, with the reasons.
        notes: what is odd about mask images → the places of their rows.
    """

    referents: Sequence[Referent]
    rows: Sequence[Row | None]
    tasks: tuple[str, ...]
    image_path: str | os.PathLike
    masks: Masks | None
    input_size: int
    on_bad_sample: str = "error"
    encode_masks: bool = False
    bad_images: dict[str, str] = field(init=False, default_factory=dict)
    notes: dict[str, set[str]] = field(init=False, default_factory=dict)

    def cases(self) -> dict[str, list[Case]]:
        """The expressions of each image, with their predictions."""
        pairs = [(referent, text) for referent in self.referents for text in referent.expressions]
        found: dict[str, list[Case]] = {}
        for index, ((referent, text), row) in enumerate(zip(pairs, self.rows, strict=True)):
            found.setdefault(referent.image, []).append(Case(index, referent, text, row))
        return found

    def measure(self, workers: int, label: str = "score") -> list[Measurement]:
        """Measures all expressions, in the order of the set.

        Args:
            workers: images that are compared in parallel.
            label: label of the progress bar.

        Raises:
            DataError: an image or true mask cannot be used, and on_bad_sample is "error"; or none
                can.
            UserError: a prediction cannot be used; the message names its line.
        """
        self.bad_images.clear()
        self.notes.clear()
        images, measured = self.cases(), []
        with (
            thread_pool(workers) as pool,
            Progress(len(images), label, unit="images") as bar,
        ):
            results = pool.map(lambda image: self._measure(image, images[image]), images)
            for done, result in enumerate(results, start=1):
                measured += result
                bar.update(done)
        if images and not measured:
            *_, reason = self.bad_images.values()
            raise DataError(f"no image of the set can be used, the last because of {reason}")
        return sorted(measured, key=lambda case: case.index)

    def measure_some(self, indices: Sequence[int]) -> Iterator[Measurement]:
        """Measures expressions at some positions in the set, in this order, with their masks."""
        by_index = {case.index: case for cases in self.cases().values() for case in cases}
        for index in indices:
            case = by_index[index]
            yield from self._measure(case.referent.image, [case], keep_masks=True)

    def warnings(self) -> list[str]:
        """Sentences about `notes`, for people."""
        return [
            f"{note}: {counted(sorted(places, key=lambda place: (len(place), place)))}"
            for note, places in sorted(self.notes.items())
        ]

    def _measure(
        self, image: str, cases: Sequence[Case], keep_masks: bool = False
    ) -> list[Measurement]:
        by_referent: dict[int, list[Case]] = {}
        for case in cases:
            by_referent.setdefault(case.referent.mask_id, []).append(case)
        measured: list[Measurement] = []
        try:
            size = self.image_size(image) if self._needs_size(cases) else (0, 0)
            for some in by_referent.values():  # One true mask at a time: an image may have many.
                truth = self._truth(some[0].referent, size)
                measured += [self._compare(case, size, truth, keep_masks) for case in some]
        except DataError as error:
            if self.on_bad_sample != "skip":
                raise
            self.bad_images[image] = str(error)
            return []
        return measured

    def _truth(self, referent: Referent, size: tuple[int, int]) -> np.ndarray | None:
        return None if self.masks is None else self.masks.read(referent, *size)

    def _needs_size(self, cases: Sequence[Case]) -> bool:
        return self.masks is not None or any(
            case.row is not None and case.row.box_xyxy_input is not None for case in cases
        )

    def image_size(self, image: str) -> tuple[int, int]:
        """(width, height) of an image in pixels. Raises DataError if it cannot be read."""
        path = Path(self.image_path) / image
        try:
            with opened_image(path) as opened:
                check_size(opened, path)
                return opened.size
        except FileNotFoundError:
            raise DataError(f"{path}: no such image; is image_path set to its folder?") from None

    def _compare(
        self, case: Case, size: tuple[int, int], truth: np.ndarray | None, keep_masks: bool
    ) -> Measurement:
        row, mask, seg_iou, intersection, union = case.row, None, 0.0, 0, 0
        if truth is not None:
            mask = np.zeros_like(truth) if row is None else self._mask_of(row, case, size)
            seg_iou, intersection, union = mask_iou(mask, truth)
            if union == 0 and (row is None or row.mask is None):
                seg_iou = 0.0  # Nothing was predicted, which is no empty mask.
        encoded = self.encode_masks and mask is not None
        return Measurement(
            index=case.index,
            image=case.referent.image,
            expression=case.expression,
            box_xyxy=None if row is None else row.box_xyxy_px,
            box_xyxy_input=None if row is None else row.box_xyxy_input,
            score=None if row is None else row.score,
            det_iou=self._box_iou(case, size),
            seg_iou=float(seg_iou),
            intersection=intersection,
            union=union,
            true_box_xyxy=case.referent.box_xyxy_px,
            mask_id=case.referent.mask_id,
            category=case.referent.category,
            true_px=None if truth is None else int(np.count_nonzero(truth)),
            mask=mask if keep_masks else None,
            true_mask=truth if keep_masks else None,
            run_lengths=encode_mask(mask) if encoded and mask is not None else None,
            tasks=self.tasks,
        )

    def _box_iou(self, case: Case, size: tuple[int, int]) -> float:
        row, truth = case.row, case.referent.box_xyxy_px
        if row is None or row.box_xyxy_px is None:
            return 0.0
        if row.box_xyxy_input is None:
            return float(detection_iou(np.array(row.box_xyxy_px), np.array(truth)))
        # As published, and as the network was evaluated that wrote the dump.
        geometry = Letterbox.fit(*size, self.input_size)
        box = np.array(row.box_xyxy_input)
        expected = np.floor(letterbox_box(row.box_xyxy_px, geometry) + 0.5)
        low, high = np.maximum(expected[:2], 0), np.minimum(expected[2:], self.input_size)
        if np.abs(box - np.concatenate([low, high])).max() > _ROUNDING_PX:
            raise UserError(
                f"{row.where}: box_xyxy {shown(list(row.box_xyxy_px))} of an image of "
                f"{size[0]}×{size[1]} pixels is not box_xyxy_input {shown(box.tolist())} in an "
                f"input of {self.input_size} pixels; give the settings of the network by --config "
                "or --set input_size=…"
            )
        return float(detection_iou(box, letterbox_box(truth, geometry)))

    def _mask_of(self, row: Row, case: Case, size: tuple[int, int]) -> np.ndarray:
        """The predicted mask, uint8 (height, width), 0 or 1; empty if there is none."""
        width, height = size
        if row.mask is None or row.mask == []:
            return np.zeros((height, width), np.uint8)
        try:
            if not isinstance(row.mask, Path):
                return decode_segmentation(row.mask, width, height)
            notes: list[str] = []
            image = ImageFile(case.referent.image, width, height, False, None)
            mask = read_mask_image(row.mask, image, notes)
        except EntryError as error:
            raise UserError(f"{row.where}: key {error}") from None
        except DataError as error:
            raise UserError(f"{row.where}: key '{row.mask_key}': {error}") from None
        for note in notes:
            self.notes.setdefault(note, set()).add(row.where)
        return mask
