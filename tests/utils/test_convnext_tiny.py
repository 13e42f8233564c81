"""A backbone that no other module knows trains, evaluates, is cached and is exported."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.loading.letterbox import letterbox_image
from model.mcn import visual_backbone
from tests.tiny import random_batch
from utils.evaluation.report import report
from utils.export.files import export
from utils.prediction.grounder import load_grounder
from utils.training.builder import build_trainer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trainer(tiny_set, tmp_path_factory):
    """A trainer after one epoch on cached features of "ImageNet" weights, which are random here."""
    folder = tmp_path_factory.mktemp("convnext")
    source = keras.applications.ConvNeXtTiny(include_top=False, weights=None)
    source.save_weights(folder / "notop.weights.h5")
    config = tiny_set.config(
        backbone="convnext_tiny",
        backbone_width=1.0,
        jemb_dim=0,
        input_size=64,
        pretrained_weights="imagenet",
        free_body=1,
        cache_features=1,
        epoches=1,
        batch_size=5,
        log_path=str(folder / "log"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "keras.src.utils.file_utils.get_file", lambda *_, **__: str(folder / "notop.weights.h5")
        )
        trainer = build_trainer(config)
    trainer.source = source
    trainer.before = {variable.path: np.array(variable) for variable in trainer.model.weights}
    trainer.run()
    return trainer


def test_one_step_trains_everything_but_the_backbone(trainer):
    assert int(trainer.optimizer.iterations) == 1
    changed = {
        variable.path
        for variable in trainer.model.weights
        if not np.array_equal(variable, trainer.before[variable.path])
    }
    frozen = {variable.path for variable in visual_backbone(trainer.model).weights}
    assert len(frozen) > 150
    assert changed.isdisjoint(frozen)
    assert {"fusion_1_conv/kernel", "lateral_3_conv/kernel", "mask_logits/kernel"} <= changed


def test_pretrained_weights_are_those_of_keras_applications(trainer):
    for layer in visual_backbone(trainer.model).layers:
        if layer.weights:
            theirs = trainer.source.get_layer(layer.name).get_weights()
            for ours, expected in zip(layer.get_weights(), theirs, strict=True):
                np.testing.assert_array_equal(ours, expected)


def test_cached_features_are_those_of_the_backbone(trainer, tiny_set):
    store = trainer.training_set.features
    assert store.missing == []
    features, _ = store.read("a.png")
    assert [feature.shape for feature in features] == [(2, 2, 768), (4, 4, 384), (8, 8, 192)]
    with Image.open(tiny_set.images / "a.png") as image:
        pixels = letterbox_image(image, 64)
    expected = visual_backbone(trainer.model)(pixels[None].astype(np.float32) / 255.0)
    for ours, theirs in zip(features, expected, strict=True):
        np.testing.assert_allclose(ours, theirs[0], atol=1e-4)


def test_saved_weights_give_the_scores_of_training(trainer, tmp_path):
    log = Path(trainer.config.log_path)
    report(trainer.config, tmp_path, log / "best.weights.h5")
    result = json.loads((tmp_path / "result.json").read_text())
    (epoch,) = map(json.loads, (log / "epochs.jsonl").read_text().splitlines())
    for name, value in epoch["val"].items():
        assert result[name] == pytest.approx(value, abs=1e-6), name


def test_exported_as_saved_model(trainer, tmp_path):
    weights = f"{trainer.config.log_path}/best.weights.h5"
    (folder,) = export(trainer.config, weights, "savedmodel", tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    words = random_batch(trainer.config)["words"][:1]
    run = tf.saved_model.load(str(folder)).signatures["serving_default"]
    result = run(image=tf.constant(image), words=tf.constant(words[0]))
    grounder = load_grounder(trainer.config, weights)
    box, _, score, _ = grounder.locate(
        grounder.encode_images(image[None]), [0], grounder.encode_words(words)
    )
    clipped = np.clip(box[0], 0, trainer.config.input_size)
    np.testing.assert_allclose(result["box_xyxy_px"], clipped, atol=1e-2)
    np.testing.assert_allclose(result["score"], score[0], atol=1e-4)
