"""The report of `data/check.py` on a prepared data set: problems, oddities and statistics.

`check` prints the report; `data.preparation.inspection` finds what it contains.
"""

import itertools
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from config.bert.folder import read_bert_folder
from config.command_line import counted
from config.errors import UserError
from config.run_files.commands import command_for
from config.run_files.missing import missing_files
from config.schema import PROJECT_ROOT, Config
from data.loading.anchors import N_ANCHORS, read_anchors, write_anchors
from data.loading.annotations import Referent, read_annotations
from data.loading.masks import Masks, open_masks
from data.preparation.inspection import (
    MISSING_IMAGES,
    MISSING_MASKS,
    Findings,
    count_words,
    expression_lengths,
    input_box_sizes,
    inspect_set,
    mean_best_iou,
    propose_anchors,
)
from data.preparation.leakage import images_of, left_out_splits, shared_images
from data.preparation.manifest import check_pairing
from data.preparation.sidecars.no_target import read_no_target
from data.preparation.wording import plural
from data.support.progress import Progress
from data.text.vectors import build_word_table, vocabulary_of

# The proposed anchors are recommended if they raise the mean IoU by more than this.
BETTER_ANCHORS = 0.05
BAR_WIDTH = 40
N_SIZE_BINS = 8
N_FREQUENT_WORDS = 10

_Sets = dict[str, list[Referent]]  # name of `_paths` → referents of its file


class Report:
    """Prints findings and counts them.

    Attributes:
        problems: number of findings in data and files that would stop a run.
        oddities: number of findings that are worth a look.
    """

    def __init__(self) -> None:
        self.problems = self.oddities = 0
        self._block = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"

    def heading(self, text: str) -> None:
        """Starts a section."""
        print(f"\n{text}")

    def line(self, text: str) -> None:
        """Prints a line of the current section."""
        print(f"  {text}")

    def problem(self, text: str, names: Sequence[str] = ()) -> None:
        """Prints and counts a problem; `names` are the files or referents that have it."""
        self.problems += 1
        self.line(f"PROBLEM  {_with_names(text, names)}")

    def oddity(self, text: str, names: Sequence[str] = ()) -> None:
        """Prints and counts an oddity; `names` are the files or referents that have it."""
        self.oddities += 1
        self.line(f"note     {_with_names(text, names)}")

    def bars(self, labels: Sequence[str], counts: Sequence[int]) -> None:
        """Prints a histogram: one line per label, with its share of the total."""
        total, highest = max(sum(counts), 1), max([*counts, 1])
        width = max(len(label) for label in labels)
        for label, count in zip(labels, counts, strict=True):
            bar = self._block * round(BAR_WIDTH * count / highest)
            self.line(f"{label:>{width}}  {100 * count / total:5.1f} %  {bar}".rstrip())

    def summary(self) -> None:
        """Prints the number of problems and oddities."""
        print(
            f"\n{plural(self.problems, 'problem')} of data and files that would stop a run, "
            f"{plural(self.oddities, 'note')}"
        )


def check(config: Config, report: Report, decode: bool = True) -> np.ndarray | None:
    """Inspects the training and evaluation sets of a config and prints the report.

    Args:
        config: settings of the run that the data set is meant for.
        report: prints the findings; its `problems` exceed 0 if data or files would stop a run.
        decode: whether to decode the images; otherwise truncated files are not found.

    Returns:
        (A, 2) float32, width and height in input pixels of the anchors proposed for the training
        sets; None if train_set cannot be read, or they have too few different boxes.
    """
    missing = _check_needed_files(config, report)
    sets = _read_sets(config, missing, report)
    findings = {
        key: _check_files(config, key, referents, report, decode) for key, referents in sets.items()
    }
    _check_shared_images(config, sets, report)
    _check_expressions(config, sets, missing, report)
    if "train_set" not in sets:
        return None
    training = [name for name in sets if _is_training(name)]
    referents = [referent for name in training for referent in sets[name]]
    sizes = {image: size for name in training for image, size in findings[name].sizes.items()}
    boxes = input_box_sizes(referents, sizes, config.input_size)
    _check_boxes(config, boxes, report)
    return _check_anchors(config, boxes, missing, report)


def write_proposal(path: str | os.PathLike, proposal: np.ndarray | None) -> None:
    """Writes the anchors that `check` returns and says how to use them.

    Raises:
        UserError: there are none.
    """
    if proposal is None:
        raise UserError(
            f"{path} was not written: train_set has too few boxes to propose anchors from; "
            "omit --write_anchors"
        )
    write_anchors(path, proposal)
    print(f"\nproposed anchors → {path}; use them with --set anchors_file={path}")


def _paths(config: Config) -> dict[str, str]:
    """The files of all sets by the name of their key, which has a number from the second one on."""
    lists = {"train_set": config.train_sets, "evaluate_set": config.evaluate_sets}
    return {
        key if number == 1 else f"{key} {number}": path
        for key, paths in lists.items()
        for number, path in enumerate(paths, start=1)
    }


def _is_training(name: str) -> bool:
    return name.startswith("train_set")


def _read_sets(config: Config, missing: Collection[str], report: Report) -> _Sets:
    """Reads the sets that can be read; a file that both keys name is read once."""
    if {"train_set", "evaluate_set"} <= {*missing}:
        return {}
    report.heading("sets")
    sets: _Sets = {}
    key_of_path: dict[str, str] = {}
    for key, path in _paths(config).items():
        if key.split()[0] in missing and not Path(path).is_file():
            continue  # Already reported.
        if path in key_of_path:
            report.oddity(
                f"{key} is the same file as {key_of_path[path]}: scores on training images are "
                "inflated (leakage)"
            )
            continue
        key_of_path[path] = key
        try:
            referents = read_annotations(path)
        except (OSError, UserError) as error:
            report.problem(str(error))
            continue
        sets[key] = referents
        n_expressions = sum(len(referent.expressions) for referent in referents)
        report.line(
            f"{key:12} {len(referents):,} referents, {n_expressions:,} expressions, "
            f"{len({referent.image for referent in referents}):,} images: {_short(path)}"
        )
    return sets


def _check_files(
    config: Config, key: str, referents: list[Referent], report: Report, decode: bool
) -> Findings:
    path = _paths(config)[key]
    mask_folder = config.mask_folder(path)
    masks, faults = _open_masks(path, mask_folder)
    images = {referent.image for referent in referents}
    if not _is_training(key):  # Training has no use for expressions without a target.
        try:
            images |= {entry.image for entry in read_no_target(path) or ()}
        except (OSError, UserError) as error:
            faults.append(str(error))
    n_images = len(images)
    with Progress(n_images, f"{key}: images", unit="img") as bar:
        findings = inspect_set(
            referents, config.image_path, masks, config.workers, decode, bar.update, images
        )
    report.heading(f"images and masks of {key}")
    for fault in faults:
        report.problem(fault)
    for kind, names in sorted(findings.problems.items()):
        report.problem(kind, names)
    for kind, names in sorted(findings.oddities.items()):
        report.oddity(kind, names)
    if MISSING_IMAGES in findings.problems:
        report.line(f"image_path is {_short(config.image_path)}")
    if MISSING_MASKS in findings.problems:
        report.line(f"seg_gt_path is {_short(mask_folder)}")
    if not findings.problems and not faults:
        verb = "read" if decode else "opened"
        report.line(f"all {n_images:,} images and {len(referents):,} masks could be {verb}")
    if findings.mask_ious:
        mean = sum(findings.mask_ious) / len(findings.mask_ious)
        report.line(f"mean IoU of box and bounding box of the mask: {mean:.3f}")
    return findings


def _open_masks(annotation_file: str, folder: str) -> tuple[Masks | None, list[str]]:
    """The masks of a set, if they can be used, and what is wrong with the masks as a whole."""
    masks, faults = None, []
    try:
        masks = open_masks(folder)
        check_pairing(annotation_file, folder)
    except (OSError, UserError) as error:
        faults.append(str(error))
    return masks, faults


def _check_needed_files(config: Config, report: Report) -> set[str]:
    """Reports files that a training would look for in vain, and how to get each of them.

    Returns:
        The config keys of the missing files.
    """
    report.heading("files that training needs")
    missing = missing_files(config)
    for file in missing:
        report.problem(str(file))
    if not missing:
        report.line("none is missing")
    name = config.pretrained_weights
    if not name:
        report.line("pretrained_weights is empty: trained from scratch")
    elif not {"/", "."} & set(name):
        report.line(f"pretrained_weights: {name}, a name that train.py --dry-run looks up")
    elif Path(name).exists():
        report.line(f"pretrained_weights: {_short(name)}")
    if config.text_input == "pieces" and Path(config.bert_path).is_dir():
        try:
            read_bert_folder(config.bert_path, weights=True)
        except (OSError, UserError) as error:
            report.problem(f"bert_path: {error}")
        else:
            report.line(f"bert_path: {_short(config.bert_path)}")
    if not Path(config.evaluate_model).exists():
        making = command_for(config.evaluate_model) or "train.py"
        report.line(
            f"evaluate_model: {_short(config.evaluate_model)} does not exist yet; written by: "
            f"{making}"
        )
    return {file.key for file in missing}


def _check_shared_images(config: Config, sets: _Sets, report: Report) -> None:
    """Reports images of training sets in evaluation sets or other splits of their folders."""
    if "train_set" not in sets:
        return
    report.heading("images shared with train_set")
    training, left_out = {Path(path) for path in config.train_sets}, left_out_splits(config)
    train_images = {r.image for name in sets if _is_training(name) for r in sets[name]}
    others = {path for file in training for path in file.parent.glob("*.txt")} - training
    others |= {Path(path) for name, path in _paths(config).items() if name in sets} - training
    for path in sorted(others):
        try:
            shared = shared_images(train_images, images_of(path))
        except (OSError, UserError) as error:
            report.oddity(f"{_short(path)} cannot be read: {error}")
            continue
        if shared and str(path) in left_out:
            report.line(f"{_short(path)}: {len(shared):,}, which training leaves out")
        elif shared:
            report.oddity(f"{_short(path)} shares images, which inflates its scores", shared)
        else:
            report.line(f"{_short(path)}: none")
    if not others:
        report.line("there is no other split")


def _check_expressions(
    config: Config, sets: _Sets, missing: Collection[str], report: Report
) -> None:
    for key, referents in sets.items():
        report.heading(f"words per expression in {key} (word_len = {config.word_len})")
        _report_lengths(expression_lengths(referents), config.word_len, report)
    if sets and config.text_input == "pieces":
        report.line(
            f"text_encoder={config.text_encoder} counts word pieces, [CLS] and [SEP] included, so "
            "it truncates more than shown"
        )
    elif sets and "word_embed" not in missing:
        _check_vectors(config, sets, report)


def _report_lengths(lengths: np.ndarray, word_len: int, report: Report) -> None:
    """Prints a histogram of the lengths, int (E,), and what word_len truncates."""
    longest = int(lengths.max())
    last = max(word_len, min(longest, 2 * word_len))
    counts = np.bincount(np.minimum(lengths, last), minlength=last + 1)[1:].tolist()
    labels = [str(n) for n in range(1, last)] + [f"{last}+" if longest > last else f"{last}"]
    labels[word_len - 1] = "word_len " + labels[word_len - 1]
    report.bars(labels, counts)
    truncated = lengths > word_len
    dropped = np.maximum(lengths - word_len, 0).sum()
    report.line(
        f"truncated: {truncated.sum():,} of {len(lengths):,} expressions "
        f"({100 * truncated.mean():.1f} %); dropped: {100 * dropped / lengths.sum():.1f} % of all "
        "words"
    )


def _check_vectors(config: Config, sets: _Sets, report: Report) -> None:
    report.heading(f"words without a vector in {_short(config.word_embed)}")
    try:
        table = build_word_table(
            config.word_embed,
            vocabulary_of(list(itertools.chain.from_iterable(sets.values()))),
            config.embed_dim,
            cache_dir=Path(config.train_set).parent if "train_set" in sets else None,
        )
    except (OSError, UserError) as error:
        report.problem(str(error))
        return
    for key, referents in sets.items():
        counts = count_words(referents, config.word_len)
        unknown = {word: n for word, n in counts.items() if word not in table.index}
        report.line(
            f"{key:12} {_percent(sum(unknown.values()), sum(counts.values()))} of all words within "
            f"word_len, {_percent(len(unknown), len(counts))} of {len(counts):,} distinct words"
        )
        if unknown:
            by_frequency = sorted(unknown, key=lambda word: (-unknown[word], word))
            frequent = [f"{word} ({unknown[word]})" for word in by_frequency[:N_FREQUENT_WORDS]]
            report.line(f"{'':12} most frequent: {', '.join(frequent)}")
    if not table.index:
        report.oddity("no word has a vector: the network cannot distinguish any expressions")


def _check_boxes(config: Config, boxes_wh: np.ndarray, report: Report) -> None:
    """Prints a histogram of the box sizes, float64 (N, 2) in input pixels."""
    if not len(boxes_wh):
        return
    report.heading("box sizes in train_set (√area in input pixels)")
    edges = np.linspace(0, config.input_size, N_SIZE_BINS + 1)
    roots = np.clip(np.sqrt(boxes_wh.prod(axis=1)), 0, config.input_size)
    labels = [f"{low:.0f}–{high:.0f}" for low, high in itertools.pairwise(edges)]
    report.bars(labels, np.histogram(roots, edges)[0].tolist())


def _check_anchors(
    config: Config, boxes_wh: np.ndarray, missing: Collection[str], report: Report
) -> np.ndarray | None:
    """Compares the anchors of the config with anchors by k-means, which are returned."""
    report.heading("anchors (width × height in input pixels)")
    current_iou = None
    try:
        anchors = read_anchors(config.anchors_file)
    except (OSError, UserError) as error:
        if "anchors_file" not in missing:
            report.problem(str(error))
    else:
        if len(boxes_wh):
            current_iou = mean_best_iou(boxes_wh, anchors)
            name = _short(config.anchors_file)
            report.line(f"{_sizes(anchors)}: mean IoU {current_iou:.3f}: {name}")
    proposal = propose_anchors(boxes_wh, N_ANCHORS, config.seed)
    if proposal is not None:
        proposed_iou = mean_best_iou(boxes_wh, proposal)
        report.line(f"{_sizes(proposal)}: mean IoU {proposed_iou:.3f}: proposed by k-means")
        if current_iou is not None and proposed_iou - current_iou > BETTER_ANCHORS:
            report.oddity(
                "the proposed anchors fit clearly better; save them with --write_anchors FILE"
            )
    return proposal


def _sizes(anchors_wh: np.ndarray) -> str:
    return "  ".join(f"{width:.0f}×{height:.0f}" for width, height in anchors_wh)


def _short(path: str | os.PathLike) -> str:
    """Makes a path relative to the project if it is inside."""
    path = Path(path)
    return str(path.relative_to(PROJECT_ROOT) if path.is_relative_to(PROJECT_ROOT) else path)


def _with_names(text: str, names: Sequence[str]) -> str:
    return f"{text}: {counted(names)}" if names else text


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"
