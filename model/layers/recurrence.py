"""The recurrent cells of Keras 2.2.4, with only state-dependent work inside the loop.

Keras multiplies the inputs of each word and splits the recurrent kernel into its gates anew at
every step, forward and backward; with 1024 units that costs more than the recurrence itself. Here
the inputs of all words are multiplied at once, the kernel is split once, and the loop is unrolled
over the fixed number of words. Variables and results are those of Keras' layers; the input dropout
is that of Keras 2.2.4, with one mask per gate (Keras 3 draws one for all gates).
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from model.layers.dropout import dropout_mask

Step = Callable[[list[tf.Tensor], tf.Tensor], list[tf.Tensor]]


@keras.saving.register_keras_serializable("mcn")
def hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """clip(0.2·x + 0.5, 0, 1): the gate activation of Keras 2.2.4. Keras 3's has slope 1/6."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


class _UnrolledLoop(keras.layers.RNN):
    """Mixin that replaces Keras' `inner_loop`; `_make_step` of a subclass returns one time step."""

    def _make_step(self) -> Step:
        raise NotImplementedError

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        name = type(self).__name__
        if self.cell.recurrent_dropout:
            raise ValueError(f"{name} has no recurrent dropout: `recurrent_dropout` must be 0")
        if not self.cell.use_bias:
            raise ValueError(f"{name} always has a bias: `use_bias` must be True")

    def _maybe_config_dropout_masks(self, *_: object) -> None:
        """Draws no mask before `inner_loop`, which draws one only in training.

        Keras draws it in inference as well, where it is not used: evaluations would then change the
        dropout of the training steps after them.
        """

    def inner_loop(
        self,
        sequences: tf.Tensor,
        initial_state: list[tf.Tensor],
        mask: tf.Tensor | None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Runs the cell over all words.

        Args:
            sequences: (N, T, D), T fixed.
            initial_state: tensors (N, units).
            mask: (N, T) bool, False where a step leaves the state unchanged; or None.
            training: whether to apply the input dropout, with one mask per gate and expression.

        Returns:
            (last output (N, units), outputs (N, T, units), final states).
        """
        projected = self._project(sequences, training)  # (N, T, gates·units)
        projected = tf.unstack(projected, axis=1)
        if mask is None:
            keep = [None] * len(projected)
        else:
            keep = tf.unstack(mask[0] if isinstance(mask, list | tuple) else mask, axis=1)
        if self.go_backwards:
            projected, keep = projected[::-1], keep[::-1]
        step, states, outputs = self._make_step(), initial_state, []
        for inputs, unmasked in zip(projected, keep, strict=True):
            new_states = step(states, inputs)
            if unmasked is not None:
                new_states = [
                    tf.where(unmasked[:, None], new, old)
                    for new, old in zip(new_states, states, strict=True)
                ]
            states = new_states
            outputs.append(states[0])
        return outputs[-1], tf.stack(outputs, axis=1), states

    def _project(self, sequences: tf.Tensor, training: bool) -> tf.Tensor:
        """Multiplies the inputs of all words: (N, T, D) → (N, T, gates·units)."""
        cell, kernel = self.cell, tf.convert_to_tensor(self.cell.kernel)
        if not (training and cell.dropout):
            return tf.matmul(sequences, kernel) + cell.bias
        # As in Keras 2.2.4, each gate has a mask of its own, which is the same for all words.
        words, width = sequences.shape[1:]
        gates = kernel.shape[1] // cell.units
        shape = (gates, tf.shape(sequences)[0], 1, width)
        masks = dropout_mask(shape, 1, cell.dropout, cell.seed_generator, sequences.dtype)
        masked = tf.reshape(sequences * masks, (gates, -1, width))  # (gates, N·T, D)
        kernels = tf.transpose(tf.reshape(kernel, (width, gates, cell.units)), (1, 0, 2))
        projected = tf.transpose(tf.matmul(masked, kernels), (1, 0, 2))  # (N·T, gates, units)
        return tf.reshape(projected, (-1, words, gates * cell.units)) + cell.bias


@keras.saving.register_keras_serializable("mcn")
class GRU(_UnrolledLoop, keras.layers.GRU):
    """`keras.layers.GRU` with the reset gate applied before the recurrent product.

    Takes (N, T, D) with a fixed T; returns (N, T, units), or (N, units) without
    `return_sequences`. A masked step leaves the state unchanged.

    Args:
        units: width of the cell.
        reset_after: False; the argument exists because Keras' own default is True.
        **kwargs: of `keras.layers.GRU`.

    Raises:
        ValueError: `reset_after` or `recurrent_dropout` is set, or `use_bias` is False.
    """

    def __init__(self, units: int, reset_after: bool = False, **kwargs: Any) -> None:
        if reset_after:
            raise ValueError(
                "GRU applies the reset gate before the product: `reset_after` must be False"
            )
        super().__init__(units, reset_after=False, **kwargs)

    def _make_step(self) -> Step:
        cell, units = self.cell, self.cell.units
        gates_kernel, candidate_kernel = tf.split(
            tf.convert_to_tensor(cell.recurrent_kernel), [2 * units, units], axis=1
        )

        def step(states: list[tf.Tensor], projected: tf.Tensor) -> list[tf.Tensor]:
            (h,) = states
            gates, candidate = tf.split(projected, [2 * units, units], axis=1)
            gates = cell.recurrent_activation(gates + tf.matmul(h, gates_kernel))
            update, reset = tf.split(gates, 2, axis=1)
            candidate = cell.activation(candidate + tf.matmul(reset * h, candidate_kernel))
            return [update * h + (1.0 - update) * candidate]

        return step


@keras.saving.register_keras_serializable("mcn")
class LSTM(_UnrolledLoop, keras.layers.LSTM):
    """`keras.layers.LSTM`; shapes, and the arguments that are refused, as for `GRU`."""

    def _make_step(self) -> Step:
        cell = self.cell
        kernel = tf.convert_to_tensor(cell.recurrent_kernel)

        def step(states: list[tf.Tensor], projected: tf.Tensor) -> list[tf.Tensor]:
            h, c = states
            gates = tf.split(projected + tf.matmul(h, kernel), 4, axis=1)
            input_gate, forget_gate, candidate, output_gate = gates
            input_gate, forget_gate, output_gate = (
                cell.recurrent_activation(x) for x in (input_gate, forget_gate, output_gate)
            )
            c = forget_gate * c + input_gate * cell.activation(candidate)
            return [output_gate * cell.activation(c), c]

        return step
