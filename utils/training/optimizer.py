"""Adam with the published constants, for one replica or several, and averages of the weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

# Keras begins with 2^15, at which the first steps overflow and are lost.
INITIAL_LOSS_SCALE = 2.0**9


class Adam(keras.optimizers.Adam):
    """Keras' Adam for gradients that are already summed over the replicas, by one kernel.

    Keras sums them itself, but only after clipping and after the loss scale has been checked for
    overflow, so that both see the gradients of a single replica. The training step sums them
    beforehand. Keras also updates a variable by a dozen operations, each a pass over the memory of
    the variable or its moments; TensorFlow has a kernel that does the same in one.

    Args:
        *args, **kwargs: of `keras.optimizers.Adam`.
        ema: decay d of the averages of the variables; 0 keeps none. Update number t, counted from
            0, makes each average d_t · average + (1 − d_t) · variable with the variable's new value
            and d_t = min(d, t / (t + 9)), so that first values are forgotten soon.

    Attributes:
        averages: the averages, one per variable, which are part of `variables`; empty without.
    """

    def __init__(self, *args: Any, ema: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ema = ema
        self.averages: list[keras.Variable] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates moments, and averages if there are any."""
        if self.built:
            return
        super().build(variables)
        if self.ema:
            self.averages = self.add_optimizer_variables(variables, "average")

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        step = tf.cast(self.iterations.value, tf.float32) + 1.0
        beta_1_power, beta_2_power = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            index = self._get_variable_index(variable)
            # On several replicas, each handle is that of the replica's own copy.
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=beta_1_power,
                beta2_power=beta_2_power,
                lr=learning_rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )
            if self.averages:
                decay = tf.minimum(self.ema, (step - 1.0) / (step + 8.0))
                average = self.averages[index].value.handle
                value, mean = (
                    tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
                    for handle in (variable.value.handle, average)
                )
                tf.raw_ops.AssignSubVariableOp(
                    resource=average, value=(1.0 - decay) * (mean - value)
                )


@contextmanager
def averaged_weights(
    variables: Sequence[keras.Variable], optimizer: keras.optimizers.Optimizer
) -> Iterator[None]:
    """Gives variables their averages during a `with` block, and their values back after it.

    Call it in cross-replica context, in every process. Before the first update, the averages are
    the values themselves.

    Args:
        variables: that the optimizer was built with.
        optimizer: of `build_optimizer` with `ema`.
    """
    updated = optimizer.iterations.numpy() > 0
    averages = getattr(optimizer, "inner_optimizer", optimizer).averages if updated else variables
    kept = [variable.numpy() for variable in variables]
    try:
        for variable, average in zip(variables, averages, strict=True):
            variable.assign(average.numpy())
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)


def update_if(
    finite: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
) -> None:
    """Updates variables, or changes nothing. Call it in replica context.

    Args:
        finite: (), bool, whether to update; equal on all replicas.
        optimizer: of `build_optimizer`, already built.
        gradients: summed over the replicas.
        variables: what to update.
    """

    def update(gradients):
        optimizer.apply(gradients, variables)
        return True

    def in_all_replicas(strategy, finite, gradients):
        # Within a branch, only a cross-replica context lets the optimizer combine the replicas.
        run = strategy.extended.call_for_each_replica
        first = strategy.experimental_local_results(finite)[0]
        tf.cond(first, lambda: bool(run(update, args=(gradients,))), lambda: False)

    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        tf.cond(finite, lambda: update(gradients), lambda: False)
    else:
        context.merge_call(in_all_replicas, args=(finite, gradients))


def build_optimizer(
    lr: float, clip_norm: float = 0.0, precision: str = "float32", ema: float = 0.0
) -> keras.optimizers.Optimizer:
    """Builds Adam, with loss scaling if the network computes in float16.

    Args:
        lr: initial learning rate; the training loop sets it before every step.
        clip_norm: global norm to which gradients are clipped; 0 turns clipping off.
        precision: the config key.
        ema: decay of the averages of the weights; 0 keeps none.
    """
    adam = Adam(
        lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7, global_clipnorm=clip_norm or None, ema=ema
    )
    if precision != "mixed_float16":
        return adam
    return keras.optimizers.LossScaleOptimizer(adam, initial_scale=INITIAL_LOSS_SCALE)
