"""3×3 convolutions with wide dilation on the CPU: without the products that read only padding."""

import keras
import tensorflow as tf

# Cropped taps cost passes over memory of their own; they pay from this share of padding on.
PAYS_FROM = 0.25
# With fewer channels the products are too cheap to make up for it.
PAYS_FROM_CHANNELS = 256


@keras.saving.register_keras_serializable("mcn")
class DilatedConv2D(keras.layers.Conv2D):
    """A `same` convolution with dilation, as nine shifted 1×1 convolutions where that is faster.

    A tap shifted by the dilation d reads beyond the border for d of n rows or columns. On a
    52×52 grid that is 41 % of all products at d = 18 and 28 % at d = 12. Each tap is computed for
    the positions that it reaches, and added there: the same sum in another order. GPUs keep the
    library's kernel.
    """

    def convolution_op(self, inputs, kernel):
        if not self.crops(inputs.shape):
            return super().convolution_op(inputs, kernel)
        reach = self.dilation_rate[0]
        output = tf.nn.conv2d(inputs, kernel[1:2, 1:2], 1, "VALID")
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                if row or column:
                    tap = kernel[row + 1 : row + 2, column + 1 : column + 2]
                    output += _shifted(inputs, tap, row * reach, column * reach)
        return output

    def crops(self, shape):
        """Whether inputs of this shape (N, H, W, C) are convolved tap by tap."""
        reach = self.dilation_rate[0]
        height, width = shape[1:3]
        if self.kernel_size != (3, 3) or reach >= min(height, width):
            return False
        if shape[3] < PAYS_FROM_CHANNELS:
            return False
        rows, columns = (1 + 2 * (1 - reach / side) for side in (height, width))
        return 1 - rows * columns / 9 >= PAYS_FROM and not tf.config.list_physical_devices("GPU")


def _shifted(inputs, tap, down, right):
    """A 1×1 convolution of the inputs shifted up and left by (down, right), zeros beyond."""
    height, width = inputs.shape[1:3]
    # tf.slice and not brackets: its gradient is tf.pad, ten times faster than StridedSliceGrad.
    seen = tf.slice(
        inputs,
        (0, max(down, 0), max(right, 0), 0),
        (-1, height - abs(down), width - abs(right), -1),
    )
    borders = [[0, 0], [max(-down, 0), max(down, 0)], [max(-right, 0), max(right, 0)], [0, 0]]
    return tf.pad(tf.nn.conv2d(seen, tap, 1, "VALID"), borders)
