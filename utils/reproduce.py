"""Reproduces the published figures of one data set, from the downloads to the table.

    python -m utils.reproduce refcoco
    python -m utils.reproduce refcoco+ --backbone vgg

runs, each as a command of its own, data/download.py, data/data_process.py, data/check.py, train.py
and test.py on all evaluation splits, and writes the figures beside the published ones to
result/<data set>/README.md (result/<data set>_vgg/README.md). Run the same command again to resume:
what is complete is not done again.
"""

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.command_line import add_output_argument, run
from config.errors import UserError
from config.files import file_sha256, write_text
from config.json_text import parse_json, read_lines
from config.run_files.commands import DIVISIONS, download_of
from config.run_files.released import BACKBONES, DATASETS, SCORES
from config.run_folder import BEST_WEIGHTS
from config.schema import PROJECT_ROOT, Config, load_config
from config.signals import Stopped
from data.preparation.manifest import read_manifest
from data.preparation.wording import plural
from data.support.sealing import json_object

DATA = PROJECT_ROOT / "data"
# Settings that name files which the downloads and the preparation write.
DATA_KEYS = (
    "train_set", "evaluate_set", "seg_gt_path", "image_path", "word_embed", "pretrained_weights",
)  # fmt: skip
DOWNLOADED_KEYS = ("image_path", "word_embed", "pretrained_weights")
METRICS = {"det_acc": "REC Acc@0.5", "seg_iou": "RES mean IoU"}

Runner = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class Plan:
    """What to reproduce, and where.

    Attributes:
        dataset, backbone: as in `config.run_files.released`.
        data: folder of the downloads and the prepared set.
        output: folder of the results.
        changes: settings "key=value" beyond those of the shipped config.
    """

    dataset: str
    backbone: str
    data: Path
    output: Path
    changes: tuple[str, ...] = ()

    @property
    def config_file(self) -> str:
        """The shipped config, relative to the project."""
        stem = "config" if self.dataset == "refcoco" else self.dataset
        return f"config/{stem}{'' if self.backbone == 'darknet' else '_vgg'}.json"

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings "key=value" to pass to each command."""
        if self.data == DATA:
            return self.changes
        shipped = load_config(PROJECT_ROOT / self.config_file)
        paths = {key: Path(getattr(shipped, key)) for key in DATA_KEYS}
        moved = (
            f"{key}={self.data / path.relative_to(DATA)}"
            for key, path in paths.items()
            if path.is_relative_to(DATA)
        )
        return (*moved, *self.changes)

    @property
    def config(self) -> Config:
        """The settings of the training."""
        return load_config(PROJECT_ROOT / self.config_file, self.settings)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits with published figures."""
        return tuple(SCORES[self.dataset, self.backbone])

    @property
    def weights(self) -> Path:
        """The weights that are evaluated."""
        return Path(self.config.log_path) / BEST_WEIGHTS


def reproduce(plan: Plan, run_command: Runner) -> str:
    """Runs all steps and writes the table.

    Args:
        plan: what to reproduce.
        run_command: runs a program of the project, given as arguments of Python, and raises a
            `UserError` if it fails.

    Returns:
        The table, in Markdown.

    Raises:
        UserError: a step failed; what is complete stays.
    """
    config, data = plan.config, str(plan.data)
    of_config = ["--config", plan.config_file, *_set(plan.settings)]
    names = [download_of(getattr(config, key)) for key in DOWNLOADED_KEYS]
    wanted = dict.fromkeys([plan.dataset, *(name for name in names if name is not None)])
    run_command(["data/download.py", *wanted, "--output", data])
    if not _is_prepared(plan):
        run_command(
            [
                *("data/data_process.py", "--data_root", f"{data}/raw", "--output_dir", data),
                *("--dataset", plan.dataset, "--split", DIVISIONS[plan.dataset]),
                "--generate_mask",
            ]
        )
    run_command(["data/check.py", *of_config])
    run_command(["train.py", *of_config])
    if not _is_evaluated(plan):
        run_command(
            [
                *("test.py", *of_config, "--weights", str(plan.weights)),
                *("--splits", *plan.splits, "--output", str(plan.output), "--overwrite"),
            ]
        )
    table = _table(plan)
    write_text(plan.output / "README.md", table)
    return table


def _set(changes: Sequence[str]) -> list[str]:
    return ["--set", *changes] if changes else []


def _is_prepared(plan: Plan) -> bool:
    """Whether the lines and masks of this division exist, and are whole."""
    lines = plan.data / "anns" / plan.dataset
    manifest, masks = read_manifest(lines), read_manifest(plan.data / "masks" / plan.dataset)
    return (
        manifest is not None
        and masks is not None
        and manifest.id == masks.id
        and manifest.division == DIVISIONS[plan.dataset]
        and all(
            (lines / name).is_file() and file_sha256(lines / name) == digest
            for name, digest in manifest.files.items()
        )
    )


def _result_file(plan: Plan, split: str) -> Path:
    return plan.output / f"{plan.dataset}_{split}" / "result.json"


def _is_evaluated(plan: Plan) -> bool:
    """Whether the results of these weights, settings and annotations exist on all splits."""
    weights = file_sha256(plan.weights)
    for split in plan.splits:
        lines = Path(plan.config.evaluate_set).with_name(f"{split}.txt")
        config = plan.config.replace(evaluate_model=str(plan.weights), evaluate_set=str(lines))
        result, settings = json_object(_result_file(plan, split)), vars(config)
        recorded = result.get("settings", {})
        if (
            result.get("weights_sha256") != weights
            or result.get("data_sha256", {}).get("evaluate_set") != file_sha256(lines)
            or any(settings[key] != recorded[key] for key in settings.keys() & recorded.keys())
        ):
            return False
    return True


def _table(plan: Plan) -> str:
    """The figures of all splits, with what they were computed with, in Markdown."""
    title = f"{DATASETS[plan.dataset]}, {BACKBONES[plan.backbone]}"
    head = [
        f"{name} {of}" for name in METRICS.values() for of in ("ours", "published", "difference")
    ]
    lines = [f"# {title}", "", f"| split | {' | '.join(head)} |", "|---" * (1 + len(head)) + "|"]
    for split in plan.splits:
        path = _result_file(plan, split)
        result = parse_json(path.read_bytes(), path)
        cells = [split]
        for metric, published in zip(
            METRICS, SCORES[plan.dataset, plan.backbone][split], strict=True
        ):
            ours = round(100 * result[metric], 2)
            cells += [f"{ours:.2f}", f"{published:.2f}", f"{ours - published:+.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    log = Path(plan.config.log_path)
    records = log / "epochs.jsonl"
    epochs = [parse_json(line, records, number) for number, line in read_lines(records)]
    hours = sum(epoch["train"]["seconds"] for epoch in epochs) / 3600
    versions = parse_json((log / "versions.json").read_bytes(), log / "versions.json")
    duration = f"{plural(len(epochs), 'epoch')} in {hours:.1f} hours"
    lines += [
        "",
        "In percent. Published: the released checkpoint, as reported in its authors' README.",
        "",
        f"- {duration} of training steps, without validation",
        *(f"- {name}: {version}" for name, version in versions.items() if version is not None),
        f"- settings: {plan.config_file}" + "".join(f" {change}" for change in plan.settings),
        f"- weights: {plan.weights}, SHA-256 {file_sha256(plan.weights)}",
        "",
    ]
    return "\n".join(lines)


def run_program(arguments: Sequence[str]) -> None:
    """Runs a program of the project. A signal to stop is passed on, and the program's end awaited.

    Raises:
        UserError: it failed; it has printed the reason.
    """
    print(f"\n$ python {shlex.join(arguments)}", flush=True)
    # In a group of its own, so that the program gets Ctrl-C of the terminal only once.
    process = subprocess.Popen([sys.executable, *arguments], cwd=PROJECT_ROOT, process_group=0)
    try:
        process.wait()
    except KeyboardInterrupt as stop:
        code = stop.exit_code - 128 if isinstance(stop, Stopped) else signal.SIGINT
        process.send_signal(code)
        process.wait()
        raise
    if process.returncode:
        raise UserError(
            f"{arguments[0]} ended with exit code {process.returncode}, see above; what is "
            "complete is kept, and the same command resumes"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m utils.reproduce", description=__doc__)
    parser.add_argument("dataset", choices=list(DATASETS), help="data set")
    parser.add_argument("--backbone", choices=list(BACKBONES), default="darknet")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of downloads and prepared sets"
    )
    add_output_argument(parser, None, "folder of the results (default: result/<data set>)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="settings that differ from the published ones",
    )
    options = parser.parse_args(arguments)
    suffix = "" if options.backbone == "darknet" else f"_{options.backbone}"
    output = Path(options.output or PROJECT_ROOT / "result" / f"{options.dataset}{suffix}")
    plan = Plan(
        options.dataset,
        options.backbone,
        options.data.absolute(),
        output.absolute(),
        tuple(options.changes),
    )
    print(f"\n{reproduce(plan, run_program)}\nWritten to {output}/README.md")


if __name__ == "__main__":
    run(main, "What is complete is kept; run the same command again to resume.")
