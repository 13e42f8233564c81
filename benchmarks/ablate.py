"""Trains and evaluates variants of a recipe with several seeds, and tabulates what differs.

    python benchmarks/ablate.py --config config/demo.json --set epoches=4
    python benchmarks/ablate.py --config config/config.json --variants paper no_cem

Each run is a call of train.py, unless the variant only changes the evaluation, and one of test.py.
A finished run adds a line to <output>/results.jsonl and is not repeated; run the same command again
to resume a training that was stopped. Results of other settings or data are never mixed: give them
another --output. docs/ablation.md describes the variants.

The table is printed and written to <output>/table.md, and with --document between the lines
`<!-- ablation -->` and `<!-- end of ablation -->` of a Markdown file, too.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if not __package__:  # Run as a script: make the packages of the project importable.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.ablation_table import format_ablation
from benchmarks.hard_suppression import cut_masks
from benchmarks.records import placed
from benchmarks.variants import MEASURES, PAPER, VARIANTS, Variant
from config.command_line import add_config_arguments, add_output_argument, run
from config.errors import UserError, shown
from config.files import check_folder, file_sha256, locked, write_text
from config.json_text import parse_json, read_lines
from config.run_folder import OF_EACH_MACHINE
from config.schema import PROJECT_ROOT, Config, load_config
from utils.reproduce import run_program

RESULTS, TABLE, BASE = "results.jsonl", "table.md", "base.json"
# Settings that results do not depend on.
FREE = (
    *OF_EACH_MACHINE, "about", "seed", "cache_features", "eval_batch_size", "log_images",
    "save_every_minutes", "engine",
)  # fmt: skip
# Files that they depend on by their contents.
FILES = ("train_set", "anchors_file", "word_embed", "pretrained_weights")

Runner = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class Finished:
    """A line of results.jsonl.

    Attributes:
        variant, seed: the run.
        training, evaluation: the settings of the variant that differ from the base.
        results: by split, the value of each measure as a fraction of one.
    """

    variant: str
    seed: int
    training: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    results: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Ablation:
    """What to train and evaluate, and where.

    Attributes:
        config: the base settings.
        output: folder of all files.
        variants: keys of `benchmarks.variants.VARIANTS`.
        seeds: number of seeds, from that of the base settings on.
        splits: names of annotation files beside evaluate_set, without .txt.
    """

    config: Config
    output: Path
    variants: tuple[str, ...]
    seeds: int
    splits: tuple[str, ...]

    @property
    def results_file(self) -> Path:
        """One line that describes the base, then one per finished run."""
        return self.output / RESULTS

    def base(self) -> dict[str, Any]:
        """What all runs have in common: settings, contents of files, and splits."""
        config, paths = self.config, {key: Path(getattr(self.config, key)) for key in FILES}
        splits = {name: Path(config.evaluate_set).with_name(f"{name}.txt") for name in self.splits}
        contents = {
            name: file_sha256(path) if path.is_file() else path.name
            for name, path in {**paths, **splits}.items()
        }
        settings = {key: value for key, value in config.to_dict().items() if key not in FREE}
        return {"settings": settings, "contents": contents, "splits": list(self.splits)}

    def changes(self, variant: Variant) -> dict[str, Any]:
        """The settings of a variant's training that the base does not have anyway."""
        base = vars(self.config)
        return {key: value for key, value in variant.training.items() if base[key] != value}

    def log_path(self, variant: Variant, seed: int) -> Path:
        """The folder of a training, which variants with equal training share."""
        named = {key: value for key, value in self.changes(variant).items() if key not in FREE}
        return self.output / "runs" / (",".join(_assignments(named)) or PAPER) / f"seed={seed}"

    def runs(self) -> Iterator[tuple[str, int]]:
        """Variant and seed of each run; all variants get a first result before any a second."""
        for seed in range(self.config.seed, self.config.seed + self.seeds):
            for name in self.variants:
                yield name, seed


def ablate(plan: Ablation, run_command: Runner) -> str:
    """Runs what is not finished yet and tabulates all finished runs.

    Args:
        plan: what to run.
        run_command: runs a program of the project, given as arguments of Python, and raises a
            `UserError` if it fails.

    Returns:
        The table, in Markdown.

    Raises:
        UserError: a run failed, or the results in the folder are those of other settings; what is
            finished stays.
    """
    check_folder(plan.output)
    message = (
        f"another ablate.py is running in {plan.output}; wait for it, or name another --output"
    )
    with locked(plan.output / ".lock", message):
        base = plan.base()
        finished = read_results(plan, base)
        write_text(plan.output / BASE, json.dumps(plan.config.to_dict(), indent=2) + "\n")
        _write_results(plan, base, finished)
        done = {(line.variant, line.seed) for line in finished}
        for name, seed in plan.runs():
            if (name, seed) not in done:
                finished.append(_run(plan, name, seed, run_command))
                _write_results(plan, base, finished)
        table = format_ablation(finished, plan.splits, plan.config.det_acc_thresh)
        write_text(plan.output / TABLE, table)
    return table


def read_results(plan: Ablation, base: Mapping[str, Any]) -> list[Finished]:
    """Reads the finished runs of the output folder.

    Args:
        plan: what will be run.
        base: of `Ablation.base`.

    Raises:
        UserError: the file is damaged, or is of other settings or data.
    """
    if not plan.results_file.exists():
        return []
    found: list[Finished] = []
    for number, line in read_lines(plan.results_file):
        place = f"{plan.results_file}:{number}"
        content = parse_json(line, plan.results_file, number)
        try:
            if number == 1:
                differing = _differing(content, base)
            else:
                found.append(Finished(**content))
                differing = _differing_definition(plan, found[-1])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UserError(f"{place}: is no line of an ablation; name another --output") from None
        if differing:
            raise UserError(
                f"{place}: holds results of other {', '.join(differing)}, which cannot be compared "
                "with these; name another --output"
            )
    return found


def _differing_definition(plan: Ablation, line: Finished) -> list[str]:
    """As `_differing`, of a run and its variant as it is defined now."""
    for split in plan.splits:
        for measure in MEASURES:
            float(line.results[split][measure])  # Whatever else it is, it is no measure.
    variant = VARIANTS[line.variant]
    was, now = dict(line.training), plan.changes(variant)
    for key in FREE:
        was.pop(key, None)
        now.pop(key, None)
    return [
        *_differing(was, now, "training."),
        *_differing(line.evaluation, variant.evaluation, "evaluation."),
    ]


def _differing(
    found: Mapping[str, Any], expected: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """The keys, at any depth, in which two objects differ, with values other than checksums."""
    differing = []
    for key in sorted(found.keys() | expected.keys()):
        ours, theirs, name = expected.get(key), found.get(key), f"{prefix}{key}"
        if isinstance(ours, dict) and isinstance(theirs, dict):
            differing += _differing(theirs, ours, f"{name}.")
        elif ours != theirs:
            values = "" if prefix == "contents." else f" ({shown(theirs)} → {shown(ours)})"
            differing.append(name + values)
    return differing


def _write_results(plan: Ablation, base: Mapping[str, Any], finished: Sequence[Finished]) -> None:
    rows = [base, *(asdict(line) for line in finished)]
    write_text(plan.results_file, "".join(f"{json.dumps(row)}\n" for row in rows))


def _run(plan: Ablation, name: str, seed: int, run_command: Runner) -> Finished:
    """Trains and evaluates a variant with a seed."""
    variant = VARIANTS[name]
    log_path, changes = plan.log_path(variant, seed), plan.changes(variant)
    places = {"seed": seed, "log_path": log_path, "cache_dir": plan.output / "features"}
    base = ["--config", str(plan.output / BASE)]
    run_command(["train.py", *base, "--set", *_assignments(changes | places)])
    results = plan.output / "results" / f"{name}_seed={seed}"
    test = ["test.py", "--splits", *plan.splits, "--output", str(results), "--overwrite"]
    settings = _assignments(dict(variant.evaluation))
    overrides = ["--set", *settings] if settings else []
    with tempfile.TemporaryDirectory(dir=plan.output) as folder:
        dump = Path(folder) / "dump.jsonl"
        masks = ["--dump", str(dump), "--dump_masks"] if variant.cut_masks else []
        run_command([*test, "--weights", str(log_path / variant.weights), *overrides, *masks])
        if variant.cut_masks:
            for file in dump.parent.iterdir():
                cut_masks(file, plan.config.input_size)
            cut = ["--predictions", str(dump), "--name", "cut", *base]
            run_command([*test, *cut])
    begin = "cut" if variant.cut_masks else Path(plan.config.evaluate_set).parent.name
    return Finished(
        name,
        seed,
        changes,
        dict(variant.evaluation),
        {split: _measures(results / f"{begin}_{split}" / "result.json") for split in plan.splits},
    )


def _measures(path: Path) -> dict[str, float]:
    result = parse_json(path.read_bytes(), path)
    return {measure: result[measure] for measure in MEASURES}


def _assignments(changes: Mapping[str, Any]) -> list[str]:
    """Settings as "key=value"."""
    return [f"{key}={value}" for key, value in changes.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    add_output_argument(
        parser, None, "folder of all trainings and results (default: log/ablation_<config>)"
    )
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME",
        help=f"what to compare, of {', '.join(VARIANTS)} (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)"
    )
    parser.add_argument(
        "--splits", nargs="+", default=["val", "testA", "testB"], metavar="SPLIT",
        help="splits to evaluate (default: val testA testB)",
    )  # fmt: skip
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="Markdown file that gets the table, too"
    )
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")
    output = options.output or PROJECT_ROOT / "log" / f"ablation_{Path(options.config).stem}"
    plan = Ablation(
        load_config(options.config, options.overrides),
        Path(output).absolute(),
        tuple(dict.fromkeys(options.variants)),
        options.seeds,
        tuple(dict.fromkeys(options.splits)),
    )
    if options.document is not None:
        placed(options.document, "ablation", "")  # Refused now, not after hours.
    table = ablate(plan, run_program)
    print(f"\n{table}\nWritten to {plan.output / TABLE}")
    if options.document is not None:
        write_text(options.document, placed(options.document, "ablation", table))


if __name__ == "__main__":
    run(main, "Finished runs are kept; run the same command again to resume.")
