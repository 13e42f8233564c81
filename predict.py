"""Locates the objects that expressions refer to in photographs: a box and a mask for each.

    python predict.py --image photo.jpg --expression "the woman on the left"
    python predict.py --weights log/refcoco/best.weights.h5 --image holiday/ --expression "the dog"
    python predict.py --list wanted.jsonl --output found --json
    python predict.py --serve

--weights is a weight file of this project or a published checkpoint (.h5). The settings come from
--config, otherwise from the config.json that training leaves beside the weights, or from the
checkpoint itself. With --config alone, the weights are its evaluate_model. With neither, the demo
network in data/demo_model/ is used, which was trained only on synthetic shapes: its answers about
photographs mean nothing, and it knows only the words for its shapes.

--image is a photograph or a folder of photographs. --list is a JSON-lines file with one line
{"image": "a.jpg", "expression": "the dog"} per expression. Photographs are rotated as their EXIF
data say, and boxes are x1, y1, x2, y2 in pixels of the rotated photograph. For each expression,
the folder --output receives <image>_<n>_<words>.png with box, mask and caption, the same name with
_mask.png, and a line of predictions.jsonl with box, score and mask (COCO run lengths). index.html,
a page for the browser, shows all results of the folder, filtered by words and score.

The network always returns exactly one box per expression, the one with the highest score of all.
The score is the sigmoid of the confidence that the network outputs for this box. It is not the
probability that the object exists: in training every expression had a referent, so that expressions
for something that is not in the picture get a box as well, possibly with a high score. --min_score
reports boxes with a lower score as "nothing found": "found" in predictions.jsonl is then false, the
box is null, and picture and mask show nothing.

Results of earlier runs stay in the folder. What was predicted before with the same weights and
settings is not computed again, so that the same command continues an interrupted run. Results of
other weights or settings need another folder, or --overwrite, which removes the files that
predictions.jsonl lists and no others, unless they were changed since.

Exit codes: 0 success, 1 some photographs failed, 2 nothing could be done.
"""

import argparse
import sys

from config.command_line import (
    add_engine_arguments,
    add_output_argument,
    add_set_argument,
    add_weights_argument,
    fraction,
    not_empty,
    run,
)
from config.quiet import assume_constant_weights, quiet_tensorflow
from utils.demo import (
    DEMO_WEIGHTS,
    SCORE_MEANING,
    TRAINED_ON_SHAPES,
    demo_warning,
    is_demo_network,
)
from utils.page.access import AUTH_VARIABLE, check_access


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if bool(arguments.image) != bool(arguments.expression):
        parser.error("--image and --expression must be given together")
    named = "evaluate_model" in {change.partition("=")[0].strip() for change in arguments.overrides}
    if arguments.weights is None and arguments.config is None and not named:
        arguments.weights = DEMO_WEIGHTS
    auth = None
    if arguments.serve:
        auth = check_access(arguments.host, arguments.auth, arguments.public)
    from utils.prediction.run_folder import settings_of_weights

    settings = settings_of_weights(arguments.weights, arguments.config, arguments.overrides)
    config, arguments.weights = settings.config, settings.weights
    settings.print_warnings()
    if arguments.serve:
        quiet_tensorflow()
        from utils.environment import device_line
        from utils.page.server import serve

        print(device_line())
        host, port, min_score = arguments.host, arguments.port, arguments.min_score
        serve(config, arguments.weights, host, port, auth, min_score)
        return 0
    return _predict(settings, arguments)


def _predict(settings, arguments):
    from utils.prediction.jobs import jobs_from_images, jobs_from_list
    from utils.prediction.output import Output
    from utils.prediction.run_folder import check_network_id, network_id

    config = settings.config
    if arguments.list:
        jobs = jobs_from_list(arguments.list)
    else:
        jobs = jobs_from_images(arguments.image, arguments.expression)
    network = network_id(config, arguments.weights, arguments.min_score)
    output = Output(arguments.output, jobs, network, arguments.overwrite)

    quiet_tensorflow()
    from utils.environment import device_line
    from utils.prediction.batch import predict_jobs
    from utils.prediction.predictor import Predictor

    # With --json, standard output holds records only.
    about = sys.stderr if arguments.json else sys.stdout
    print(device_line(), file=about)
    is_demo = is_demo_network(config, arguments.weights)
    if is_demo:
        print(f"note: {TRAINED_ON_SHAPES}", file=about)
    predictor = Predictor.from_config(config, arguments.weights, min_score=arguments.min_score)
    check_network_id(network, config, arguments.weights, arguments.min_score)
    settings.check_unchanged()
    with output.opened():
        warn = demo_warning if is_demo else None
        failures = predict_jobs(predictor, jobs, output, arguments.json, warn)
    if not arguments.json:
        others = output.count_others(jobs)
        beside = f", beside {others:,} of earlier runs" if others else ""
        print(f"\n{SCORE_MEANING}\nResults are in {arguments.output}/{beside}")
    return 1 if failures else 0


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument(
        "--image", type=not_empty, metavar="PATH", help="photograph, or folder of photographs"
    )
    task.add_argument(
        "--list", type=not_empty, metavar="FILE", help="JSON lines of images and expressions"
    )
    task.add_argument("--serve", action="store_true", help="open a page for the browser")
    add(
        "--expression",
        action="append",
        metavar="TEXT",
        help="English expression for the object in --image; can be repeated",
    )
    add_weights_argument(parser, help="trained weights (default: see above)")
    add(
        "--config",
        type=not_empty,
        metavar="FILE",
        help="JSON file of settings (default: see above)",
    )
    add_set_argument(parser)
    add_engine_arguments(parser)
    add_output_argument(parser, default="result/predict", help="folder for results")
    add(
        "--min_score",
        type=fraction,
        default=0.0,
        metavar="X",
        help="report boxes with a score below X, in 0..1, as nothing found (default: report all)",
    )
    add("--overwrite", action="store_true", help="remove the results of earlier runs first")
    add("--json", action="store_true", help="print JSON lines instead of text")
    _add_page_arguments(parser)
    return parser


def _add_page_arguments(parser):
    """Adds the flags of --serve."""
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address of the page (default: 127.0.0.1, which only this machine can reach)",
    )
    parser.add_argument(
        "--port", metavar="N", type=int, default=7860, help="port of the page (default: 7860)"
    )
    access = parser.add_mutually_exclusive_group()
    access.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        help=f"what visitors of the page must enter; {AUTH_VARIABLE} in the environment does the "
        "same and is hidden from other users of this machine",
    )
    access.add_argument(
        "--public",
        action="store_true",
        help="let everyone use the page who can reach --host, without a password",
    )


if __name__ == "__main__":
    assume_constant_weights()
    run(main, "Finished results are in the folder of --output; the same command continues.")
