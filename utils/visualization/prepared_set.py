"""Shows a prepared data set: images with boxes, masks and all expressions, on a page or a sheet."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.errors import UserError
from config.files import check_folder, check_place, locked, write_bytes
from config.run_files.missing import missing_files, refuse_missing
from config.schema import Config
from data.loading.annotations import Referent, read_annotations
from data.loading.errors import DataError
from data.loading.images import read_image
from data.loading.masks import Masks, open_masks
from data.preparation.manifest import check_pairing
from data.preparation.wording import plural
from data.support.progress import Progress
from utils.visualization.drawing import draw_overlay, draw_prediction
from utils.visualization.gallery import (
    Card,
    embedded,
    gallery,
    is_gallery,
    picture_width,
    words_of,
)
from utils.visualization.palette import GRID
from utils.visualization.panels import contact_sheet
from utils.visualization.png import is_sealed_png, png_bytes

COMMAND = "data/view.py"
PAGE, SHEET = ".html", ".png"
DEFAULT_COUNT = {PAGE: 200, SHEET: 24}
MOST = {PAGE: 3000, SHEET: 300}  # More would fill memory, here and in the browser.
SHEET_COLUMNS = 6
NO_IMAGE = (360, 480)  # Height and width of the gray area in place of an image.
BOX_AND_MASK = "Box and mask of the ground truth are blue lines around the object."


@dataclass(frozen=True)
class Chosen:
    """A referent that is shown.

    Attributes:
        split: name of its annotation file, without .txt.
        referent: the referent.
    """

    split: str
    referent: Referent


# A referent, its image, its mask, and what is wrong with them; None for what there is not.
Drawn = Iterator[tuple[Chosen, np.ndarray | None, np.ndarray | None, str | None]]


def view_set(
    config: Config,
    output: str | os.PathLike | None = None,
    splits: Sequence[str] = (),
    words: Sequence[str] = (),
    count: int | None = None,
) -> str:
    """Writes a page or a sheet of a prepared data set.

    Args:
        config: the settings, of which the paths of lines, images and masks count.
        output: file that ends with .html or .png; None for result/view/<data set>.html. A file
            that this function has written is replaced, unless it was changed since.
        splits: names of annotation files beside train_set, without .txt; train_set and
            evaluate_set if there are none.
        words: only referents are shown that have an expression with all these words, in any case,
            see `choose`.
        count: most referents to show, evenly spread over those that match; 0 for all, None for
            `DEFAULT_COUNT`. At most `MOST` are possible.

    Returns:
        A sentence about what was written.

    Raises:
        UserError, OSError: the data cannot be read, nothing matches, or the file must not be
            replaced or cannot be written.
    """
    files = _annotation_files(config, splits)
    dataset = next(iter(files.values())).parent.name
    path = Path("result", "view", f"{dataset}{PAGE}") if output is None else Path(output)
    count = _count(path, count)
    check_output(path)
    chosen = choose(_referents(files), words)
    if not chosen:
        raise UserError(f"no expression of {', '.join(files)} has the words {' '.join(words)}")
    shown = spread(chosen, count)
    if len(shown) > MOST[path.suffix]:
        raise UserError(
            f"--count {count}: {plural(len(shown), 'referent')} would be shown, but a "
            f"{path.suffix} file shows at most {MOST[path.suffix]:,}; choose a smaller --count, "
            "--splits or --words"
        )
    masks = _masks(config, files)
    title = f"{dataset}: {plural(len(shown), 'referent')} of {len(chosen):,}"
    title += f" with the words {' '.join(words)}" if words else ""
    with Progress(len(shown), "draw", unit="referents") as bar:
        make = _page if path.suffix == PAGE else _sheet
        faults: list[str] = []
        content = make(
            title, _drawn(shown, Path(config.image_path), masks, bar, faults), len(shown)
        )
    with locked(path.with_name(f".{path.name}.lock"), f"another process is writing {path}"):
        check_output(path)
        write_bytes(path, content)
    notes = [] if masks else ["without masks: the folder of seg_gt_path does not exist"]
    if faults:
        notes.append(f"{plural(len(faults), 'referent')} with a fault, the first: {faults[0]}")
    return "; ".join([f"{title}, in {path}", *notes])


def check_output(path: Path) -> None:
    """Checks that a view may be written, and replaces nothing but an earlier, unchanged view.

    Raises:
        UserError, FolderError: it may not.
    """
    check_folder(path.parent)
    check_place(path)
    if not os.path.lexists(path):
        return
    if not (is_gallery(path, COMMAND) if path.suffix == PAGE else is_sealed_png(path)):
        raise UserError(
            f"{path}: was not written by data/view.py, or has changed since; move it, or name "
            "another --output"
        )


def choose(referents: Sequence[Chosen], words: Sequence[str]) -> list[Chosen]:
    """Those referents that have an expression with all words, compared as on the page.

    Whole words are compared, in any case and without punctuation around them.
    """
    wanted = {part for word in words for part in words_of(word)}
    return [
        chosen
        for chosen in referents
        if any(wanted <= {*words_of(text)} for text in chosen.referent.expressions)
    ]


def spread(chosen: Sequence[Chosen], count: int) -> list[Chosen]:
    """At most `count` referents, 0 for all, evenly spread and in their order."""
    if not count or count >= len(chosen):
        return list(chosen)
    return [chosen[index * len(chosen) // count] for index in range(count)]


def _annotation_files(config: Config, splits: Sequence[str]) -> dict[str, Path]:
    """Split → annotation file."""
    refuse_missing(f for f in missing_files(config, ("image_path",)) if f.key == "image_path")
    if not splits:
        paths = list(dict.fromkeys((Path(config.train_set), Path(config.evaluate_set))))
        if len({path.stem for path in paths}) < len(paths):
            return {str(path): path for path in paths}
        return {path.stem: path for path in paths}
    folder = Path(config.train_set).parent
    known = sorted(path.stem for path in folder.glob("*.txt"))
    unknown = [split for split in splits if split not in known]
    if known and unknown:
        names = ", ".join(f"{split}.txt" for split in unknown)
        raise UserError(f"{folder}: has no {names}; its splits are {', '.join(known)}")
    return {split: folder / f"{split}.txt" for split in splits}


def _referents(files: Mapping[str, Path]) -> list[Chosen]:
    return [Chosen(split, r) for split, path in files.items() for r in read_annotations(path)]


def _count(path: Path, count: int | None) -> int:
    if path.suffix not in DEFAULT_COUNT:
        raise UserError(f"--output {path}: name a file that ends with .html or .png")
    return DEFAULT_COUNT[path.suffix] if count is None else count


def _masks(config: Config, files: Mapping[str, Path]) -> Masks | None:
    """The masks of the set; None if it was prepared without masks."""
    if not Path(config.seg_gt_path).exists():
        return None
    for path in files.values():
        check_pairing(path, config.seg_gt_path)
    return open_masks(config.seg_gt_path)


def _loaded(
    chosen: Chosen, images: Path, masks: Masks | None
) -> tuple[np.ndarray | None, np.ndarray | None, str | None]:
    """Image, mask, and what is wrong with them; None for what there is not."""
    referent, image = chosen.referent, None
    try:
        image = np.asarray(read_image(images / referent.image))
        if masks is None:
            return image, None, None
        return image, masks.read(referent, image.shape[1], image.shape[0]), None
    except (DataError, OSError) as error:
        return image, None, str(error)


def _drawn(
    shown: Sequence[Chosen], images: Path, masks: Masks | None, bar: Progress, faults: list[str]
) -> Drawn:
    """Yields each referent with what `_loaded` returns, and collects the faults."""
    for done, chosen in enumerate(shown, start=1):
        image, mask, fault = _loaded(chosen, images, masks)
        if fault is not None:
            faults.append(fault)
        yield chosen, image, mask, fault
        bar.update(done)


def _page(title: str, drawn: Drawn, count: int) -> memoryview:
    """The content of a page of `count` referents."""
    return gallery(COMMAND, title, [BOX_AND_MASK], (_card(*one, count) for one in drawn))


def _card(
    chosen: Chosen,
    image: np.ndarray | None,
    mask: np.ndarray | None,
    fault: str | None,
    count: int,
) -> Card:
    referent = chosen.referent
    box = ",".join(map(str, referent.box_xyxy_px))
    notes = [referent.image, f"box {box} · mask-id {referent.mask_id}"]
    notes += [] if fault is None else [f"fault: {fault}"]
    address, size = "", (0, 0)
    if image is not None:
        width = picture_width(image, count)
        picture = draw_overlay(image, None, None, referent.box_xyxy_px, mask, width=width)
        address, size = embedded(picture), (picture.shape[1], picture.shape[0])
    return Card(
        address,
        size,
        referent.expressions,
        tuple(notes),
        groups={
            "Split": (chosen.split,),
            "Files": ("no fault" if fault is None else "with a fault",),
        },
    )


def _sheet(title: str, drawn: Drawn, count: int) -> bytes:
    """The content of a sheet of `count` referents.

    Raises:
        DataError: no image can be read.
    """
    panels: dict[str, list[np.ndarray]] = {}
    unread = []
    for chosen, image, mask, fault in drawn:
        referent = chosen.referent
        text, box = " / ".join(referent.expressions), referent.box_xyxy_px
        if fault is not None:
            text = f"fault: {fault} / {text}"
        if image is None:
            unread.append(fault)
            panel = draw_prediction(np.full((*NO_IMAGE, 3), GRID, np.uint8), text, None, None)
        else:
            panel = draw_prediction(image, text, None, None, box, mask)
        panels.setdefault(chosen.split, []).append(panel)
    if len(unread) == count:
        raise DataError(f"no image of the set can be read, the first because of {unread[0]}")
    sections = {
        f"{split}: {plural(len(found), 'referent')}": found for split, found in panels.items()
    }
    return png_bytes(contact_sheet(sections, SHEET_COLUMNS, title), sealed=True)
