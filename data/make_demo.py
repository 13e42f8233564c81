"""Generate the demo set: a synthetic referring data set in the raw RefCOCO layout.

    python data/make_demo.py --output data/demo/raw

Writes to the output folder:

    refcoco/instances.json, refcoco/refs(unc).p   annotations, as in the raw RefCOCO
    images/train2014/*.jpg                        scenes of drawn shapes
    anchors.txt                                   anchors that fit the training objects
    expression_kinds.json                         kind of every expression
    demo_set.json                                 settings, statistics and checksums of the files

The same settings produce identical files, whatever the number of workers. Only a complete set
replaces an earlier one, and files in the folder that are not as a demo set wrote them stay.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import add_output_argument, exit_code
from config.schema import PROJECT_ROOT
from data.synthetic.dataset import Settings, make_demo

DEFAULT_OUTPUT = PROJECT_ROOT / "data" / "demo" / "raw"


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    default = Settings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_output_argument(
        parser, None, "folder to write the demo set to (default: the project's data/demo/raw)"
    )
    for name, value, described in (
        ("scenes", default.scenes, "number of training scenes"),
        ("eval_scenes", default.eval_scenes, "number of scenes in each of val, testA and testB"),
        ("size", default.size, "side of a scene in pixels"),
        ("seed", default.seed, "seed of all random choices"),
        ("workers", os.cpu_count() or 1, "number of processes"),
    ):
        help_text = f"{described} (default: {value})"
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N", help=help_text)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int | None:
    """Runs the command line and returns its exit code."""
    options = _parse_arguments(arguments)
    return exit_code(lambda: _run(options), "Run the same command again to start over.")


def _run(options: argparse.Namespace) -> int:
    settings = Settings(options.scenes, options.eval_scenes, options.size, options.seed)
    output = Path(options.output or DEFAULT_OUTPUT)
    statistics = make_demo(output, settings, options.workers)
    _print_statistics(statistics)
    print(f"demo set → {output}")
    return 0


def _print_statistics(statistics: dict[str, Any]) -> None:
    for split, row in statistics.items():
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in row["shares"].items())
        print(
            f"{split:>5}: {row['scenes']} scenes, {row['objects']} objects, {row['referents']} "
            f"referents, {row['expressions']} expressions ({shares}); accuracy by chance: "
            f"{row['random_object']:.0%} for a random object, "
            f"{row['random_fitting_object']:.0%} for a random object with the named attributes"
        )


if __name__ == "__main__":
    sys.exit(main())
