"""Where a training step runs: one device, the GPUs of a machine, or several machines."""


def make_strategy(name):
    """The tf.distribute strategy of the config key `distribute`.

    Args:
        name: "one": the default device; "mirrored": every GPU of this machine; "multiworker":
            the machines that the environment variable TF_CONFIG lists.

    Returns:
        tf.distribute.Strategy. Make it before anything else of TensorFlow is used: workers can
        only meet at the start of a program.
    """
    import tensorflow as tf

    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy):
    """Whether this process writes checkpoints and logs: one process of each run does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker" and resolver.task_id == 0
    )


def distribute(strategy, dataset):
    """Splits the batches of a tf.data.Dataset among the replicas of a strategy."""
    import tensorflow as tf

    if strategy.num_replicas_in_sync == 1:
        return dataset
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(dataset.with_options(options))
