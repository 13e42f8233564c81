"""The page of the results of predict.py, from the records in its folder."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from data.preparation.wording import plural
from utils.demo import SCORE_MEANING
from utils.visualization.gallery import Card, gallery, picture_address

COMMAND = "predict.py"
LEGEND = "Box and mask of the prediction are orange lines around the object."
LINKS = "The pictures are files in the folder of this page: move or send the folder as a whole."


def results_page(
    folder: Path, records: Iterable[Mapping[str, Any]], n_records: int
) -> memoryview | None:
    """The content of a page that shows the pictures of records.

    Args:
        folder: folder of the pictures, in which the page will be.
        records: of `utils.prediction.output.Output`.
        n_records: number of records.

    Returns:
        As `utils.visualization.gallery.gallery`; None if there are no records.
    """
    if not n_records:
        return None
    title = f"{plural(n_records, 'result')} in {folder.resolve().name}"
    notes = [LEGEND, " ".join(SCORE_MEANING.split()), LINKS]
    return gallery(COMMAND, title, notes, (_card(folder, record) for record in records))


def _card(folder: Path, record: Mapping[str, Any]) -> Card:
    picture, size = folder / Path(record["picture"]).name, None
    # Somebody may have removed it, or put something else there.
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        if picture.is_file():  # Opening a pipe waits for a writer.
            with Image.open(picture, formats=("PNG",)) as image:
                size = image.size
    found = record.get("found", True)  # Records of former versions have no such field.
    return Card(
        "" if size is None else picture_address(picture.name),
        size or (0, 0),
        (record["expression"],),
        (Path(record["image"]).name, *(() if found else ("nothing found",))),
        tuple(record["unknown_words"]),
        tuple(record["unread_words"]),
        groups={"Answer": ("found" if found else "nothing found",)},
        values={"Score": record["score"]},
    )
