"""The first losses of the demo recipe, which a change of the recipe moves.

    python -m tests.utils.training.loss_curve

trains for `STEPS` steps on a small demo set and writes `loss_curve.csv` beside this file: the curve
with which test_loss_curve.py compares. Write it anew only with a change that is meant to move it.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
CURVE = Path(__file__).with_suffix(".csv")
# 400 referents: 13 steps of 32 per epoch, the last of which has to be filled.
SCENES, STEPS = 200, 50
TERMS = ("xy", "wh", "confidence", "mask", "cem", "l2", "loss")


def prepare(folder: Path) -> list[str]:
    """Makes a small demo set, as `make demo` makes the large one; returns the settings for it."""
    from data.data_process import main as prepare_main
    from data.make_demo import main as demo_main

    raw = folder / "raw"
    scenes = ["--scenes", str(SCENES), "--eval_scenes", "2"]
    assert not demo_main(["--output", str(raw), *scenes, "--workers", "1"])
    division = ["--dataset", "refcoco", "--split", "unc", "--generate_mask"]
    assert not prepare_main(["--data_root", str(raw), "--output_dir", str(folder), *division])
    return [
        f"train_set={folder}/anns/refcoco/train.txt",
        f"evaluate_set={folder}/anns/refcoco/val.txt",
        f"seg_gt_path={folder}/masks/refcoco",
        f"image_path={raw}/images/train2014",
        f"anchors_file={raw}/anchors.txt",
        f"log_path={folder}/log",
    ]


def losses(settings: list[str]) -> np.ndarray:
    """The terms of each of the first steps of the demo recipe, (STEPS, len(TERMS)) float64."""
    from config.schema import load_config
    from utils.training.builder import build_trainer

    trainer = build_trainer(load_config(ROOT / "config" / "demo.json", settings))
    rows, epoch = [], 0
    while len(rows) < STEPS:
        epoch += 1
        for step, batch in enumerate(trainer._batches(epoch)):
            _, values = trainer._run_step(batch, epoch, step)
            rows.append([float(values[name]) for name in TERMS])
    return np.array(rows[:STEPS])


def read() -> np.ndarray:
    """The curve in the repository, as from `losses`."""
    with CURVE.open(newline="") as file:
        names, *rows = csv.reader(file)
    assert tuple(names) == TERMS
    return np.array(rows, float)


def write(curve: np.ndarray, path: Path = CURVE) -> None:
    """Writes a curve from `losses`, exact to the bit."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TERMS)
        writer.writerows([f"{value:.9g}" for value in row] for row in curve)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        write(losses(prepare(Path(temporary))))
    print(f"Written: {CURVE}")
