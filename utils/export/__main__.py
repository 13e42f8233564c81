"""Exports a network for use without this project, as SavedModel, ONNX or TFLite.

    python -m utils.export --weights log/refcoco/best.weights.h5 --format onnx --output exported

writes exported/whole.onnx. Its inputs are an RGB image of any size, (h, w, 3) uint8, and the word
vectors of one expression; its outputs are the box in pixels of the image, its score, and the mask
score of every pixel. exported/whole.onnx.json describes inputs and outputs. --part all also writes
the image encoder and the grounder, with which one encoded image serves many expressions.

    python -m utils.export --bundle my_grounder --vocabulary data/anns/refcoco/train.txt

writes a folder with whole.onnx, word vectors and ground.py, which needs numpy, pillow and
onnxruntime alone: python my_grounder/ground.py photo.jpg "woman on the left".

Needs for ONNX and bundles: pip install -c constraints.txt -r requirements-export.txt
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from config.command_line import (
    add_config_arguments,
    add_output_argument,
    add_weights_argument,
    not_empty,
    run,
)
from config.files import bytes_text
from config.quiet import quiet_tensorflow
from utils.export.formats import PARTS, SUFFIXES


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    from utils.prediction.run_folder import settings_of_weights

    settings = settings_of_weights(options.weights, options.config, options.overrides)
    config, weights = settings.config, settings.weights
    settings.print_warnings()
    parts = PARTS if options.part == "all" else (options.part,)

    quiet_tensorflow()
    if options.bundle is not None:
        from utils.export.bundle import write_bundle

        path = write_bundle(
            config, weights, options.bundle, options.vocabulary, settings.check_unchanged
        )
        print(f"{path}  {bytes_text(_bytes_of(path))}")
        return

    from utils.export.files import export

    paths = export(config, weights, options.format, options.output, parts, settings.check_unchanged)
    for path in paths:
        print(f"{path}  {bytes_text(_bytes_of(path))}")


def _parser():
    parser = argparse.ArgumentParser(prog="python -m utils.export", description=__doc__)
    add_config_arguments(parser, of_weights=True)
    add_weights_argument(parser, help="weights to export (default: evaluate_model)")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--format", choices=list(SUFFIXES), help="file format")
    kind.add_argument(
        "--bundle", type=not_empty, metavar="DIR", help="write a self-contained folder to DIR"
    )
    parser.add_argument(
        "--vocabulary",
        type=not_empty,
        metavar="FILE",
        help="text file with the words that the bundle is to know (default: all of word_embed, if "
        "they are few)",
    )
    add_output_argument(parser, default="exported", help="output folder")
    parser.add_argument(
        "--part",
        choices=[*PARTS, "all"],
        default="whole",
        help="whole: image and words to box and mask (default); image_encoder and grounder: its "
        "two halves; all: the three of them",
    )
    return parser


def _bytes_of(path: Path) -> int:
    """Size of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    run(
        main, "What is in the output folder is complete; run the command again for the other parts."
    )
