"""Finds what an expression means in photographs: its box and its mask.

    python predict.py --image photo.jpg --expression "the woman on the left"
    python predict.py --weights log/refcoco/best.weights.h5 --image holiday/ --expression "the dog"
    python predict.py --list wanted.jsonl --output found --json
    python predict.py --serve

--weights is a file of ours or a published checkpoint (.h5; with --set rnn_cell=gru). Settings come
from --config, else from the config.json that training left beside the weights. With neither, it
is the demo network in data/demo_model/, which knows nothing but drawn shapes; with --config
alone, its evaluate_model.

--image takes a photograph or a folder of them; --list a JSON-lines file with a line
{"image": "a.jpg", "expression": "the dog"} for each wish. Photographs are turned as their EXIF
data say, and boxes are x1, y1, x2, y2 in pixels of the turned photograph. For each expression the
folder --output gets <image>_<n>.png with box, mask and words, <image>_<n>_mask.png, and a line of
predictions.jsonl with box, score and mask (COCO run lengths).

Exit codes: 0 all done, 1 some photographs could not be read, 2 nothing could be done.
"""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from config.command_line import run
from config.schema import PROJECT_ROOT, load_config

DEMO_WEIGHTS = PROJECT_ROOT / "data" / "demo_model" / "mcn.weights.h5"


def main():
    parser = _parser()
    arguments = parser.parse_args()
    if bool(arguments.image) != bool(arguments.expression):
        parser.error('--image goes with --expression "…", which says what to find')
    if not (arguments.weights or arguments.config):
        arguments.weights = DEMO_WEIGHTS
    config = load_config(_settings_file(arguments), arguments.overrides)
    if arguments.serve:
        from utils.page.server import serve

        return serve(config, arguments.weights, arguments.host, arguments.port)

    from utils.prediction.jobs import Output, jobs_of_images, jobs_of_list

    if arguments.list:
        jobs = jobs_of_list(arguments.list)
    else:
        jobs = jobs_of_images(arguments.image, arguments.expression)
    output = Output(arguments.output, jobs)

    from utils.prediction.predictor import Predictor

    predictor = Predictor.from_config(config, arguments.weights)
    with output:
        failures = _predict(predictor, jobs, output, arguments.json)
    if not arguments.json:
        print(f"\nWritten to {arguments.output}/")
    return 1 if failures else 0


def _predict(predictor, jobs, output, as_json):
    """Works through all jobs; returns how many photographs could not be read."""
    from data.loading.images import DataError
    from data.support.progress import Progress
    from utils.prediction.jobs import text_of

    failures = 0
    with Progress(len(jobs), "predict", unit="img") if len(jobs) > 1 else nullcontext() as bar:
        say = bar.say if bar else print
        for done, job in enumerate(jobs, start=1):
            try:
                predictor.set_image(job.image)
            except DataError as error:
                if len(jobs) == 1:
                    raise
                failures += 1
                say(f"error: {error}", file=sys.stderr)
            else:
                predictions = predictor.predict(job.expressions)
                records = output.write(job, predictor.image, predictions)
                say(text_of(records, predictor.image_seconds, as_json))
            if bar:
                bar.update(done)
    if failures:
        print(f"{failures} of {len(jobs)} photographs could not be read", file=sys.stderr)
    return failures


def _settings_file(arguments):
    """The JSON file of the settings: --config, or the one beside the weights."""
    if arguments.config:
        return arguments.config
    beside = Path(arguments.weights).parent / "config.json"
    if not beside.exists():
        raise FileNotFoundError(
            f"{beside} does not exist: say with --config which settings {arguments.weights} "
            "belongs to"
        )
    return beside


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", metavar="PATH", help="a photograph, or a folder of them")
    what.add_argument("--list", metavar="FILE", help="JSON lines of images and expressions")
    what.add_argument("--serve", action="store_true", help="a page for the browser")
    add = parser.add_argument
    add(
        "--expression",
        action="append",
        metavar="TEXT",
        help="what to find in --image, in English; may be given more than once",
    )
    add("--weights", metavar="FILE", help="trained weights (default: see above)")
    add("--config", metavar="FILE", help="JSON file with the settings (default: see above)")
    add(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings that override the file, e.g. --set segment_thresh=0.5 use_nls=0",
    )
    add(
        "--output",
        metavar="DIR",
        default="result/predict",
        help="folder for results (default: result/predict)",
    )
    add("--json", action="store_true", help="print JSON lines instead of text")
    add(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address of the page (default: this machine alone)",
    )
    add("--port", metavar="N", type=int, default=7860, help="port of the page (default: 7860)")
    return parser


if __name__ == "__main__":
    run(main, "What is finished is in the folder of --output; the same command starts anew.")
