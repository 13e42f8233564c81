"""Pretrains a visual backbone as a detector of all objects, as the published ones were.

    python -m utils.pretrain --config config/demo.json --epochs 12 \\
        --instances data/demo/raw/refcoco/instances.json --leave_out data/demo/eval_images.txt \\
        --output data/demo_backbone.weights.h5

Set `pretrained_weights` to the output. Images of the evaluation sets must not be seen: write
their list with `data_process.py --list_eval_images` and pass it as --leave_out.
"""

import argparse
from pathlib import Path

from config.command_line import add_config_arguments
from config.schema import load_config

OBJECT_WEIGHT = 5.0  # few cells hold an object


def pretrain(config, instances, leave_out=(), epochs=20, steps=None):
    """Trains the backbone of a config to find every object of an instances.json.

    At strides 32, 16 and 8 a 1×1 convolution on Fv1, Fv2 and Fv3 says for each cell whether an
    object's centre lies there, its box and its classes. The heads are thrown away.

    Args:
        config: `config.schema.Config`; backbone, its width and blocks, input_size, image_path,
            batch_size, lr, seed and workers count.
        instances: COCO-style instances.json.
        leave_out: image names that must not be seen.
        epochs: passes over the images.
        steps: steps an epoch; default one pass.

    Returns:
        keras.Model, image → [Fv1, Fv2, Fv3].
    """
    import keras

    from data.loading.pipeline import unwrapped_errors
    from data.preparation.detection import STRIDES, detection_batches, read_instances
    from model.mcn import build_mcn, visual_backbone

    objects = read_instances(instances, leave_out)
    backbone = visual_backbone(build_mcn(config.replace(free_body=0)))
    heads = [
        keras.layers.Conv2D(objects.channels, 1, name=f"stride_{stride}", dtype="float32")(feature)
        for stride, feature in zip(STRIDES, backbone.outputs, strict=True)
    ]
    steps = steps or -(-len(objects.images) // config.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps * epochs, warmup_target=config.lr, warmup_steps=min(100, steps)
    )
    detector = keras.Model(backbone.input, tuple(heads))
    detector.compile(
        keras.optimizers.Adam(rate, global_clipnorm=10.0),
        loss=tuple(detection_loss(objects.groups) for _ in heads),
    )
    batches = detection_batches(
        objects,
        config.image_path,
        config.input_size,
        config.batch_size,
        config.workers,
        config.seed,
    )
    with unwrapped_errors():
        detector.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=2)
    return backbone


def detection_loss(groups):
    """The loss of one grid, a function (truth, prediction) → (N,).

    Args:
        groups: number of classes of each group, as in `data.preparation.detection.DetectionSet`.

    Returns:
        Function of two (N, g, g, 5 + Σ groups) tensors.
    """
    import tensorflow as tf

    from data.preparation.detection import BOX_CHANNELS
    from model.losses import smooth_l1

    def loss(truth, prediction):
        is_object = truth[..., 0]
        found = tf.nn.sigmoid_cross_entropy_with_logits(labels=is_object, logits=prediction[..., 0])
        found *= 1.0 + (OBJECT_WEIGHT - 1.0) * is_object
        box = tf.reduce_sum(
            smooth_l1(truth[..., BOX_CHANNELS] - prediction[..., BOX_CHANNELS]), axis=-1
        )
        classes = tf.zeros_like(box)
        start = 5
        for count in groups:
            group = slice(start, start + count)
            # A class that is not known has an all-zero row, which costs nothing.
            classes += tf.nn.softmax_cross_entropy_with_logits(
                labels=truth[..., group], logits=prediction[..., group]
            )
            start += count
        return tf.reduce_sum(found + is_object * (box + classes), axis=(1, 2))

    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("--instances", required=True, help="COCO-style instances.json")
    parser.add_argument("--leave_out", help="file of image names that must not be seen, one a line")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the images")
    parser.add_argument("--trained_on", help="mark of the file, such as coco-clean")
    parser.add_argument("--output", required=True, help="backbone .weights.h5 to write")
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.overrides)
    names = Path(arguments.leave_out).read_text().splitlines() if arguments.leave_out else ()

    from model.weights import save_weights
    from model.weights.native import check_name

    check_name(arguments.output)  # now, not when hours of training are done
    backbone = pretrain(config, arguments.instances, names, arguments.epochs)
    save_weights(backbone, arguments.output, trained_on=arguments.trained_on)
    print(f"Backbone written to {arguments.output}: set pretrained_weights to it.")
