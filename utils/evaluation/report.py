"""The body of test.py: evaluates weights on a set and writes the results."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import file_sha256, write_text
from config.json_text import parse_json
from config.schema import Config
from data.loading.errors import skipped_text
from utils.environment import device_line, parameters_line, versions
from utils.evaluation.comparison import Measurement
from utils.evaluation.evaluator import build_evaluator
from utils.evaluation.metrics import format_table
from utils.evaluation.pictures import best_median_worst
from utils.prediction.grounder import load_grounder
from utils.prediction.run_folder import check_weights_exist
from utils.visualization.png import save_png

RESULT = "result.json"
# The settings that scores depend on; they are written beside them.
RECORDED_SETTINGS = (
    "evaluate_model", "evaluate_set", "anchors_file", "backbone", "text_encoder", "rnn_cell",
    "aspp_dilations", "input_size", "word_len", "word_embed", "det_acc_thresh", "segment_thresh",
    "use_nls", "precision", "on_bad_sample",
)  # fmt: skip


def report(
    config: Config,
    folder: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    dump: str | os.PathLike | None = None,
    pictures: int = 0,
    overwrite: bool = False,
) -> str:
    """Evaluates weights on config.evaluate_set, prints the results and writes them.

    Args:
        config: the settings.
        folder: where result.txt and result.json are written.
        weights: weight file; config.evaluate_model if None.
        dump: file for one JSON line per expression, in the order of the set; None for no file.
        pictures: number of best, median and worst predictions to draw in pictures.png.
        overwrite: whether to replace results of other weights or settings, and an earlier dump.

    Returns:
        The table of the results.

    Raises:
        WeightsError, DataError, UserError, OSError: the weights or the data cannot be used, a file
            cannot be written, or it exists and must not be replaced.
    """
    if weights is not None:
        config = config.replace(evaluate_model=str(weights))
    folder, source = Path(folder), _source(config)
    if not overwrite:
        _check_not_lost(folder, source, dump)
    print(device_line())
    evaluator = build_evaluator(config)
    print(f"data: {evaluator.n_expressions:,} expressions in {len(evaluator.groups):,} images")
    grounder = load_grounder(config)
    print(grounder.weights_report)
    print(parameters_line(grounder.model))

    measurements: list[Measurement] = []
    keep = measurements.append if dump is not None or pictures else None
    result = evaluator.evaluate(grounder, config.word_len, "evaluate", on_measured=keep)
    measurements.sort(key=lambda case: case.index)
    table = format_table(result, str(config.evaluate_set), config.det_acc_thresh)
    print(table)  # Before files are written, which may fail.
    skipped = evaluator.skipped()
    if skipped:
        count = sum(image["expressions"] for image in skipped)
        what = f"{len(skipped):,} image{'s' * (len(skipped) > 1)} with {count:,} expressions"
        print(skipped_text(what, [image["reason"] for image in skipped]), file=sys.stderr)

    details = {**result, "skipped": skipped, **source, "versions": versions()}
    lines = [f"{key} = {value}" for key, value in source["settings"].items()]
    write_text(folder / "result.txt", table + "\n\n" + "\n".join(lines) + "\n")
    write_text(folder / RESULT, json.dumps(details, indent=2, ensure_ascii=False) + "\n")
    if dump is not None:
        rows = (json.dumps(case.to_json(), ensure_ascii=False) for case in measurements)
        write_text(dump, "".join(row + "\n" for row in rows))
    if pictures:
        sheet = best_median_worst(evaluator, grounder, config.word_len, measurements, pictures)
        save_png(folder / "pictures.png", sheet)
    return table


def _source(config: Config) -> dict[str, Any]:
    """What results come from: the settings that scores depend on, and the hash of the weights."""
    check_weights_exist(config.evaluate_model)
    settings = {key: getattr(config, key) for key in RECORDED_SETTINGS}
    return {"settings": settings, "weights_sha256": file_sha256(config.evaluate_model)}


def _check_not_lost(folder: Path, source: dict[str, Any], dump: str | os.PathLike | None) -> None:
    """Raises `UserError` if results of other weights or settings, or a dump, would be replaced."""
    if dump is not None and Path(dump).exists():
        raise UserError(f"{dump}: exists already; name another file, or replace it by --overwrite")
    path = folder / RESULT
    try:
        found = parse_json(path.read_bytes(), path)
    except FileNotFoundError:
        return
    except UserError:
        found = None
    found = found if isinstance(found, dict) else {}
    settings = found.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    changed = [
        key
        for key, value in source["settings"].items()
        if key != "evaluate_model" and settings.get(key) != value
    ]
    if found.get("weights_sha256") != source["weights_sha256"]:
        changed.insert(0, "weights")
    if changed:
        raise UserError(
            f"{path}: holds the results of other {', '.join(changed)}; give these ones another "
            "folder by --name, or replace those by --overwrite"
        )
