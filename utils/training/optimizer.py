"""Adam with the published constants, for one replica or several."""

from collections.abc import Sequence

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
    """

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
    lr: float, clip_norm: float = 0.0, precision: str = "float32"
) -> keras.optimizers.Optimizer:
    """Builds Adam, with loss scaling if the network computes in float16.

    Args:
        lr: initial learning rate; the training loop sets it before every step.
        clip_norm: global norm to which gradients are clipped; 0 turns clipping off.
        precision: the config key.
    """
    adam = Adam(lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7, global_clipnorm=clip_norm or None)
    if precision != "mixed_float16":
        return adam
    return keras.optimizers.LossScaleOptimizer(adam, initial_scale=INITIAL_LOSS_SCALE)
