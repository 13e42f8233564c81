"""Trains MCN as a config describes; the same command resumes a run that was stopped.

    python train.py --config config/config.json
    python train.py --config config/demo.json --set batch_size=8 epoches=20

Writes to log_path: last.state.h5 (to resume from), best.weights.h5 (best validation Acc@0.5),
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

    from utils.training.trainer import Trainer

    progress = Trainer(config).run()
    best = progress.get("best_det_acc")
    if best is not None:
        print(
            f"Best Acc@0.5 {100 * best:.2f} % after epoch {progress['best_epoch']}: "
            f"{config.log_path}/best.weights.h5"
        )


if __name__ == "__main__":
    run(main, "The last complete epoch is saved; run the same command to resume.")
