"""A network ready to ground expressions: images encoded once, expressions in batches.

Evaluation and prediction share this room: `Grounder` runs the network's three parts,
`place_masks` turns its maps into masks at the size of the image.
"""

import cv2
import numpy as np
import tensorflow as tf

from data.loading.letterbox import unletterbox_map
from model.decode import best_box, round_box
from model.mcn import encode_image, encode_text, ground
from model.nls import asnls


class Grounder:
    """Runs a network of `model.mcn.build_mcn` part by part; later changes of its weights count.

    Args:
        model: the network.
        anchors_px: (A, 2) float, width and height.
        jit_compile: whether to compile with XLA, which then compiles once for each batch size.
    """

    def __init__(self, model, anchors_px, jit_compile=False):
        self.input_size = model.input["image"].shape[1]
        image_encoder, text_encoder, grounder = (
            encode_image(model),
            encode_text(model),
            ground(model),
        )
        words = model.input["words"]
        size = self.input_size

        @tf.function(
            input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)],
            jit_compile=jit_compile,
        )
        def encode(images):
            return image_encoder(tf.cast(images, tf.float32) / 255.0, training=False)

        features = [tf.TensorSpec(t.shape, t.dtype) for t in image_encoder.outputs]
        fq = text_encoder.output

        @tf.function(
            input_signature=[tf.TensorSpec(words.shape, words.dtype)],
            jit_compile=jit_compile,
        )
        def encode_words(words):
            return text_encoder(words, training=False)

        @tf.function(
            input_signature=[
                features,
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec(fq.shape, fq.dtype),
            ],
            jit_compile=jit_compile,
        )
        def locate(features, rows, fq):
            of_image = [tf.gather(feature, rows) for feature in features]
            outputs = grounder([*of_image, fq], training=False)
            box, score = best_box(outputs["boxes"], anchors_px, size)
            return box, round_box(box, size), score, tf.sigmoid(outputs["mask"][..., 0])

        self._encode, self._encode_words, self._locate = encode, encode_words, locate

    def encode_images(self, images):
        """(N, S, S, 3) uint8, letterboxed → features of N images, for `locate`."""
        return self._encode(images)

    def encode_words(self, words):
        """(M, T, D) float32 word vectors or (M, T) int32 word pieces → fq (M, dq)."""
        return self._encode_words(words)

    def locate(self, features, rows, fq):
        """Grounds expressions.

        Args:
            features: of `encode_images`.
            rows: (K,) int32, the image of each expression among those encoded.
            fq: (K, dq) of `encode_words`.

        Returns:
            numpy arrays: box_xyxy_px (K, 4) float32 and the same rounded (K, 4) int32, both in the
            letterboxed input, score (K,) in 0..1, probability (K, S/8, S/8) of the mask.
        """
        located = self._locate(features, np.asarray(rows, np.int32), fq)
        return tuple(part.numpy() for part in located)


def place_masks(probability, boxes_xyxy_px, scores, geometry, use_nls=True):
    """Maps at stride 8 to maps over the original image, section 3.4.

    Bilinear to the input's size, ASNLS, the letterbox's border cut, bilinear to the image's size.

    Args:
        probability: (K, S/8, S/8) float32 maps of one image.
        boxes_xyxy_px: (K, 4) int, rounded boxes in the letterboxed input.
        scores: (K,) confidences of the boxes.
        geometry: `data.loading.letterbox.Letterbox` of the image.
        use_nls: whether the box weighs the mask.

    Returns:
        (h, w, K) float32; compare with segment_thresh for masks.
    """
    side = geometry.input_size
    stacked = np.ascontiguousarray(probability.transpose(1, 2, 0))
    maps = cv2.resize(stacked, (side, side), interpolation=cv2.INTER_LINEAR)
    maps = maps.reshape(side, side, len(probability))  # OpenCV drops an axis of length one.
    if use_nls:
        maps = asnls(maps, boxes_xyxy_px, scores)
    return unletterbox_map(maps, geometry)
