"""The letterbox and its inverse as TensorFlow operations, for exported files.

`data.loading.letterbox` uses Pillow and OpenCV. Here, resizing is a product with matrices that the
graph computes from the image's height and width, since the resize operations of other runtimes
follow different conventions. All geometry is computed in 32-bit integers: TFLite has no doubles,
and float32 weights would be inaccurate for large images.
"""

import tensorflow as tf

from data.loading.letterbox import GRAY, Letterbox

BICUBIC_A = -0.5
BICUBIC_REACH = 2
MANTISSA_BITS = 52


def fit_in_graph(height: tf.Tensor, width: tf.Tensor, input_size: int) -> Letterbox:
    """`Letterbox.fit` for a size that is only known when the graph runs.

    Args:
        height, width: of the image in pixels, int32 scalars, up to 2¹⁷.
        input_size: side of the square, a Python integer.

    Returns:
        Letterbox whose fields are int32 scalars; its property `scale` cannot be used.
    """
    longer = tf.reshape(tf.maximum(height, width), (1,))
    new_sides = tf.maximum(scaled_side(tf.stack([height, width]), longer, input_size), 1)
    new_height, new_width = tf.unstack(new_sides)
    return Letterbox.centered(width, height, input_size, new_width, new_height)


def scaled_side(side: tf.Tensor, longer: tf.Tensor, input_size: int) -> tf.Tensor:
    """Computes int(side * (input_size / longer)) of Python's doubles in 32-bit integers.

    If the exact product is an integer n, the rounded quotient can put the computed one just below
    n, and the result is n − 1. This happens if the quotient q = a/b (scaled to 1 ≤ q < 2) was
    rounded down, and its rounding error times n exceeds half the gap between doubles below n.

    Args:
        side: (n,) int32.
        longer: (n,) or (1,) int32, side ≤ longer.
        input_size: a Python integer.

    Returns:
        (n,) int32.
    """
    side, longer = tf.reshape(side, (-1, 1)), tf.reshape(longer, (-1, 1))
    powers = tf.constant([2**k for k in range(14)])
    # a/b is input_size/longer times a power of two.
    b = longer * powers
    b = tf.maximum(tf.reduce_max(tf.where(b <= input_size, b, 0), -1, keepdims=True), longer)
    a = tf.constant([input_size * 2**k for k in range(14)])
    a = tf.reduce_min(tf.where(a >= b, a, 2**30), -1, keepdims=True)
    lost = a - b  # in the end, the remainder after the quotient's last bit
    for bits in (8, 8, 8, 8, 8, 8, MANTISSA_BITS - 48):
        lost = (lost * 2**bits) % b
    whole = (side * input_size) // longer
    is_whole = tf.equal(whole * longer, side * input_size)
    unit = tf.reduce_max(tf.where(powers <= whole, powers, 1), -1, keepdims=True)
    # The gap between doubles is half as wide below a power of two.
    gap = tf.where(tf.equal(whole, unit), a * unit // 2, a * unit)
    falls_short = is_whole & (lost > 0) & (2 * lost < b) & (2 * whole * lost > gap)
    return (whole - tf.cast(falls_short, tf.int32))[:, 0]


def letterbox_in_graph(image: tf.Tensor, geometry: Letterbox) -> tf.Tensor:
    """`letterbox_image`, up to ±1 where a sum lies halfway between two integers.

    This concerns one pixel in ten thousand, and a few in a thousand if the sides scale by a simple
    fraction. As in Pillow's bicubic filter, rows are resized first and rounded to integers, then
    columns. A single call of Pillow 13 starts with the columns if (h − h') > 2·(w − w'), which
    differs by a few gray levels along sharp edges of such tall images.

    Args:
        image: (h, w, 3) uint8, RGB.
        geometry: of `fit_in_graph`.

    Returns:
        (S, S, 3) float32, integers in 0..255.
    """
    side, height, width = geometry.input_size, geometry.image_height, geometry.image_width
    columns, has_column = _bicubic(width, geometry.new_width, geometry.left, side)
    rows, has_row = _bicubic(height, geometry.new_height, geometry.top, side)
    lines = tf.reshape(tf.transpose(image, (0, 2, 1)), (-1, width))  # (h·3, w)
    lines = _round_to_bytes(tf.matmul(tf.cast(lines, tf.float32), columns, transpose_b=True))
    square = _round_to_bytes(tf.matmul(rows, tf.reshape(lines, (-1, 3 * side))))  # (S, 3·S)
    square = tf.transpose(tf.reshape(square, (side, 3, side)), (0, 2, 1))
    inside = (has_row * tf.transpose(has_column))[..., None]
    return square * inside + GRAY * (1.0 - inside)


def place_mask_in_graph(
    probability: tf.Tensor,
    box_xyxy_px: tf.Tensor,
    score: tf.Tensor,
    geometry: Letterbox,
    use_nls: bool,
) -> tf.Tensor:
    """`utils.prediction.masks.place_mask` in the graph.

    Args:
        probability: (S/8, S/8) float32.
        box_xyxy_px: (4,) int32, rounded box in the letterboxed input.
        score: float32 scalar.
        geometry: of `fit_in_graph`.
        use_nls: whether ASNLS weighs the map.

    Returns:
        (h, w) float32.
    """
    side, cells = geometry.input_size, probability.shape[0]
    up = _bilinear(tf.constant(cells), tf.constant(0), tf.constant(side), cells)  # (S, S/8)
    full = tf.matmul(tf.matmul(up, probability), up, transpose_b=True)
    if use_nls:
        left, top, right, bottom = tf.unstack(box_xyxy_px)
        positions = tf.range(side)
        in_rows, in_columns = _between(positions, top, bottom), _between(positions, left, right)
        inside = in_rows[:, None] * in_columns[None, :]
        full = full * (score + inside * (2.0 - 2.0 * score))
    rows = _bilinear(geometry.new_height, geometry.top, geometry.image_height, side)
    columns = _bilinear(geometry.new_width, geometry.left, geometry.image_width, side)
    return tf.matmul(tf.matmul(rows, full), columns, transpose_b=True)


def unletterbox_box_in_graph(box_xyxy_px: tf.Tensor, geometry: Letterbox) -> tf.Tensor:
    """`unletterbox_box`: (4,) float32 in pixels of the letterboxed input → original pixels."""
    left, top = tf.cast(geometry.left, tf.float32), tf.cast(geometry.top, tf.float32)
    longer = tf.cast(tf.maximum(geometry.image_height, geometry.image_width), tf.float32)
    return (box_xyxy_px - tf.stack([left, top, left, top])) * longer / geometry.input_size


def _bicubic(old, new, start, side):
    """Weights that resize `old` pixels to `new` ones, which start at `start` in a row of `side`.

    Returns:
        (weights (side, old), (side, 1) 1 where a pixel belongs to the image, otherwise 0).
    """
    target = tf.range(side)[:, None] - start
    exists = tf.cast((target >= 0) & (target < new), tf.float32)
    target = tf.clip_by_value(target, 0, new - 1)
    # The distance of two centers in old pixels is offset / (2·new). Downscaling widens the kernel.
    offset = (2 * tf.range(old)[None, :] + 1) * new - (2 * target + 1) * old
    unit = tf.cast(2 * tf.maximum(old, new), tf.float32)
    x = tf.minimum(tf.abs(tf.cast(offset, tf.float32)) / unit, float(BICUBIC_REACH))
    near = ((BICUBIC_A + 2.0) * x - (BICUBIC_A + 3.0)) * x * x + 1.0
    far = BICUBIC_A * (((x - 5.0) * x + 8.0) * x - 4.0)
    weights = tf.where(x < 1.0, near, far)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True), exists


def _bilinear(old, start, new, side):
    """Weights that resize the pixels [start, start + old) of a row of `side` to `new` ones.

    As in OpenCV, pixels are sampled at their centers and border pixels are repeated.

    Returns:
        (new, side) float32 weights.
    """
    unit = 2 * new
    target = tf.clip_by_value((2 * tf.range(new) + 1) * old - new, 0, unit * (old - 1))
    offset = unit * (tf.range(side)[None, :] - start) - target[:, None]
    return tf.maximum(1.0 - tf.abs(tf.cast(offset, tf.float32)) / tf.cast(unit, tf.float32), 0.0)


def _round_to_bytes(x):
    """Rounds half up and clips to bytes, as Pillow does after each pass."""
    return tf.clip_by_value(tf.floor(x + 0.5), 0.0, 255.0)


def _between(positions, low, high):
    return tf.cast((positions >= low) & (positions <= high), tf.float32)
