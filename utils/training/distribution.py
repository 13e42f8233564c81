"""Where a training step runs: on one device, on all GPUs of a machine, or on several machines."""

import tensorflow as tf

from config.quiet import quiet_tensorflow


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Creates the tf.distribute strategy of the config key `distribute`.

    Call it before TensorFlow is used for anything else: workers can only connect to each other
    when a program starts.

    Args:
        name: "one", the default device; "mirrored", all GPUs of this machine; "multiworker", the
            machines listed in the environment variable TF_CONFIG.
    """
    quiet_tensorflow()  # Enables memory growth in programs that did not call it themselves.
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints and logs, which only one process of a run does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker" and resolver.task_id == 0
    )


def distribute(
    strategy: tf.distribute.Strategy, dataset: tf.data.Dataset
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Splits the batches of a dataset among the replicas of a strategy."""
    if strategy.num_replicas_in_sync == 1:
        return dataset
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(dataset.with_options(options))
