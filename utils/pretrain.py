"""Pretrains a visual backbone as a detector of all objects, as the published ones were.

    python -m utils.pretrain --config config/demo.json --epochs 12 \\
        --instances data/demo/raw/refcoco/instances.json --leave_out data/demo/eval_images.txt \\
        --output log/demo_backbone.weights.h5

To train from the result, set `pretrained_weights` to it. The backbone must not see images of the
evaluation sets: write their names with `data_process.py --list_eval_images` and pass the file as
--leave_out.
"""

import argparse

from config.command_line import add_config_arguments, run
from config.errors import UserError
from config.quiet import expect_changing_weights, quiet_tensorflow
from config.schema import load_config
from data.preparation.referring_sets import read_image_list


def main() -> None:
    parser = add_config_arguments(argparse.ArgumentParser(description=__doc__))
    parser.add_argument(
        "--instances", required=True, metavar="FILE", help="COCO-style instances.json"
    )
    parser.add_argument(
        "--leave_out",
        metavar="FILE",
        help="text file with the names of images that must not be seen, one per line; images of "
        "COCO may have their names of 2014 or 2017",
    )
    parser.add_argument(
        "--epochs", type=int, default=20, help="passes over the images (default: 20)"
    )
    parser.add_argument(
        "--trained_on",
        metavar="NAME",
        help="what the backbone was trained on, such as coco-clean; stored in the file",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="backbone to write, NAME.weights.h5"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace --output, if it exists, at the end"
    )
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.overrides)
    if arguments.epochs < 1:
        raise UserError(f"--epochs {arguments.epochs}: must be at least 1")
    left_out: list[str] = []
    if arguments.leave_out:
        left_out = read_image_list(arguments.leave_out)
        if not left_out:
            raise UserError(f"--leave_out {arguments.leave_out}: the list is empty; omit it")
    expect_changing_weights()
    quiet_tensorflow()

    from model.weights.native import check_target, check_trained_on, write_target
    from utils.training.pretraining import pretrain

    check_target(arguments.output, arguments.overwrite)  # Before hours of training.
    if arguments.trained_on is not None:
        check_trained_on(arguments.trained_on)
    backbone = pretrain(config, arguments.instances, left_out, arguments.epochs, arguments.output)
    written = write_target(
        backbone, arguments.output, arguments.overwrite, trained_on=arguments.trained_on
    )
    print(f"Backbone written to {written}; to train from it, set pretrained_weights to it")


if __name__ == "__main__":
    run(
        main,
        "What the backbone has learned is lost, since it is written at the end only; an earlier "
        "--output is unchanged. The same command starts again.",
    )
