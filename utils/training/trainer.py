"""Training, section 4.2 of the paper: one explicit loop, resumable, for one replica or many."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from config.errors import UserError
from data.loading.anchors import read_anchors
from data.loading.annotations import read_annotations
from data.loading.pipeline import TrainingSet, training_batches, unwrap_errors
from data.support.progress import Progress
from model.losses import l2_penalty, mcn_losses
from model.mcn import build_mcn
from model.targets import box_targets
from model.weights import load_pretrained
from model.weights.bert import load_bert
from model.weights.provenance import leak_warning
from utils.evaluation.evaluator import build_evaluator
from utils.evaluation.pictures import draw_panels
from utils.prediction.expressions import build_words
from utils.prediction.grounder import Grounder
from utils.training.checkpoints import Checkpoints
from utils.training.distribution import distribute, is_chief, make_strategy
from utils.training.feature_cache import build_feature_store, trained_part
from utils.training.optimizer import build_optimizer, sum_over_replicas
from utils.training.run_log import RunLog
from utils.training.schedule import learning_rate

REPORT_EVERY = 10  # steps; reading a loss waits for the device


class TrainingError(UserError):
    """Training cannot go on; the message says which term failed, where, and what to try."""


class Trainer:
    """A training run: network, optimiser, data, checkpoints and log.

    Args:
        config: `config.schema.Config`.
    """

    def __init__(self, config):
        self.config = config
        self.strategy = make_strategy(config.distribute)
        self.chief = is_chief(self.strategy)
        self.anchors = read_anchors(config.anchors_file)
        self.training_set, self.evaluator = build_sets(config)
        with self.strategy.scope():
            self.model = build_mcn(config)
            if config.text_encoder == "bert":
                print(load_bert(self.model, config.bert_path))
            if config.pretrained_weights:
                print(load_pretrained(self.model, config.pretrained_weights))
                sets = [config.train_set, config.evaluate_set]
                if warning := leak_warning(config.pretrained_weights, sets):
                    print(f"warning: {warning}")
            if config.cache_features:
                store = build_feature_store(config, self.model, self.training_set.images)
                self.training_set = replace(self.training_set, features=store)
            self.optimizer = build_optimizer(config.lr, config.clip_norm, config.precision)
            self.checkpoints = Checkpoints(
                config.log_path, self.model, self.optimizer, writer=self.chief
            )
        self.grounder = Grounder(self.model, self.anchors, bool(config.jit_compile))
        self.steps_per_epoch = self._count_steps()
        self._step = None

    def run(self):
        """Trains to the last epoch, from where an earlier run of this folder stopped.

        Returns:
            dict: the progress, with "epoch", "best_det_acc" and "best_epoch".
        """
        config = self.config
        progress = self.checkpoints.restore_last()
        if progress is None:
            progress = {"epoch": config.start_epoch}
        elif self.chief:
            print(f"{self.checkpoints.last_path}: going on after epoch {progress['epoch']}")
        if progress["epoch"] >= config.epoches:
            print(f"All {config.epoches} epochs are done; raise epoches to train longer.")
            return progress
        with RunLog(config.log_path, config.to_dict()) if self.chief else _Silent() as log:
            for epoch in range(progress["epoch"] + 1, config.epoches + 1):
                record = {"train": self.train_epoch(epoch)}
                if self.chief:
                    record["val"] = self.evaluate(epoch, log)
                    self.checkpoints.save_best(record["val"]["det_acc"], epoch, progress)
                    self._write_down(log, epoch, record)
                progress["epoch"] = epoch
                self.checkpoints.save_last(progress)
        return progress

    def train_epoch(self, epoch):
        """One pass over the training set.

        Returns:
            dict: mean of every loss term over the samples, learning rate at the end, seconds and
            samples per second.

        Raises:
            TrainingError: a loss term is not finite.
        """
        config = self.config
        batches = training_batches(
            self.training_set,
            epoch,
            config.batch_size,
            config.workers,
            config.max_queue_size,
            drop_remainder=self.strategy.num_replicas_in_sync > 1,
        )
        batches = distribute(self.strategy, batches)
        if self._step is None:
            self._step = make_train_step(
                self.strategy,
                self.model,
                self.optimizer,
                self.anchors,
                config,
                batches.element_spec,
            )
        means, unread = _Means(), []
        started = time.perf_counter()
        samples = min(self.steps_per_epoch * config.batch_size, len(self.training_set))
        with Progress(samples, f"epoch {epoch}/{config.epoches}", "samples") as bar:
            for step, batch in enumerate(unwrap_errors(batches)):
                rate = self._learning_rate(epoch, step)
                self.optimizer.learning_rate = rate
                unread.append(self._step(batch))
                if len(unread) == REPORT_EVERY or step + 1 == self.steps_per_epoch:
                    means.add(unread, epoch)
                    unread = []
                    bar.update(int(means.samples), loss=means.last["loss"])
        seconds = time.perf_counter() - started
        return {
            **means.result(),
            "learning_rate": rate,
            "seconds": seconds,
            "samples_per_s": means.samples / seconds,
        }

    def evaluate(self, epoch, log):
        """Measures the network on the evaluation set: dict of
        `utils.evaluation.metrics.Metrics.result`."""
        config = self.config
        result = self.evaluator.evaluate(
            self.grounder, config.word_len, f"  validate {epoch}/{config.epoches}"
        )
        if config.log_images:
            first = range(min(config.log_images, self.evaluator.n_expressions))
            log.images(
                epoch, "val", draw_panels(self.evaluator, self.grounder, config.word_len, first)
            )
        return result

    def _write_down(self, log, epoch, record):
        log.epoch(epoch, record)
        train, val = record["train"], dict(record["val"])
        scalars = {f"train/{name}": value for name, value in train.items()}
        precisions = val.pop("seg_prec")
        scalars |= {f"val/{name}": value for name, value in val.items()}
        scalars |= {f"val/Prec@{threshold}": value for threshold, value in precisions.items()}
        log.scalars(epoch, scalars)
        print(
            f"epoch {epoch}: loss {train['loss']:.3f}, Acc@0.5 {100 * val['det_acc']:.2f} %, "
            f"mIoU {100 * val['seg_iou']:.2f} %, IE {100 * val['ie_score']:.2f} %"
        )

    def _learning_rate(self, epoch, step):
        config = self.config
        return learning_rate(
            epoch,
            step,
            self.steps_per_epoch,
            initial=config.lr,
            epochs=config.epoches,
            schedule=config.lr_schedule,
            divide_at=config.steps,
            warmup=config.warmup_steps,
        )

    def _count_steps(self):
        samples, batch = len(self.training_set), self.config.batch_size
        if self.strategy.num_replicas_in_sync == 1:
            return math.ceil(samples / batch)
        if samples < batch:
            raise TrainingError(
                f"train_set holds {samples} referents, less than batch_size {batch}; several "
                "replicas need whole batches"
            )
        return samples // batch


def build_sets(config):
    """(`TrainingSet`, `Evaluator`) of a config, their words looked up once for both."""
    referents = read_annotations(config.train_set)
    evaluated = read_annotations(config.evaluate_set)
    words = build_words(config, [*referents, *evaluated], cache_dir=Path(config.train_set).parent)
    training_set = TrainingSet(
        referents,
        words,
        config.image_path,
        config.seg_gt_path,
        config.input_size,
        config.seg_out_stride,
        config.word_len,
        config.seed,
        config.mask_target,
    )
    return training_set, build_evaluator(config, words)


def make_train_step(strategy, model, optimizer, anchors, config, batch_spec=None):
    """The compiled training step.

    Args:
        strategy: tf.distribute.Strategy of the network and its optimiser.
        model, optimizer: what is trained, and with.
        anchors: (A, 2) float, width and height in input pixels.
        config: `config.schema.Config`.
        batch_spec: `element_spec` of the batches. With it the step is traced once; without, once
            more for a last batch that is shorter.

    Returns:
        Function of a batch of `data.loading.pipeline.training_batches`, giving a dict of float32
        scalars: every loss term, their sum "loss" and the number of "samples".
    """
    variables = model.trainable_variables
    after_cache = trained_part(model) if config.cache_features else None

    def network(batch):
        if after_cache is None:
            image = tf.cast(batch["image"], tf.float32) / 255.0
            return model({"image": image, "words": batch["words"]}, training=True)
        features = [
            tf.cast(batch[f"feature_{number}"], tensor.dtype)
            for number, tensor in enumerate(after_cache.inputs[:-1])
        ]
        return after_cache([*features, batch["words"]], training=True)

    def on_replica(batch):
        local = tf.shape(batch["mask"])[0]
        total = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, tf.cast(local, tf.float32)
        )
        targets = box_targets(batch["box_xyxy_px"], anchors, config.input_size)
        with tf.GradientTape() as tape:
            outputs = network(batch)
            terms = mcn_losses(
                outputs,
                targets,
                batch["mask"],
                anchors,
                config.input_size,
                config.seg_loss_weight,
                batch_size=total,
            )
            # Frozen kernels would only add a constant.
            terms["l2"] = l2_penalty(variables) / strategy.num_replicas_in_sync
            loss = tf.add_n(list(terms.values()))
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        optimizer.apply(sum_over_replicas(gradients), variables)
        return {**terms, "loss": loss, "samples": tf.cast(local, tf.float32)}

    @tf.function(
        input_signature=None if batch_spec is None else [batch_spec],
        reduce_retracing=True,
        autograph=False,
        jit_compile=bool(config.jit_compile),
    )
    def train_step(batch):
        results = strategy.run(on_replica, args=(batch,))
        return {
            name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for name, value in results.items()
        }

    return train_step


class _Means:
    """Means of loss terms over samples, from the results of steps."""

    def __init__(self):
        self.sums, self.samples, self.last = {}, 0.0, {}

    def add(self, results, epoch):
        for result in results:
            values = {name: float(value) for name, value in result.items()}
            broken = [name for name, value in values.items() if not np.isfinite(value)]
            if broken:
                raise TrainingError(
                    f"epoch {epoch}: the loss is not finite in {', '.join(broken)}; the last state "
                    "is kept. Try a smaller lr, warmup_steps, or clip_norm=10"
                )
            samples = values.pop("samples")
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + samples * value
            self.samples += samples
            self.last = values

    def result(self):
        return {name: total / self.samples for name, total in self.sums.items()}


class _Silent:
    """What a worker that is not the chief has for a log."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
