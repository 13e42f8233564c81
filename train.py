"""Trains MCN as a config describes; the same command resumes a run that was stopped.

    python train.py --config config/config.json
    python train.py --config config/demo.json --set batch_size=8 epoches=20

Writes to log_path: last.state.h5 (to resume from), best.weights.h5 (best box accuracy so far),
epochs.jsonl, config.json, versions.json, curves.png and tensorboard/.
"""

import argparse

from config.command_line import add_config_arguments, run
from config.quiet import quiet_tensorflow
from config.schema import load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    arguments = add_config_arguments(parser).parse_args()
    config = load_config(arguments.config, arguments.overrides)
    quiet_tensorflow()

    from utils.training.builder import build_trainer

    state = build_trainer(config).run()
    if state.best_det_acc is not None:
        print(
            f"Best Acc@{config.det_acc_thresh:g} {100 * state.best_det_acc:.2f} % after epoch "
            f"{state.best_epoch}: {config.log_path}/best.weights.h5"
        )


if __name__ == "__main__":
    run(main, "Run the same command to resume from the last complete epoch, if there is one.")
