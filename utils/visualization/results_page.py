"""The page of the results of predict.py, from the records in its folder."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from utils.demo import SCORE_MEANING
from utils.visualization.gallery import Card, gallery, picture_address

LEGEND = "Box and mask of the prediction are orange lines around the object."


def results_page(folder: Path, records: Iterable[Mapping[str, Any]]) -> bytes | None:
    """The content of a page that shows the pictures of records.

    Args:
        folder: folder of the pictures, in which the page will be.
        records: of `utils.prediction.output.Output`.

    Returns:
        As `utils.visualization.gallery.gallery`; None if there are no records.
    """
    cards = [_card(folder, record) for record in records]
    if not cards:
        return None
    results = "1 result" if len(cards) == 1 else f"{len(cards):,} results"
    title = f"{results} in {folder.resolve().name}"
    return gallery(title, [LEGEND, " ".join(SCORE_MEANING.split())], cards)


def _card(folder: Path, record: Mapping[str, Any]) -> Card:
    picture = folder / Path(record["picture"]).name
    try:
        with Image.open(picture, formats=("PNG",)) as image:
            size = image.size
    except (OSError, ValueError, SyntaxError):  # Somebody has removed or changed it.
        size = None
    found = record.get("found", True)  # Records of former versions have no such field.
    return Card(
        "" if size is None else picture_address(picture.name),
        size or (0, 0),
        (record["expression"],),
        (Path(record["image"]).name, *(() if found else ("nothing found",))),
        tuple(record["unknown_words"]),
        tuple(record["unread_words"]),
        groups={"Answer": "found" if found else "nothing found"},
        values={"Score": record["score"]},
    )
