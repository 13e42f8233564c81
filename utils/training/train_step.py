"""The compiled training step: forward pass, losses, gradients and update, on all replicas."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from model.layers.replicas import sum_over_replicas
from model.losses import l2_penalty, mcn_losses
from model.targets import box_targets
from utils.training.feature_cache import trained_part
from utils.training.optimizer import update_if

Batch = dict[str, tf.Tensor]
TrainStep = Callable[[Batch], dict[str, tf.Tensor]]


def make_train_step(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    anchors_px: np.ndarray,
    *,
    mask_weight: float,
    detection_weight: float = 1.0,
    cem_weight: float = 1.0,
    cached_features: bool = False,
    jit_compile: bool = False,
    batch_spec: object = None,
    keep_averages: bool = False,
    accumulate_steps: int = 1,
) -> TrainStep:
    """Compiles the training step.

    A step whose loss or gradients are not finite updates no weight and no variable of the
    optimizer. In float16 only the loss counts: there, gradients that overflow lower the loss scale.

    Args:
        strategy: tf.distribute.Strategy under which model and optimizer were built.
        model: network of `build_mcn`.
        optimizer: of `build_optimizer`, already built.
        anchors_px: (A, 2) float, width and height in input pixels.
        mask_weight, detection_weight, cem_weight: factors on terms of the loss (config keys
            seg_loss_weight, det_loss_weight and cem_loss_weight).
        cached_features: whether batches contain cached features instead of images.
        jit_compile: whether to compile with XLA.
        batch_spec: `element_spec` of the batches. With it, the step is traced once; without it, a
            smaller last batch causes a second trace.
        keep_averages: whether a step that is not finite leaves the moving averages of BatchNorm
            unchanged, too. Needed where training continues after it.
        accumulate_steps: number of parts in which each replica computes its share of a batch, one
            after the other. Gradients are summed over the parts and applied once, as those of the
            whole batch but for BatchNorm, whose statistics are those of each part, and for the
            masks of dropout.

    Returns:
        Function that updates the network on one batch of
        `data.loading.pipeline.training_batches` and returns float32 scalars: every loss term,
        their sum "loss", the number of "samples", "gradient_norm", which is not finite if the
        gradients are not: their global norm, or 0 in float16, and "updated", 1 or 0.
    """
    forward = _forward_pass(model, cached_features)
    variables, input_size = model.trainable_variables, model.input["image"].shape[1]
    averages = _moving_averages(model) if keep_averages else []
    scales_loss = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)

    def gradients_of(batch, batch_size):
        """Loss terms of a replica's batch, or of a part of it, and their gradients."""
        targets = box_targets(batch["box_xyxy_px"], anchors_px, input_size)
        with tf.GradientTape() as tape:
            terms = mcn_losses(
                forward(batch), targets, batch["mask"], anchors_px, input_size, mask_weight,
                batch_size=batch_size, detection_weight=detection_weight, cem_weight=cem_weight,
            )  # fmt: skip
            # Of the trained variables only: frozen ones would add a constant.
            terms["l2"] = l2_penalty(variables) / (strategy.num_replicas_in_sync * accumulate_steps)
            scaled_loss = optimizer.scale_loss(tf.add_n(list(terms.values())))
        return terms, tape.gradient(scaled_loss, [variable.value for variable in variables])

    if accumulate_steps > 1 and strategy.num_replicas_in_sync == 1:
        # Traced once for all parts. Several replicas cannot exchange sums within a function.
        gradients_of = tf.function(
            gradients_of,
            autograph=False,
            reduce_retracing=True,
            experimental_attributes={"_noinline": True},
        )

    def replica_step(batch):
        before = [tf.identity(average.value) for average in averages]
        samples = tf.cast(tf.shape(batch["mask"])[0], tf.float32)
        [batch_size] = sum_over_replicas([samples])
        terms, gradients = gradients_of(_part_of(batch, 0, accumulate_steps), batch_size)
        for number in range(1, accumulate_steps):
            # Computed after the part before it, whose activations are no longer needed then.
            with tf.control_dependencies(gradients):
                part = _part_of(batch, number, accumulate_steps)
                more_terms, more_gradients = gradients_of(part, batch_size)
            terms = {name: term + more_terms[name] for name, term in terms.items()}
            pairs = zip(gradients, more_gradients, strict=True)
            gradients = [tf.add_n([total, gradient]) for total, gradient in pairs]
        gradients = sum_over_replicas(gradients)
        loss = tf.add_n(list(terms.values()))
        # One exchange of a vector in place of one per term.
        [totals] = sum_over_replicas([tf.stack([*terms.values(), loss])])
        totals = dict(zip([*terms, "loss"], tf.unstack(totals), strict=True))
        norm = tf.constant(0.0) if scales_loss else tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(totals["loss"]) & tf.math.is_finite(norm)
        updates = tf.identity(optimizer.iterations.value)
        update_if(finite, optimizer, gradients, variables)
        updated = tf.cast(optimizer.iterations.value - updates, tf.float32)
        for average, value in zip(averages, before, strict=True):
            average.assign(tf.where(finite, average.value, value))
        return {**totals, "samples": batch_size, "gradient_norm": norm, "updated": updated}

    @tf.function(
        input_signature=None if batch_spec is None else [batch_spec],
        reduce_retracing=True,
        autograph=False,
        jit_compile=jit_compile,
    )
    def train_step(batch):
        results = strategy.run(replica_step, args=(batch,))
        # Every replica returns the sums of all.
        return {
            name: strategy.experimental_local_results(value)[0] for name, value in results.items()
        }

    return train_step


def _part_of(batch: Batch, part: int, count: int) -> Batch:
    """One of `count` parts of a batch, of about as many rows each."""
    if count == 1:
        return batch
    rows = batch["mask"].shape[0] or tf.shape(batch["mask"])[0]
    first, last = rows * part // count, rows * (part + 1) // count
    return {name: value[first:last] for name, value in batch.items()}


def _moving_averages(model: keras.Model) -> list[keras.Variable]:
    """Moving statistics of the BatchNorm layers that are trained."""
    return [
        variable
        for layer in model.layers
        if layer.trainable
        for variable in layer.non_trainable_variables
        if variable.name.startswith("moving_")
    ]


def _forward_pass(
    model: keras.Model, cached_features: bool
) -> Callable[[Batch], dict[str, tf.Tensor]]:
    """Batch → outputs of the network in training mode, from images or from cached features."""

    def from_images(batch):
        image = tf.cast(batch["image"], tf.float32) / 255.0
        return model({"image": image, "words": batch["words"]}, training=True)

    if not cached_features:
        return from_images
    head = trained_part(model)

    def from_features(batch):
        features = [
            tf.cast(batch[f"feature_{index}"], tensor.dtype)
            for index, tensor in enumerate(head.inputs[:-1])
        ]
        return head([*features, batch["words"]], training=True)

    return from_features
