r"""Chooses the scenes that the demo network is shown with: those of a set that it answers best.

    python -m utils.showcase --weights data/demo_model/mcn.weights.h5 \
        --config config/demo_model.json \
        --set evaluate_set=data/demo_large/anns/refcoco/testA.txt --output result/showcase

evaluates the weights on evaluate_set, which should be held-out data, and ranks its images. An
image is as good as the worse of its two best referents, and a referent is as good as the lowest
score, box IoU or mask IoU of its expressions. The best images are copied to <output>/scenes/ as
scene_1.jpg, scene_2.jpg and so on, best first. <output>/scenes.txt describes their referents as an
annotation file, and <output>/scenes.jsonl lists one expression per referent for predict.py --list.
All three are written together or not at all, and only where none of them exists.

    python -m utils.showcase --weights data/demo_model/mcn.weights.h5 \
        --config config/demo_model.json --sheet assets/demo.jpg --overwrite \
        --set evaluate_set=data/demo_large/anns/refcoco/testA.txt

draws the best, median and worst answers instead, as the README shows them.
"""

import argparse
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from config.command_line import (
    add_config_arguments,
    add_output_argument,
    add_weights_argument,
    not_empty,
    run,
)
from config.errors import UserError
from config.files import check_folder, check_place, write_bytes, write_text
from config.quiet import quiet_tensorflow
from config.schema import Config
from data.loading.annotations import Referent, write_annotations
from data.support.staging import complete_interrupted, replaced_together

SCENES, ANNOTATIONS, LIST = WRITTEN = ("scenes", "scenes.txt", "scenes.jsonl")
REFERENTS_PER_SCENE = 2
ANSWERS_PER_ROW, SHEET_WIDTH, JPEG_QUALITY = 6, 1500, 88


@dataclass(frozen=True)
class Answered:
    """A referent and how well a network answers its expressions.

    Attributes:
        referent: the referent, whose expressions are sorted from the best answer to the worst.
        qualities: of these expressions, each in 0..1: the lowest of score, box IoU and mask IoU.
    """

    referent: Referent
    qualities: tuple[float, ...]


def best_scenes(
    referents: Sequence[Referent], qualities: Mapping[int, float], count: int
) -> list[list[Answered]]:
    """Chooses the images with the best answers.

    Args:
        referents: those of a set.
        qualities: quality of the answer by the position of the expression in the set. Expressions
            without one, and their referents, are left out.
        count: number of images.

    Returns:
        One list per image, best first, with its best referents, best first.

    Raises:
        UserError: fewer images than `count` have two referents.
    """
    scenes: dict[str, list[Answered]] = {}
    first = 0
    for referent in referents:
        positions = range(first, first := first + len(referent.expressions))
        if all(position in qualities for position in positions):
            found = [qualities[position] for position in positions]
            ranked = sorted(zip(found, referent.expressions, strict=True), key=lambda p: -p[0])
            found, texts = [q for q, _ in ranked], [text for _, text in ranked]
            answered = Answered(replace(referent, expressions=tuple(texts)), tuple(found))
            scenes.setdefault(referent.image, []).append(answered)
    ranked_scenes = [
        sorted(answered, key=lambda a: -a.qualities[-1])[:REFERENTS_PER_SCENE]
        for answered in scenes.values()
        if len(answered) >= REFERENTS_PER_SCENE
    ]
    if len(ranked_scenes) < count:
        raise UserError(
            f"the set has {len(ranked_scenes)} images with two referents: choose fewer --scenes"
        )
    return sorted(ranked_scenes, key=lambda scene: -scene[-1].qualities[-1])[:count]


def check_output(output: str | Path) -> None:
    """Raises `UserError` if `write_showcase` could not write to a folder as it is."""
    output = Path(output)
    check_folder(output)
    complete_interrupted(output / SCENES)
    for name in WRITTEN:
        if os.path.lexists(output / name):
            raise UserError(f"{output / name}: exists already; move it, or name another --output")


def write_showcase(
    scenes: Sequence[Sequence[Answered]], images: str | Path, output: str | Path
) -> None:
    """Writes the chosen scenes, all files or none.

    Args:
        scenes: of `best_scenes`.
        images: folder of the images.
        output: folder of scenes/, scenes.txt and scenes.jsonl. Files of these names that have
            appeared since `check_output` are kept under other names.

    Raises:
        UserError, OSError: a file cannot be read or written, or another process is writing.
    """
    named = {
        f"scene_{number}{Path(scene[0].referent.image).suffix}": scene
        for number, scene in enumerate(scenes, start=1)
    }
    referents = [replace(a.referent, image=name) for name, scene in named.items() for a in scene]
    rows = [{"image": f"{SCENES}/{r.image}", "expression": r.expressions[0]} for r in referents]
    targets = [Path(output) / name for name in WRITTEN]
    with replaced_together(*targets, is_ours=lambda *_: False) as (folder, annotations, listed):
        folder.mkdir()
        for name, scene in named.items():
            shutil.copyfile(Path(images) / scene[0].referent.image, folder / name)
        write_annotations(annotations, referents)
        write_text(listed, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _measured(config: Config, weights: str) -> tuple[Sequence[Referent], dict[int, float]]:
    """The referents of the set, and the quality of each answer by the expression's position."""
    from utils.evaluation.evaluator import build_evaluator
    from utils.prediction.grounder import load_grounder

    qualities: dict[int, float] = {}
    evaluator = build_evaluator(config)
    for case in evaluator.measure(load_grounder(config, weights), config.word_len):
        assert case.score is not None  # Only predictions of other systems may lack it.
        qualities[case.index] = min(case.score, case.det_iou, case.seg_iou)
    return evaluator.referents, qualities


def check_sheet(path: str | Path, overwrite: bool) -> None:
    """Raises `UserError` if a sheet cannot or must not be written to a file."""
    path = Path(path)
    if path.suffix != ".jpg":
        raise UserError(f"--sheet {path}: name a file that ends with .jpg")
    check_folder(path.parent)
    check_place(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; name another file, or replace it by --overwrite")


def draw_sheet(config: Config, weights: str) -> bytes:
    """Draws the best, median and worst answers of a network for evaluate_set.

    Args:
        config: the settings.
        weights: the weight file.

    Returns:
        The content of a JPEG file, `SHEET_WIDTH` pixels wide.

    Raises:
        UserError, OSError: the set or the weights cannot be used.
    """
    from utils.evaluation.evaluator import build_evaluator
    from utils.evaluation.network_pictures import draw_pictures
    from utils.evaluation.results.pictures import set_name
    from utils.prediction.grounder import load_grounder

    evaluator, grounder = build_evaluator(config), load_grounder(config, weights)
    measured = sorted(evaluator.measure(grounder, config.word_len), key=lambda case: case.index)
    name = set_name(config.evaluate_set)
    drawn, _ = draw_pictures(evaluator, grounder, config.word_len, measured, ANSWERS_PER_ROW, name)
    sheet, stream = Image.fromarray(drawn), io.BytesIO()
    height = round(sheet.height * SHEET_WIDTH / sheet.width)
    resized = sheet.resize((SHEET_WIDTH, height), Image.Resampling.LANCZOS)
    # Full resolution of colors, which expressions speak of.
    resized.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return stream.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.scenes < 1:
        parser.error("--scenes must be at least 1")
    if options.sheet is None:
        check_output(options.output)
    else:
        check_sheet(options.sheet, options.overwrite)
    from utils.prediction.run_folder import settings_of_weights

    settings = settings_of_weights(options.weights, options.config, options.overrides)
    settings.print_warnings()
    quiet_tensorflow()
    if options.sheet is not None:
        sheet = draw_sheet(settings.config, settings.weights)
        settings.check_unchanged()
        check_sheet(options.sheet, options.overwrite)
        write_bytes(options.sheet, sheet, replace=options.overwrite)
        print(f"The best, median and worst answers are in {options.sheet}")
        return
    referents, qualities = _measured(settings.config, settings.weights)
    settings.check_unchanged()
    scenes = best_scenes(referents, qualities, options.scenes)
    write_showcase(scenes, settings.config.image_path, options.output)
    for number, scene in enumerate(scenes, start=1):
        for answered in scene:
            text = answered.referent.expressions[0]
            print(f"scene_{number}  {answered.qualities[0]:.2f}  {text}")
    n_images = len({referent.image for referent in referents})
    print(f"The best {len(scenes)} of {n_images} images are in {options.output}/")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m utils.showcase", description=__doc__)
    add_config_arguments(parser, of_weights=True)
    add_weights_argument(parser, help="weights to show (default: evaluate_model of --config)")
    add_output_argument(parser, "result/showcase", "folder that receives the scenes")
    parser.add_argument(
        "--scenes", type=int, default=6, metavar="N", help="number of images (default: 6)"
    )
    parser.add_argument(
        "--sheet",
        type=not_empty,
        metavar="FILE",
        help="draw the best, median and worst answers to this .jpg file instead",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing file of --sheet"
    )
    return parser


if __name__ == "__main__":
    run(main, "Run the same command again.")
