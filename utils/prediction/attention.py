"""Where the network looks: the collecting attention of both branches, section 3.2."""

from dataclasses import dataclass, replace

import cv2
import keras
import numpy as np
import tensorflow as tf

from data.loading.letterbox import Letterbox, unletterbox_map
from model.mcn import IMAGE_FEATURES

BRANCHES = ("mask", "box")
DIMMED = 0.55
OPACITY = 0.85


@dataclass(frozen=True, eq=False)
class Attention:
    """Collect weights for one expression; those of each group sum to one.

    Attributes:
        mask: (S/8, S/8, k) float32, of the segmentation branch.
        box: (S/32, S/32, k) float32, of the detection branch.
        geometry: `Letterbox` between the photograph and the square that the weights cover.
    """

    mask: np.ndarray
    box: np.ndarray
    geometry: Letterbox

    def over_photograph(self, branch, width=None, height=None):
        """The weights of "mask" or "box", groups averaged, over the photograph.

        Args:
            branch: name of the branch.
            width, height: size of the result, the photograph's by default.

        Returns:
            (height, width) float32, its largest value 1.
        """
        weights = getattr(self, branch).mean(axis=-1)
        side = self.geometry.input_size
        square = cv2.resize(weights, (side, side), interpolation=cv2.INTER_LINEAR)
        geometry = replace(
            self.geometry,
            image_width=width or self.geometry.image_width,
            image_height=height or self.geometry.image_height,
        )
        spread = unletterbox_map(square, geometry)
        return spread / max(float(spread.max()), np.finfo(np.float32).tiny)


class AttentionReader:
    """Computes the attention of a network of `model.mcn.build_mcn`; changed weights count.

    Args:
        model: the network.
    """

    def __init__(self, model):
        units = {name: model.get_layer(f"garan_{name}_attention") for name in BRANCHES}
        inputs = [model.get_layer(name).output for name in (*IMAGE_FEATURES, "fq")]
        part = keras.Model(inputs, {name: unit.input[0] for name, unit in units.items()})

        @tf.function(input_signature=[[tf.TensorSpec(t.shape, t.dtype) for t in inputs]])
        def collect(tensors):
            entering = part(tensors, training=False)
            return [units[name].attention_maps(entering[name], tensors[-1])[0] for name in BRANCHES]

        self._collect = collect

    def read(self, features, rows, fq, geometry):
        """`Attention` of each of K expressions.

        Args:
            features, rows, fq: as of `utils.prediction.grounder.Grounder.locate`.
            geometry: `Letterbox` of the photograph.
        """
        rows = np.asarray(rows, np.int32)
        tensors = [*(tf.gather(feature, rows) for feature in features), tf.convert_to_tensor(fq)]
        maps = [weights.numpy() for weights in self._collect(tensors)]
        return [Attention(*pair, geometry) for pair in zip(*maps, strict=True)]


def draw_attention(image, heat):
    """A photograph in grey with the attention glowing over it.

    Args:
        image: uint8 (h, w, 3), RGB.
        heat: (h, w) float in 0..1.

    Returns:
        uint8 (h, w, 3), RGB.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * DIMMED
    levels = np.rint(255 * np.clip(heat, 0, 1)).astype(np.uint8)
    # Inferno rises evenly in brightness, so that it reads in grey and to colour-blind eyes too.
    glow = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = OPACITY * np.sqrt(np.clip(heat, 0, 1))[..., None]
    return np.rint(grey * (1 - share) + glow * share).astype(np.uint8)
