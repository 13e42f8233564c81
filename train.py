"""Trains MCN as a config describes; the same command resumes a run that was stopped.

    python train.py --config config/config.json
    python train.py --config config/demo.json --set batch_size=8 epoches=20

Writes to log_path: last.state.h5 and previous.state.h5 (to resume from), best.weights.h5 (best box
accuracy so far; others with best_seg or ema, see docs/recipes.md), epochs.jsonl, config.json,
versions.json, curves.png and events for TensorBoard. The state is saved every save_every_minutes,
after each epoch, and when the training is stopped by Ctrl-C, SIGTERM or SIGHUP.
"""

import argparse

from config.command_line import add_config_arguments, run
from config.quiet import expect_changing_weights, quiet_tensorflow
from config.schema import load_config


def main() -> None:
    parser = add_config_arguments(argparse.ArgumentParser(description=__doc__))
    parser.add_argument(
        "--resume",
        choices=("auto", "force"),
        default="auto",
        help="auto resumes a run if its settings fit; force resumes it with any others that leave "
        "the variables of network and optimizer as they are",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="start afresh; once everything is loaded, an earlier run in log_path is moved to "
        "<log_path>.old-<date>",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="run two training steps and two batches of validation, write nothing, and ignore "
        "cache_features",
    )
    arguments = parser.parse_args()
    remarks: list[str] = []
    config = load_config(arguments.config, arguments.overrides, report=remarks.append)
    expect_changing_weights()
    quiet_tensorflow()

    from utils.training.builder import train
    from utils.training.run.terminal import best_lines, epochs_table

    state = train(
        config,
        overwrite=arguments.overwrite,
        force=arguments.resume == "force",
        dry_run=arguments.dry_run,
        remarks=remarks,
    )
    if state is not None and state.best_det_acc is not None:
        thresh = state.settings["det_acc_thresh"]
        print(epochs_table(state.history, thresh, state.best_epoch))
        print("\n".join(best_lines(state.bests, thresh, config.log_path, config.best_of)))


if __name__ == "__main__":
    run(
        main,
        "Run the same command, without --overwrite, to resume where it stopped.",
        "Nothing was trained, and an earlier run in log_path is unchanged; run the same command "
        "again.",
    )
