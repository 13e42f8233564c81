"""The recurrent cells of Keras 2.2.4 with only what depends on the state inside the loop.

Keras multiplies each word's inputs, and cuts the recurrent kernel into its gates, anew at every
step, forward and backward; with 1024 units that is more work than the recurrence. Here the inputs
of all words are multiplied at once and the kernel is cut once. Variables and results are those of
Keras' layers with a bias and without recurrent dropout, which are all that the text branch has.
"""

import keras
import tensorflow as tf
from keras import ops


class _Loop:
    """In place of a Keras recurrent layer's `inner_loop`; `_make_step` gives the cell's."""

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """(N, T, D), states of (N, u), (N, T) bool or None → last output, outputs, states."""
        if training and self.cell.dropout:
            # One mask for all words of an expression.
            sequences = sequences * self.cell.get_dropout_mask(sequences[:, 0])[:, None]
        steps = [ops.matmul(sequences, self.cell.kernel) + self.cell.bias]
        if mask is not None:
            steps.append(mask[0] if isinstance(mask, list | tuple) else mask)
        if self.go_backwards:
            steps = [tf.reverse(part, [1]) for part in steps]
        # Words first.
        steps = [tf.transpose(part, (1, 0, *range(2, part.shape.rank))) for part in steps]
        step = self._make_step()

        def advance(states, inputs):
            projected, *seen = inputs
            changed = step(states, projected)
            if not seen:
                return changed
            # A masked word leaves everything as it was.
            return [
                tf.where(seen[0][:, None], new, old)
                for new, old in zip(changed, states, strict=True)
            ]

        if self.unroll:
            states, history = initial_state, []
            for word in zip(*(tf.unstack(part) for part in steps), strict=True):
                states = advance(states, word)
                history.append(states)
            history = [tf.stack(part) for part in zip(*history, strict=True)]
        else:
            history = tf.scan(advance, steps, initial_state)
        last = [part[-1] for part in history]
        return last[0], tf.transpose(history[0], (1, 0, 2)), last


@keras.saving.register_keras_serializable("mcn")
class GRU(_Loop, keras.layers.GRU):
    """`keras.layers.GRU`, the reset gate applied before the product with the state.

    Sequences (N, T, D) of the layer's dtype to (N, T, units), or (N, units) without
    return_sequences; a masked step leaves the state as it was.
    """

    def __init__(self, units, **kwargs):
        super().__init__(units, **{**kwargs, "reset_after": False})

    def _make_step(self):
        cell, units = self.cell, self.cell.units
        of_gates, of_candidate = tf.split(
            tf.convert_to_tensor(cell.recurrent_kernel), [2 * units, units], axis=1
        )

        def step(states, projected):
            (h,) = states
            gates, candidate = tf.split(projected, [2 * units, units], axis=1)
            gates = cell.recurrent_activation(gates + tf.matmul(h, of_gates))
            update, reset = tf.split(gates, 2, axis=1)
            candidate = cell.activation(candidate + tf.matmul(reset * h, of_candidate))
            return [update * h + (1.0 - update) * candidate]

        return step


@keras.saving.register_keras_serializable("mcn")
class LSTM(_Loop, keras.layers.LSTM):
    """`keras.layers.LSTM`, shapes as `GRU`."""

    def _make_step(self):
        cell = self.cell
        kernel = tf.convert_to_tensor(cell.recurrent_kernel)

        def step(states, projected):
            h, c = states
            gates = tf.split(projected + tf.matmul(h, kernel), 4, axis=1)
            into, forget, candidate, out = gates
            into, forget, out = (cell.recurrent_activation(x) for x in (into, forget, out))
            c = forget * c + into * cell.activation(candidate)
            return [out * cell.activation(c), c]

        return step
