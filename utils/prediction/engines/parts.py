"""What every engine provides: the parts of a network as functions of arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# TensorFlow's tensors have no types.
Array = Any


@dataclass(frozen=True)
class Parts:
    """The parts of a network. N images, M expressions and K pairs vary from call to call.

    Attributes:
        encode_images: letterboxed RGB images (N, S, S, 3) uint8 → the features of
            `model.mcn.IMAGE_FEATURES`, each (N, h, w, C).
        encode_words: (M, T, D) float32 word vectors or (M, T) int32 word pieces → the text
            features, each (M, ...).
        locate: image features of N images, (K,) int32 rows of them and text features of K
            expressions → (box_xyxy_px (K, 4) float32 in the letterboxed image, the same rounded
            (K, 4) int32, score (K,) float32 in 0..1, mask probability (K, S/8, S/8) float32,
            whether all outputs of the network are finite (K,) bool).
    """

    encode_images: Callable[[Array], Sequence[Array]]
    encode_words: Callable[[Array], Sequence[Array]]
    locate: Callable[[Sequence[Array], Array, Sequence[Array]], Sequence[Array]]


def parts_of(run: Callable[..., Sequence[Array]]) -> Parts:
    """The parts of an engine whose networks take arrays one by one.

    Args:
        run: called with the name of an attribute of `Parts` and the arrays.
    """
    return Parts(
        lambda images: run("encode_images", images),
        lambda words: run("encode_words", words),
        lambda features, rows, text: run("locate", *features, rows, *text),
    )
