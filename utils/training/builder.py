"""Builds a training run from its config."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras

from config.schema import Config
from data.loading.anchors import read_anchors
from data.loading.annotations import read_annotations
from data.loading.pipeline import TrainingSet
from data.preparation.manifest import check_pairing
from model.mcn import build_mcn
from model.weights import load_pretrained, load_text_encoder
from model.weights.provenance import leak_warning
from utils.environment import device_line, parameters_line
from utils.evaluation.evaluator import Evaluator, build_evaluator
from utils.prediction.expressions import build_words
from utils.prediction.grounder import Grounder
from utils.training.checkpoints import Checkpoints
from utils.training.distribution import is_chief, make_strategy
from utils.training.feature_cache import build_feature_store
from utils.training.optimizer import build_optimizer
from utils.training.trainer import Trainer


def build_trainer(config: Config) -> Trainer:
    """Builds a training run: strategy, data, network, optimizer and checkpoints.

    Prints device, sizes of data and network, and where its weights come from.

    Args:
        config: the settings of the run.

    Raises:
        UserError, OSError: a setting or file cannot be used; nothing has been written then,
            except to the folders of caches.
    """
    strategy = make_strategy(config.distribute)
    chief = is_chief(strategy)
    if chief:
        print(device_line())
    anchors_px = read_anchors(config.anchors_file)
    training_set, evaluator = build_sets(config)
    if chief:
        print(
            f"data: {len(training_set):,} referents in {len(training_set.images):,} images to "
            f"train on, {evaluator.n_expressions:,} expressions in {len(evaluator.groups):,} "
            "images to evaluate on"
        )
    with strategy.scope():
        model = build_network(config, report=print if chief else _silent)
        if config.cache_features:
            store = build_feature_store(config, model, training_set.images)
            training_set = replace(training_set, features=store)
        optimizer = build_optimizer(config.lr, config.clip_norm, config.precision)
        checkpoints = Checkpoints(config.log_path, model, optimizer, writer=chief)
    if chief:
        print(parameters_line(model))
    grounder = Grounder(model, anchors_px, bool(config.jit_compile))
    return Trainer(config, strategy, training_set, evaluator, grounder, optimizer, checkpoints)


def build_network(config: Config, report: Callable[[object], None] = print) -> keras.Model:
    """Builds the network of a config and loads the weights that training starts from.

    Args:
        config: the settings of the run.
        report: called with what was loaded, and with a warning if the weights have seen images
            of the evaluation sets.
    """
    model = build_mcn(config)
    reports = [load_text_encoder(model, config.bert_path)]
    if config.pretrained_weights:
        reports.append(load_pretrained(model, config.pretrained_weights))
    for loaded in filter(None, reports):
        report(loaded)
    sets = [config.train_set, config.evaluate_set]
    if warning := leak_warning(config.pretrained_weights, sets):
        report(f"warning: {warning}")
    return model


def _silent(_: object) -> None:
    """What the workers other than the chief report."""


def build_sets(config: Config) -> tuple[TrainingSet, Evaluator]:
    """Builds the training set and the `Evaluator` of a config, with one table of words."""
    referents = read_annotations(config.train_set)
    check_pairing(config.train_set, config.seg_gt_path)
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
