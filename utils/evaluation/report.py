"""The body of test.py: evaluates weights on a set and writes the results."""

import json
import os
from pathlib import Path

from config.files import write_text
from config.schema import Config
from utils.environment import device_line, parameters_line, versions
from utils.evaluation.evaluator import Measurement, build_evaluator
from utils.evaluation.metrics import format_table
from utils.evaluation.pictures import best_median_worst
from utils.prediction.grounder import load_grounder
from utils.visualization.png import save_png

# The settings that scores depend on; they are written beside them.
RECORDED_SETTINGS = (
    "evaluate_model", "evaluate_set", "anchors_file", "backbone", "text_encoder", "rnn_cell",
    "aspp_dilations", "input_size", "word_len", "word_embed", "det_acc_thresh", "segment_thresh",
    "use_nls", "precision",
)  # fmt: skip


def report(
    config: Config,
    folder: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    dump: str | os.PathLike | None = None,
    pictures: int = 0,
) -> str:
    """Evaluates weights on config.evaluate_set.

    Args:
        config: the settings.
        folder: where result.txt and result.json are written.
        weights: weight file; config.evaluate_model if None.
        dump: file for one JSON line per expression, in the order of the set; None for no file.
        pictures: number of best, median and worst predictions to draw in pictures.png.

    Returns:
        The table of the results.

    Raises:
        WeightsError, DataError, UserError, OSError: the weights or the data cannot be used.
    """
    if weights is not None:
        config = config.replace(evaluate_model=str(weights))
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

    folder = Path(folder)
    settings = {key: getattr(config, key) for key in RECORDED_SETTINGS}
    details = {**result, "settings": settings, "versions": versions()}
    write_text(folder / "result.json", json.dumps(details, indent=2, ensure_ascii=False) + "\n")
    table = format_table(result, str(config.evaluate_set), config.det_acc_thresh)
    lines = [f"{key} = {value}" for key, value in settings.items()]
    write_text(folder / "result.txt", table + "\n\n" + "\n".join(lines) + "\n")
    if dump is not None:
        rows = (json.dumps(case.to_json(), ensure_ascii=False) for case in measurements)
        write_text(dump, "".join(row + "\n" for row in rows))
    if pictures:
        sheet = best_median_worst(evaluator, grounder, config.word_len, measurements, pictures)
        save_png(folder / "pictures.png", sheet)
    return table
