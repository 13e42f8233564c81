"""What the network attends to: positions of the photograph, and words of the expression.

Attention maps show which positions the collecting attention of each branch weighs, section 3.2;
the weights of words are those of the attention over the expression, section 3.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import keras
import numpy as np
import tensorflow as tf

from data.loading.letterbox import Letterbox, unletterbox_map
from model.mcn import IMAGE_FEATURES, TEXT_FEATURES
from model.text_encoders.recurrent import AttentionOverTime
from utils.prediction.grounder import NotFiniteError

BRANCHES = ("mask", "box")
PHOTOGRAPH_BRIGHTNESS = 0.55
HEAT_OPACITY = 0.85


@dataclass(frozen=True, eq=False)
class Attention:
    """Collect weights for one expression. The weights of each group sum to one.

    Attributes:
        mask: (S/8, S/8, k) float32, of the segmentation branch.
        box: (S/32, S/32, k) float32, of the detection branch.
        geometry: `Letterbox` between the photograph and the square that the weights cover.
    """

    mask: np.ndarray
    box: np.ndarray
    geometry: Letterbox

    def __repr__(self) -> str:
        return f"Attention(mask of shape {self.mask.shape}, box of shape {self.box.shape})"

    def over_photograph(
        self, branch: str, width: int | None = None, height: int | None = None
    ) -> np.ndarray:
        """Resizes the weights of one branch, averaged over the groups, to the photograph.

        Args:
            branch: "mask" or "box".
            width, height: size of the result in pixels, by default the photograph's.

        Returns:
            (height, width) float32, scaled so that the largest value is 1.
        """
        weights = getattr(self, branch).mean(axis=-1)
        side = self.geometry.input_size
        square = cv2.resize(weights, (side, side), interpolation=cv2.INTER_LINEAR)
        geometry = replace(
            self.geometry,
            image_width=width or self.geometry.image_width,
            image_height=height or self.geometry.image_height,
        )
        heat = unletterbox_map(square, geometry)
        return heat / max(float(heat.max()), np.finfo(np.float32).tiny)


class AttentionReader:
    """Computes attention maps with a network of `model.mcn.build_mcn`. Sees later weight updates.

    Args:
        model: the network.
    """

    def __init__(self, model: keras.Model) -> None:
        units = [model.get_layer(f"garan_{branch}_attention") for branch in BRANCHES]
        names = (*IMAGE_FEATURES, *TEXT_FEATURES)
        features = [model.get_layer(name).output for name in names]
        unit_inputs = keras.Model(features, [unit.input[0] for unit in units])

        @tf.function(input_signature=[[tf.TensorSpec(t.shape, t.dtype) for t in features]])
        def collect_weights(features):
            fq = features[names.index("fq")]
            inputs = unit_inputs(features, training=False)
            return [unit.attention_maps(x, fq)[0] for unit, x in zip(units, inputs, strict=True)]

        self._collect_weights = collect_weights
        self._weigh_words = _word_weights(model)

    def words(self, inputs: np.ndarray) -> np.ndarray | None:
        """Computes how much of the language feature comes from each position of K expressions.

        Args:
            inputs: (K, T, D) float32 word vectors.

        Returns:
            (K, T) float32, the weights of the attention averaged over the channels: they sum to
            one over all T positions, those behind the words included. None for networks without
            this attention, such as those with BERT.
        """
        return None if self._weigh_words is None else self._weigh_words(inputs).numpy()

    def read(
        self,
        features: Sequence[tf.Tensor],
        rows: Sequence[int] | np.ndarray,
        text_features: Sequence[tf.Tensor | np.ndarray],
        geometry: Letterbox,
        name: str = "",
    ) -> list[Attention]:
        """Computes the attention of K expressions about one photograph.

        Args:
            features, rows, text_features: as in `utils.prediction.grounder.Grounder.locate`.
            geometry: `Letterbox` of the photograph.
            name: what the error message calls the photograph.

        Returns:
            K `Attention`s.

        Raises:
            NotFiniteError: a weight is NaN or infinite.
        """
        rows = np.asarray(rows, np.int32)
        image_features = [tf.gather(feature, rows) for feature in features]
        text_features = [tf.convert_to_tensor(feature) for feature in text_features]
        found = self._collect_weights([*image_features, *text_features])
        mask, box = (weights.numpy() for weights in found)
        if not (np.isfinite(mask).all() and np.isfinite(box).all()):
            raise NotFiniteError(name)
        return [Attention(*weights, geometry) for weights in zip(mask, box, strict=True)]


def _word_weights(model: keras.Model) -> Callable[[np.ndarray], tf.Tensor] | None:
    """The function from word vectors to their weights; None if the model has none."""
    layer, words = model.get_layer("fq"), model.input["words"]
    if not isinstance(layer, AttentionOverTime):
        return None
    scores = keras.Model(words, layer.input[1])

    @tf.function(input_signature=[tf.TensorSpec(words.shape, words.dtype)])
    def weigh_words(words):
        return tf.reduce_mean(layer.weights_of(scores(words, training=False)), axis=-1)

    return weigh_words


def draw_attention(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Draws attention as a heat map over a gray version of the photograph.

    Args:
        image: (h, w, 3) uint8, RGB.
        heat: (h, w) float in 0..1.

    Returns:
        (h, w, 3) uint8, RGB.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * PHOTOGRAPH_BRIGHTNESS
    levels = np.rint(255 * np.clip(heat, 0, 1)).astype(np.uint8)
    # The brightness of "inferno" rises evenly, so that the map is readable in gray and by people
    # with color blindness.
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    opacity = HEAT_OPACITY * np.sqrt(np.clip(heat, 0, 1))[..., None]
    return np.rint(gray * (1 - opacity) + colors * opacity).astype(np.uint8)
