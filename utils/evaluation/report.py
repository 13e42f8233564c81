"""What test.py does: load weights, measure a set, write the results down."""

import json
from pathlib import Path

from config.files import written_atomically
from utils.environment import versions
from utils.evaluation.evaluator import build_evaluator
from utils.evaluation.metrics import format_table
from utils.evaluation.pictures import best_median_worst
from utils.prediction.grounder import load_grounder
from utils.visualization.png import save_png

# The settings that figures depend on, written beside them.
MEASURED_WITH = (
    "evaluate_model", "evaluate_set", "backbone", "rnn_cell", "input_size", "word_len",
    "word_embed", "det_acc_thresh", "segment_thresh", "use_nls", "precision",
)  # fmt: skip


def report(config, folder, dump=None, pictures=0):
    """Evaluates config.evaluate_model on config.evaluate_set.

    Args:
        config: `config.schema.Config`.
        folder: where result.txt and result.json go.
        dump: optional file for one JSON line an expression, in the order of the set.
        pictures: how many best, worst and median cases to draw, to pictures.png.

    Returns:
        str, the table.

    Raises:
        WeightsError, DataError, ValueError, OSError: what was given cannot be used.
    """
    evaluator = build_evaluator(config)
    grounder = load_grounder(config)
    print(grounder.weights_report)
    kept = []
    wanted = dump is not None or pictures > 0
    result = evaluator.evaluate(
        grounder, config.word_len, "evaluate", on_measured=kept.append if wanted else None
    )
    kept.sort(key=lambda measured: measured.index)

    settings = {key: getattr(config, key) for key in MEASURED_WITH}
    table = format_table(result, str(config.evaluate_set), config.det_acc_thresh)
    folder = Path(folder)
    details = {**result, "settings": settings, "versions": versions()}
    _write(folder / "result.json", json.dumps(details, indent=2, ensure_ascii=False) + "\n")
    lines = [f"{key} = {value}" for key, value in settings.items()]
    _write(folder / "result.txt", table + "\n\n" + "\n".join(lines) + "\n")
    if dump is not None:
        rows = (json.dumps(measured.to_json(), ensure_ascii=False) for measured in kept)
        _write(Path(dump), "".join(row + "\n" for row in rows))
    if pictures:
        sheet = best_median_worst(evaluator, grounder, config.word_len, kept, pictures)
        save_png(folder / "pictures.png", sheet)
    return table


def _write(path, text):
    with written_atomically(path) as file:
        file.write(text.encode("utf-8"))
