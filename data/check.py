"""Look through a prepared data set before training on it.

    python data/check.py config/config.json
    python data/check.py config/config.json --set train_set=data/anns/mine/train.txt

opens every image and mask of the config's train_set and evaluate_set and reports what would stop
a run, what is odd (boxes outside, empty masks, boxes and masks that disagree, images shared
between splits) and what the set is like: sizes of the boxes and how the anchors fit them, lengths
of the expressions and the share that word_len cuts, words without a vector.

Exit code: 0 if a run would go through, 1 if something would stop it, 2 if the settings themselves
cannot be used.
"""

import argparse
import itertools
import sys
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import add_set_argument, counted, exit_code
from config.schema import PROJECT_ROOT, load_config

N_ANCHORS = 3
BETTER_ANCHORS = 0.05
BAR_WIDTH = 40
N_SIZE_BINS = 8


class Report:
    """Prints what is found and counts what would stop a run."""

    def __init__(self):
        self.problems = self.oddities = 0
        self._full = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"

    def heading(self, text):
        print(f"\n{text}")

    def line(self, text):
        print(f"  {text}")

    def problem(self, text, names=()):
        self.problems += 1
        self.line(f"PROBLEM  {_with_names(text, names)}")

    def oddity(self, text, names=()):
        self.oddities += 1
        self.line(f"note     {_with_names(text, names)}")

    def bars(self, labels, counts):
        """A histogram: one line a label, with its share of all."""
        total, most = max(sum(counts), 1), max(*counts, 1)
        width = max(len(label) for label in labels)
        for label, count in zip(labels, counts, strict=True):
            bar = self._full * round(BAR_WIDTH * count / most)
            self.line(f"{label:>{width}}  {100 * count / total:5.1f} %  {bar}".rstrip())


def check(config, report: Report, decode: bool = True) -> "object | None":
    """Looks through the sets of a config and reports.

    Args:
        config: `config.schema.Config`.
        report: where to; its `problems` are above 0 if a run would be stopped.
        decode: read images to the end.

    Returns:
        float32 (A, 2), anchors that would fit the training boxes, or None.
    """
    sets = _read_sets(config, report)
    findings = {
        name: _check_files(config, name, referents, report, decode)
        for name, referents in sets.items()
    }
    _check_shared(config, sets, report)
    _check_words(config, sets, report)
    if "train_set" not in sets:
        return None
    return _check_boxes(config, sets["train_set"], findings["train_set"], report)


def _read_sets(config, report):
    """Config key → referents, of the sets that can be read; the same file only once."""
    from data.loading.annotations import read_annotations

    report.heading("sets")
    sets, paths = {}, {}
    for key in ("train_set", "evaluate_set"):
        path = getattr(config, key)
        if path in paths:
            report.oddity(f"{key} is {paths[path]}: figures of what was trained on mean nothing")
            continue
        paths[path] = key
        try:
            sets[key] = read_annotations(path)
        except (OSError, ValueError) as error:
            report.problem(str(error))
            continue
        expressions = sum(len(referent.expressions) for referent in sets[key])
        images = len({referent.image for referent in sets[key]})
        report.line(
            f"{key:12} {len(sets[key]):,} referents, {expressions:,} expressions, {images:,} "
            f"images: {_short(path)}"
        )
    return sets


def _check_files(config, key, referents, report, decode):
    from data.preparation.inspection import inspect_set
    from data.support.progress import Progress

    n_images = len({referent.image for referent in referents})
    with Progress(n_images, f"{key}: images", unit="img") as bar:
        findings = inspect_set(
            referents, config.image_path, config.seg_gt_path, config.workers, decode, bar.update
        )
    report.heading(f"images and masks of {key}")
    for text, names in sorted(findings.problems.items()):
        report.problem(text, names)
    for text, names in sorted(findings.oddities.items()):
        report.oddity(text, names)
    if "images that are missing" in findings.problems:
        report.line(f"image_path is {_short(config.image_path)}")
    if "masks that are missing" in findings.problems:
        report.line(f"seg_gt_path is {_short(config.seg_gt_path)}")
    if not findings.problems:
        how = "read" if decode else "opened"
        report.line(f"all {n_images:,} images and {len(referents):,} masks could be {how}")
    if findings.mask_ious:
        mean = sum(findings.mask_ious) / len(findings.mask_ious)
        report.line(f"box and box around the mask: mean IoU {mean:.3f}")
    return findings


def _check_shared(config, sets, report):
    """Images that a split has in common with the training set, its neighbours included."""
    from data.loading.annotations import read_annotations
    from data.preparation.inspection import shared_images

    if "train_set" not in sets:
        return
    report.heading("images shared with train_set")
    train = Path(config.train_set)
    others = {p for p in train.parent.glob("*.txt") if p != train}
    if "evaluate_set" in sets:
        others.add(Path(config.evaluate_set))
    for path in sorted(others):
        try:
            shared = shared_images(sets["train_set"], read_annotations(path))
        except (OSError, ValueError) as error:
            report.oddity(f"{_short(path)} cannot be read: {error}")
            continue
        if shared:
            report.oddity(f"with {_short(path)}: its figures come out too good", shared)
        else:
            report.line(f"none with {_short(path)}")
    if not others:
        report.line("there is no other split")


def _check_words(config, sets, report):
    import numpy as np

    from data.preparation.inspection import expression_lengths

    for key, referents in sets.items():
        lengths = expression_lengths(referents)
        report.heading(f"words of an expression, {key} (word_len = {config.word_len})")
        longest = int(lengths.max())
        last = max(config.word_len, min(longest, 2 * config.word_len))
        counts = np.bincount(np.minimum(lengths, last), minlength=last + 1)[1:].tolist()
        labels = [str(n) for n in range(1, last)] + [f"{last}+" if longest > last else f"{last}"]
        labels[config.word_len - 1] = "word_len " + labels[config.word_len - 1]
        report.bars(labels, counts)
        cut, lost = (lengths > config.word_len), np.maximum(lengths - config.word_len, 0).sum()
        report.line(
            f"cut: {cut.sum():,} of {len(lengths):,} expressions ({100 * cut.mean():.1f} %), "
            f"{100 * lost / lengths.sum():.1f} % of all words"
        )
    if sets and config.text_input == "pieces":
        report.line("use_bert: word pieces count, with [CLS] and [SEP]; more is cut than shown")
    elif sets:
        _check_vectors(config, sets, report)


def _check_vectors(config, sets, report):
    from data.preparation.inspection import count_words
    from data.text.vectors import build_word_table, vocabulary_of

    report.heading(f"words without a vector in {_short(config.word_embed)}")
    everything = [referent for referents in sets.values() for referent in referents]
    try:
        table = build_word_table(
            config.word_embed,
            vocabulary_of(everything),
            config.embed_dim,
            cache_dir=Path(config.train_set).parent if "train_set" in sets else None,
        )
    except (OSError, ValueError) as error:
        report.problem(str(error))
        return
    for key, referents in sets.items():
        counts = count_words(referents, config.word_len)
        unknown = {word: n for word, n in counts.items() if word not in table.index}
        report.line(
            f"{key:12} {100 * sum(unknown.values()) / max(sum(counts.values()), 1):.1f} % of what "
            f"is read, {100 * len(unknown) / max(len(counts), 1):.1f} % of {len(counts):,} words"
        )
        if unknown:
            most = sorted(unknown, key=lambda word: (-unknown[word], word))[:10]
            report.line(f"{'':12} most often: " + ", ".join(f"{w} ({unknown[w]})" for w in most))
    if not table.index:
        report.oddity("no word at all has a vector: the expressions say nothing to the network")


def _check_boxes(config, referents, findings, report):
    import numpy as np

    from data.loading.anchors import read_anchors
    from data.preparation.inspection import input_box_sizes, mean_best_iou, propose_anchors

    boxes = input_box_sizes(referents, findings.sizes, config.input_size)
    if len(boxes):
        report.heading("boxes of train_set: √area in pixels of the input")
        edges = np.linspace(0, config.input_size, N_SIZE_BINS + 1)
        counts, _ = np.histogram(np.clip(np.sqrt(boxes.prod(axis=1)), 0, config.input_size), edges)
        labels = [f"{low:.0f}–{high:.0f}" for low, high in itertools.pairwise(edges)]
        report.bars(labels, counts.tolist())
    report.heading("anchors (width × height in pixels of the input)")
    try:
        anchors = read_anchors(config.anchors_file)
        if len(anchors) != N_ANCHORS:
            raise ValueError(f"{config.anchors_file}: {len(anchors)} pairs, {N_ANCHORS} are wanted")
    except (OSError, ValueError) as error:
        report.problem(str(error))
        anchors = None
    proposal = propose_anchors(boxes, N_ANCHORS, config.seed) if len(boxes) else None
    present = None
    if anchors is not None and len(boxes):
        present = mean_best_iou(boxes, anchors)
        report.line(f"{_sizes(anchors)}: mean IoU {present:.3f}: {_short(config.anchors_file)}")
    if proposal is not None:
        reached = mean_best_iou(boxes, proposal)
        report.line(f"{_sizes(proposal)}: mean IoU {reached:.3f}: proposal by k-means")
        if present is not None and reached - present > BETTER_ANCHORS:
            report.oddity("the proposal fits clearly better; --write_anchors FILE keeps it")
    return proposal


def _sizes(anchors):
    return "  ".join(f"{width:.0f}×{height:.0f}" for width, height in anchors)


def _short(path):
    """A path without the project's folder, which says nothing new."""
    path = Path(path)
    return str(path.relative_to(PROJECT_ROOT) if path.is_relative_to(PROJECT_ROOT) else path)


def _with_names(text, names):
    return f"{text}: {counted(names)}" if names else text


def _parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="JSON file with the settings of a run")
    add_set_argument(parser)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="do not read the images to the end: several times faster, but files that break off "
        "are not found",
    )
    parser.add_argument(
        "--write_anchors", metavar="FILE", help="write the proposed anchors, for anchors_file"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parse_arguments(arguments)
    return exit_code(lambda: _run(options), "Nothing was changed: run the same command again.")


def _run(options):
    report = Report()
    config = load_config(options.config, options.overrides)
    proposal = check(config, report, decode=not options.quick)
    if options.write_anchors:
        _write_proposal(options.write_anchors, proposal)
    print(f"\n{report.problems} problems that would stop a run, {report.oddities} notes")
    return 1 if report.problems else 0


def _write_proposal(path, proposal):
    from data.loading.anchors import write_anchors

    if proposal is None:
        raise ValueError(f"{path} is not written: there are too few boxes to propose anchors from")
    write_anchors(path, proposal)
    print(f"\nproposed anchors → {path}; use them with --set anchors_file={path}")


if __name__ == "__main__":
    sys.exit(main())
