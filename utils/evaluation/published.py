"""Results on several splits in one table, beside the published figures of released checkpoints."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from config.run_files.released import DATASETS, released_of
from utils.evaluation.metrics import Result

METRICS = {"det_acc": "REC Acc@{:g}", "seg_iou": "RES mean IoU"}
PUBLISHED_THRESH = 0.5
SOURCE = (
    "published: figures of the authors' README for this checkpoint, which says that they exceed "
    "those of\nthe paper by 1-4 %"
)
SEAL = "SHA-256 of the lines above, by which test.py recognizes its table: "
MAX_TABLE_BYTES = 1_000_000


def published_scores(
    weights: str | os.PathLike, dataset: str, det_thresh: float
) -> Mapping[str, tuple[float, float]]:
    """The published scores of a released checkpoint.

    Args:
        weights: the file, judged by its name.
        dataset: the data set of the evaluation, such as "refcoco".
        det_thresh: threshold of the box accuracy.

    Returns:
        Split → accuracy and mean IoU in percent; empty if the file is no released checkpoint, or
        was trained for another data set.
    """
    released = released_of(weights)
    if released is None or released.trained_on != dataset or det_thresh != PUBLISHED_THRESH:
        return {}
    return released.scores


def splits_table(
    results: Mapping[str, Result],
    weights: str | os.PathLike,
    dataset: str,
    det_thresh: float = PUBLISHED_THRESH,
) -> str:
    """Formats the results on several splits of a data set as one table, in percent.

    Args:
        results: split → result of `Metrics.result`, possibly of one task only.
        weights: the evaluated file.
        dataset: name of the data set, as that of the folder of its annotations.
        det_thresh: threshold of the box accuracy.

    Returns:
        Lines without a line break at the end. If there are published figures for a split, they
        and the difference, ours minus the published one, follow each figure.
    """
    scores = published_scores(weights, dataset, det_thresh)
    compared = any(split in scores for split in results)
    width = max(len("split"), *map(len, results))
    title = f"{DATASETS.get(dataset, dataset)}: {os.fspath(weights)}"
    names = [name.format(det_thresh) for name in METRICS.values()]
    columns = ("ours", "published", "difference") if compared else ("ours",)
    space = sum(map(_width, columns))
    head = " " * width + "".join(f"  {name:>{max(space, 12)}}" for name in names)
    lines = [title, head.rstrip()]
    if compared:
        labels = "".join(f"{column:>{_width(column)}}" for column in columns)
        lines.append(f"{'':{width}}  {labels}  {labels}")
    for split, result in results.items():
        cells = []
        for index, metric in enumerate(METRICS):
            ours = round(100 * result[metric], 2) if metric in result else None
            figures = [] if ours is None else [f"{ours:.2f}"]
            if ours is not None and compared and split in scores:
                theirs = scores[split][index]
                figures += [f"{theirs:.2f}", f"{ours - theirs:+.2f}"]
            figures += ["–"] * (len(columns) - len(figures))
            cell = "".join(f"{f:>{_width(c)}}" for f, c in zip(figures, columns, strict=True))
            cells.append(f"  {cell:>{max(space, 12)}}")
        lines.append(f"{split:{width}}{''.join(cells)}")
    return "\n".join([*lines, SOURCE] if compared else lines)


def sealed(table: str) -> bytes:
    """The content of a table's file: `splits_table` and a last line by which it is recognized."""
    lines = f"{table}\n"
    return f"{lines}{SEAL}{hashlib.sha256(lines.encode()).hexdigest()}\n".encode()


def is_splits_table(path: str | os.PathLike) -> bool:
    """Whether a file is as `sealed` made it: a regular file, no link, and not changed since."""
    path = Path(path)
    if not path.is_file() or path.is_symlink() or path.stat().st_size > MAX_TABLE_BYTES:
        return False
    content = path.read_bytes()
    lines, seal, _ = content.decode("utf-8", "replace").rpartition(f"\n{SEAL}")
    return bool(seal) and content == sealed(lines)


def _width(column: str) -> int:
    return len(column) + 2
