"""Trains as a config says, and records every step.

    python recorded_run.py CONFIG OUTPUT DEVICES

Writes the losses and rows of each step of this process, the variables after the last epoch, the
metrics of each epoch and those of an evaluation in one piece to
OUTPUT.<process>.npz. The CPU is divided into DEVICES devices.
"""

import json
import sys

import numpy as np
import tensorflow as tf

from config.schema import load_config
from tests.tiny import scramble
from utils.training.builder import build_trainer


def main(config_path, output, devices):
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * int(devices)
    )
    trainer = build_trainer(load_config(config_path))
    strategy, read = trainer.processes.strategy, trainer._steps.read
    decoded = count_decoded(trainer)
    if not trainer.checkpoints.found:
        scramble(trainer.model)
    losses, rows = [], []

    def recorded(state, unread, *on_step):
        for of_replicas, result in unread:
            losses.append({name: float(value) for name, value in result.items()})
            parts = strategy.experimental_local_results(of_replicas)
            rows.append([part.numpy().tolist() for part in parts])
        return read(state, unread, *on_step)

    trainer._steps.read = recorded
    state = trainer.run()
    alone = trainer.evaluators["val"].evaluate(trainer.grounder, trainer.config.word_len)
    arrays = {f"loss/{name}": [each[name] for each in losses] for name in losses[0]}
    arrays |= {f"weight/{v.path}": v.numpy() for v in trainer.model.variables}
    arrays |= {f"optimizer/{v.path}": v.numpy() for v in trainer.optimizer.variables}
    np.savez(
        f"{output}.{trainer.processes.index}.npz",
        rows=json.dumps(rows),
        history=json.dumps([record["val"] for record in state.history]),
        alone=json.dumps(alone),
        traces=trainer._step.experimental_get_tracing_count(),
        decoded=decoded[0],
        **arrays,
    )


def count_decoded(trainer):
    """Counts the training samples that this process loads."""
    count, sample_at = [0], type(trainer.training_set).sample_at

    def counted(self, *arguments):
        count[0] += 1
        return sample_at(self, *arguments)

    type(trainer.training_set).sample_at = counted
    return count


if __name__ == "__main__":
    main(*sys.argv[1:])
