"""Compares two dumps of test.py: which metrics differ, and which expressions changed.

    python -m utils.evaluation.compare a.jsonl b.jsonl
    python -m utils.evaluation.compare a.jsonl b.jsonl --pictures 8 --set image_path=photos

A and B are dumps of the same split, written by `test.py --dump`, of networks or, with
`test.py --predictions`, of any system. The intervals are those of a paired bootstrap over images; a
star marks differences whose interval excludes zero. --pictures draws the expressions that changed
most, A beside B; masks are drawn if the dumps were written with --dump_masks.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from config.command_line import add_config_arguments, counted, not_empty, not_negative, run
from config.errors import UserError
from config.files import check_folder
from config.schema import load_config


def main() -> None:
    arguments = _parser().parse_args()
    from data.preparation.wording import plural
    from utils.evaluation.breakdown.differences import (
        changed,
        differences,
        format_change,
        format_differences,
        pair,
        read_dump,
    )

    config = load_config(arguments.config, arguments.overrides)
    sheet = Path(arguments.output)
    if arguments.pictures:
        _check_free(sheet)
    pairs = pair(*(read_dump(Path(path)) for path in arguments.dumps))
    print("\n".join(f"{name}: {path}" for name, path in zip("AB", arguments.dumps, strict=True)))
    for name, alone in zip("AB", (pairs.only_first, pairs.only_second), strict=True):
        if alone:
            print(f"warning: expressions that only {name} has: {counted(alone)}", file=sys.stderr)
    for note in pairs.notes:
        print(f"note: {note}")
    images = len({row["image"] for row in pairs.first})
    print(f"{plural(len(pairs.first), 'expression')} in {plural(images, 'image')}\n")
    thresh = config.det_acc_thresh
    print(format_differences(differences(pairs, thresh)))
    for task in pairs.tasks:
        what = f"boxes above IoU {thresh:g}" if task == "REC" else "masks above IoU 0.5"
        for verb, indices in zip(
            ("only in B", "only in A"), changed(pairs, task, thresh), strict=True
        ):
            print(f"\n{what} {verb}: {len(indices):,}")
            for index in indices[: arguments.list]:
                print(f"  {format_change(pairs, index)}")
    if arguments.pictures:
        print(f"\n{_draw(pairs, arguments.pictures, config.image_path, sheet)}")


def _check_free(sheet: Path) -> None:
    check_folder(sheet.parent)
    if os.path.lexists(sheet):
        raise UserError(f"{sheet}: exists already; name another file by --output")


def _draw(pairs: Any, count: int, image_path: str, sheet: Path) -> str:
    """Draws the expressions that changed most, A beside B, one row each; returns what was done."""
    from config.files import write_bytes
    from utils.evaluation.results.pictures import MOST_ON_SHEET, draw_dumped
    from utils.visualization.panels import contact_sheet
    from utils.visualization.png import png_bytes

    changes = {index: pairs.change(index) for index in range(len(pairs.first))}
    order = sorted((i for i, change in changes.items() if change), key=lambda i: -changes[i])
    if not order:
        return "No expression changed, so there is nothing to draw."
    panels = [
        draw_dumped(image_path, row, f"{name}: ")
        for index in order[: min(count, MOST_ON_SHEET)]
        for name, row in zip("AB", (pairs.first[index], pairs.second[index]), strict=True)
    ]
    title = f"{len(panels) // 2} of {len(order):,} expressions that changed, most changed first"
    write_bytes(sheet, png_bytes(contact_sheet({"": panels}, 2, title)), replace=False)
    return f"Pictures are in {sheet}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("dumps", nargs=2, type=not_empty, metavar="DUMP", help="A and B")
    parser.add_argument(
        "--list",
        type=not_negative,
        default=10,
        metavar="N",
        help="expressions to list of each kind of change (default: 10)",
    )
    parser.add_argument(
        "--pictures",
        type=not_negative,
        default=0,
        metavar="N",
        help="draw the N expressions that changed most, at most 24",
    )
    parser.add_argument(
        "--output",
        type=not_empty,
        default="compare.png",
        metavar="FILE",
        help="the picture, which must not exist yet (default: compare.png)",
    )
    return parser


if __name__ == "__main__":
    run(main, "Nothing was written; run the same command again.")
