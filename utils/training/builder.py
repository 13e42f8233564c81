"""Builds a training run from its config."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path

import keras
import tensorflow as tf

from config.command_line import say
from config.files import check_folder
from config.run_files.missing import check_no_file_missing
from config.schema import Config
from data.loading.anchors import read_anchors
from data.loading.annotations import Referent
from data.loading.augmentation.flip import mirrored_expression
from data.loading.augmentation.recipe import Augmentation
from data.loading.errors import skipped_text
from data.loading.pipeline import TrainingSet
from data.preparation.manifest import unchanged
from data.preparation.mixture import open_mixture
from model.mcn import build_mcn
from model.weights import load_pretrained, load_text_encoder
from model.weights.provenance import leak_warning
from utils.environment import device_line, parameters_line, precision_note
from utils.evaluation.evaluator import Evaluator, evaluator_of
from utils.prediction.expressions import build_words
from utils.prediction.grounder import Grounder
from utils.training.distributed.cluster import make_strategy
from utils.training.distributed.processes import Processes, loss_reported
from utils.training.feature_cache import build_feature_store
from utils.training.optimizer import build_optimizer
from utils.training.run.checkpoints import Checkpoints, read_run_state
from utils.training.run.folder import check_overwrite, check_resumption, held_folder
from utils.training.run.settings import check_same_settings, files_of_run, run_settings
from utils.training.run.state import RunState
from utils.training.run.terminal import data_lines, plan_lines
from utils.training.trainer import Trainer


def train(
    config: Config,
    *,
    overwrite: bool = False,
    force: bool = False,
    dry_run: bool = False,
    remarks: Sequence[str] = (),
) -> RunState | None:
    """Trains a network, or resumes its training: the body of train.py.

    Args:
        config: the settings of the run.
        overwrite: move an earlier run in `log_path` away and start afresh, once everything is
            loaded.
        force: resume an earlier run whatever has changed in its settings.
        dry_run: run two training steps and two batches of validation instead, and write nothing.
        remarks: what `load_config` reported, to be printed once if there are several processes.

    Returns:
        The state of the run after its last epoch; None after a dry run, and in processes other
        than the chief.

    Raises:
        UserError, OSError: a setting or file cannot be used. What is complete has been saved.
        config.signals.Stopped: a signal asked to stop; everything has been saved.
    """
    if overwrite:
        check_overwrite(config.log_path, config.to_dict())
    with loss_reported() if config.distribute == "multiworker" else nullcontext():
        trainer = build_trainer(
            config, force=force, dry_run=dry_run, fresh=overwrite, remarks=remarks
        )
        if dry_run:
            trainer.try_out()
            return None
        try:
            state = trainer.run(fresh=overwrite)
            return state if trainer.processes.chief else None
        finally:
            bad = dict(trainer.training_set.bad_samples)
            if trainer.processes.chief:  # Those of the evaluation are already of all processes.
                for evaluator in trainer.evaluators.values():
                    bad |= evaluator.bad_images
            if bad:
                what = "one image or mask" if len(bad) == 1 else f"{len(bad):,} images or masks"
                say(skipped_text(what, bad.values()), sys.stderr)


def build_trainer(
    config: Config,
    *,
    force: bool = False,
    dry_run: bool = False,
    fresh: bool = False,
    remarks: Sequence[str] = (),
) -> Trainer:
    """Builds a training run: strategy, data, network, optimizer and checkpoints.

    Prints device, sizes of data and network, where its weights come from, what it will do, where
    its files go, and what has changed if it resumes an earlier run.

    Args:
        config: the settings of the run.
        force: accept any change of the settings of the run to resume.
        dry_run: whether to write nothing, not even caches; features are not cached then.
        fresh: whether to ignore an earlier run in the log folder.
        remarks: printed before all else, by one process.

    Raises:
        UserError, OSError: a setting or file cannot be used; nothing has been written then,
            except to the folders of caches.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = make_strategy(config.distribute, config.worker_timeout_s)
    processes = Processes(strategy)
    chief = processes.chief
    if chief:
        for line in filter(None, [*remarks, device_line(), precision_note(config.precision)]):
            say(line)
        if processes.replicas > 1:
            say(str(processes))
    start = start_weights(config, fresh=fresh)
    check_no_file_missing(config.replace(pretrained_weights=start))
    with unchanged(*chain.from_iterable(files_of_run(config).values())):  # Their checksums count.
        anchors_px = read_anchors(config.anchors_file)
        with processes.chief_first():
            training_set, evaluators, left_out = build_sets(config, keep_words=not dry_run)
        settings = run_settings(config, training_set.words)
    check_same_settings(processes, settings)
    if chief:
        if not dry_run:
            check_folder(config.log_path)
        if Path(config.log_path).exists() and not dry_run:
            with held_folder(config.log_path):
                pass  # A second process is refused now, not after it has built everything.
        if not fresh:
            check_resumption(config.log_path, settings, force=force)
        for line in data_lines(training_set, evaluators):
            say(line)
        if left_out is not None:
            say(left_out)
    with strategy.scope():
        starting = config.replace(pretrained_weights=start)
        model = build_network(starting, report=say if chief else _silent)
        optimizer = build_optimizer(config.lr, config.clip_norm, config.precision, config.ema)
        checkpoints = Checkpoints(config.log_path, model, optimizer, writer=chief)
        if config.cache_features and not dry_run:
            if not fresh:
                # Features are those of the frozen layers that the run has, not of the weights that
                # pretrained_weights names now.
                checkpoints.restore()
            training_set = _with_features(training_set, config, model, processes)
    if chief:
        say(parameters_line(model))
    grounder = Grounder(model, anchors_px, bool(config.jit_compile))
    trainer = Trainer(
        config,
        settings,
        processes,
        training_set,
        evaluators,
        grounder,
        optimizer,
        checkpoints,
        force,
    )
    if chief:
        for line in plan_lines(config, trainer.plan.steps, dry_run=dry_run):
            say(line)
    return trainer


def _with_features(
    training_set: TrainingSet, config: Config, model: keras.Model, processes: Processes
) -> TrainingSet:
    """The training set with cached features in place of its images.

    The chief computes the features first. A process on another disk, which does not find them
    there, computes its own.
    """
    bad_images = training_set.bad_samples if config.on_bad_sample == "skip" else None
    arguments = config, model, training_set.images, bad_images
    store = build_feature_store(*arguments) if processes.chief else None
    training_set.bad_samples.update(processes.gather(training_set.bad_samples)[0])
    return replace(training_set, features=store or build_feature_store(*arguments))


def start_weights(config: Config, *, fresh: bool = False) -> str:
    """The weights to fill a network with before its state is restored.

    Usually `pretrained_weights`. A run that resumes does not need them, so they may be gone.

    Args:
        config: the settings of the run.
        fresh: whether an earlier run in the log folder is ignored.

    Returns:
        A weight file, a registered name, or "" for none.
    """
    given = config.pretrained_weights
    gone = "/" in given and not Path(given).exists()
    return "" if gone and not fresh and read_run_state(config.log_path) else given


def build_network(config: Config, report: Callable[[str], None] = say) -> keras.Model:
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
        report(str(loaded))
    sets = [*config.train_sets, *config.evaluate_sets]
    if warning := leak_warning(config.pretrained_weights, sets):
        report(f"warning: {warning}")
    return model


def _silent(_: str) -> None:
    """What the workers other than the chief report."""


def build_sets(
    config: Config, *, keep_words: bool = True
) -> tuple[TrainingSet, dict[str, Evaluator], str | None]:
    """Builds the training set and the evaluators of a config, with one table of words.

    The lines and masks of each data set are of the same preparation.

    Args:
        config: the settings.
        keep_words: whether to keep the table of word vectors beside the annotations.

    Returns:
        The training set; the `Evaluator` of each evaluation set by the name of its results, which
        is "val" for the first and, for example, "val_refcoco+_val" for others; and what was left
        out of training, if anything was.
    """
    sets = open_mixture(config)
    referents, masks = sets.training
    cache_dir = Path(config.train_set).parent if keep_words else None
    read = [*referents, *chain.from_iterable(evaluated for evaluated, _ in sets.evaluation)]
    read += _mirrored(referents) if config.flip else ()
    words = build_words(config, read, cache_dir=cache_dir)
    training_set = TrainingSet(
        referents,
        words,
        config.image_path,
        masks,
        config.input_size,
        config.seg_out_stride,
        config.word_len,
        config.seed,
        config.mask_target,
        on_bad_sample=config.on_bad_sample,
        augmentation=Augmentation(
            config.flip, config.scale_jitter, config.color_jitter, config.seed
        ),
        shares=sets.shares,
    )
    others = (f"val_{Path(path).parent.name}_{Path(path).stem}" for path in config.also_evaluate)
    evaluators = {
        name: evaluator_of(config, evaluated, words, masks)
        for name, (evaluated, masks) in zip(["val", *others], sets.evaluation, strict=True)
    }
    return training_set, evaluators, sets.remark


def _mirrored(referents: Iterable[Referent]) -> Iterator[Referent]:
    """Referents with the expressions of their mirrored images, whose words need vectors, too."""
    for referent in referents:
        texts = tuple(filter(None, map(mirrored_expression, referent.expressions)))
        yield replace(referent, expressions=texts)
