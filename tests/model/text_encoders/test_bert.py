"""BERT as the text encoder: the values of NumPy, complete loading, freezing and fine-tuning."""

import json
import shutil

import h5py
import numpy as np
import pytest

from config.bert.folder import read_bert_folder
from config.errors import ConfigError
from config.schema import Config
from tests.config.bert.index_fixtures import index, tensor
from tests.model.text_encoders.bert_fixtures import (
    VOCABULARY,
    bert_in_numpy,
    original_tensors,
    write_original,
    write_preset,
    write_tensors,
)
from tests.model.weights.weight_fixtures import TINY

pytest.importorskip("keras_hub", reason="pip install -r requirements-bert.txt")

import keras
import tensorflow as tf

from model.mcn import build_mcn, encode_text, freeze
from model.text_encoders.bert import BertEncoder, build_language_feature
from model.weights import WeightsError, load_weights, save_weights
from model.weights.bert import load_bert

pytestmark = pytest.mark.slow

WORD_LEN = 9
LAYER_2 = "bert/encoder/layer_2"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    settings, tensors = write_original(folder)
    return folder, settings, tensors


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preset")
    return folder, write_preset(folder)


def text_network(folder, trainable=False, word_len=WORD_LEN):
    """The text encoder alone: words → fq."""
    ids = keras.Input((word_len,), dtype="int32", name="words")
    return keras.Model(ids, build_language_feature(ids, str(folder), trainable))


def random_ids(rows=5, seed=0):
    """Expressions of different lengths, padded with 0; the last one has the full length."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, len(VOCABULARY), (rows, WORD_LEN)).astype(np.int32)
    for row in range(rows - 1):
        ids[row, 3 + row :] = 0
    return ids


def variables_of(model):
    return [np.array(variable) for variable in model.get_layer("bert").weights]


def same(some, others):
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def copy_of(folder, target):
    shutil.copytree(folder, target)
    return target


class TestFigures:
    def test_fq_is_that_of_a_bert_in_numpy(self, original):
        folder, settings, tensors = original
        model = text_network(folder)
        load_bert(model, folder)
        states = bert_in_numpy(tensors, settings, random_ids())
        expected = sum(state[:, 0] for state in states[-4:])
        np.testing.assert_allclose(model(random_ids()), expected, rtol=1e-4, atol=2e-5)

    @pytest.mark.parametrize("layers", [2, 6])
    def test_last_four_layers_are_summed_or_all_there_are(self, tmp_path, layers):
        settings, tensors = write_original(tmp_path, num_hidden_layers=layers)
        model = text_network(tmp_path)
        load_bert(model, tmp_path)
        states = bert_in_numpy(tensors, settings, random_ids())
        expected = sum(state[:, 0] for state in states[-4:])
        np.testing.assert_allclose(model(random_ids()), expected, rtol=1e-4, atol=2e-5)
        assert len(states) == layers

    def test_padding_has_no_influence(self, original):
        folder, _, _ = original
        short, long = text_network(folder, word_len=4), text_network(folder)
        for model in (short, long):
            load_bert(model, folder)
        ids = random_ids()[:2, :4]
        padded = np.pad(ids, ((0, 0), (0, WORD_LEN - 4)))
        np.testing.assert_allclose(short(ids), long(padded), rtol=1e-4, atol=1e-5)

    def test_preset_gives_what_its_own_backbone_gives(self, preset):
        folder, backbone = preset
        model = text_network(folder)
        load_bert(model, folder)
        ids = random_ids()
        inputs = {
            "token_ids": ids,
            "segment_ids": np.zeros_like(ids),
            "padding_mask": (ids != 0).astype(np.int32),
        }
        states = keras.Model(
            backbone.input, [layer.output for layer in backbone.transformer_layers]
        )(inputs)
        expected = sum(np.asarray(state)[:, 0] for state in states)
        np.testing.assert_allclose(model(ids), expected, rtol=1e-5, atol=1e-6)

    def test_half_precision(self, original):
        folder, settings, tensors = original
        architecture = read_bert_folder(folder).architecture
        encoder = BertEncoder(architecture, name="bert", dtype="mixed_float16")
        ids = keras.Input((WORD_LEN,), dtype="int32")
        model = keras.Model(ids, encoder(ids))
        load_bert(model, folder)
        fq = model(random_ids())
        assert fq.dtype == tf.float16
        assert {variable.dtype for variable in encoder.weights} == {"float32"}
        expected = sum(state[:, 0] for state in bert_in_numpy(tensors, settings, random_ids()))
        np.testing.assert_allclose(fq, expected, atol=0.1)


class TestLoading:
    def test_every_variable_is_filled_and_the_rest_reported(self, original):
        folder, _, tensors = original
        model = text_network(folder)
        for variable in model.weights:
            variable.assign(np.full(variable.shape, np.nan))
        report = load_bert(model, folder)
        assert all(np.isfinite(values).all() for values in variables_of(model))
        assert report.unused == [
            "bert/pooler/dense/bias",
            "bert/pooler/dense/kernel",
            "cls/seq_relationship/output_weights",
        ]
        assert {entry[0] for entry in report.entries} == set(tensors) - set(report.unused)
        assert report.missing == []
        assert report.parameters == sum(np.size(v) for v in model.weights)

    def test_preset_report(self, preset):
        folder, backbone = preset
        report = load_bert(text_network(folder), folder)
        assert report.unused == ["layers/dense/vars/0", "layers/dense/vars/1"]
        assert len(report.entries) == len(backbone.weights) - 2

    def test_a_preset_without_names_of_layers(self, tmp_path, preset):
        """As earlier versions of Keras wrote them."""
        copy = copy_of(preset[0], tmp_path / "bert")
        with h5py.File(copy / "model.weights.h5", "r+") as file:
            file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
        models = [text_network(folder) for folder in (preset[0], copy)]
        for model, folder in zip(models, (preset[0], copy), strict=True):
            load_bert(model, folder)
        assert same(*map(variables_of, models))

    def test_variables_of_an_optimizer_are_skipped_and_reported(self, tmp_path, original):
        folder, _, tensors = original
        slots = {f"{LAYER_2}/output/dense/bias/adam_m": np.zeros(32, np.float32)}
        slots["global_step"] = np.int64(7)
        copy = copy_of(folder, tmp_path / "bert")
        write_tensors(copy, {**tensors, **slots})
        report = load_bert(text_network(copy), copy)
        assert set(slots) < set(report.unused)

    def refused(self, folder, message, error=WeightsError):
        """Asserts that loading fails with all of `message` and changes nothing."""
        model = text_network(folder)
        before = variables_of(model)
        with pytest.raises(error) as caught:
            load_bert(model, folder)
        for part in (str(folder), *message):
            assert part in str(caught.value)
        assert same(before, variables_of(model))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.pop(f"{LAYER_2}/output/dense/kernel"), ["lacks", "/output/dense/kernel"]),
            (
                lambda t: t.update({f"{LAYER_2}/output/dense/bias": np.zeros(31, np.float32)}),
                [f"{LAYER_2}/output/dense/bias is 31", "32"],
            ),
            (
                lambda t: t.update({"bert/embeddings/word_embeddings": np.zeros((9, 32), "f")}),
                ["bert/embeddings/word_embeddings is 9×32", f"{len(VOCABULARY)}×32"],
            ),
            (
                lambda t: t.update({"bert/encoder/layer_4/output/dense/bias": np.zeros(32, "f")}),
                ["holds bert/encoder/layer_4/output/dense/bias", "lacks"],
            ),
            (
                lambda t: t[f"{LAYER_2}/output/dense/bias"].fill(np.nan),
                [f"{LAYER_2}/output/dense/bias", "not finite"],
            ),
            (
                lambda t: t.update({f"{LAYER_2}/output/dense/bias": np.zeros(32, np.int32)}),
                [f"{LAYER_2}/output/dense/bias holds int32"],
            ),
        ],
    )
    def test_tensors_that_do_not_fit(self, tmp_path, original, change, message):
        folder, settings, _ = original
        copy = copy_of(folder, tmp_path / "bert")
        tensors = original_tensors(settings)
        change(tensors)
        write_tensors(copy, tensors)
        self.refused(copy, message)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[:20_000],
            lambda content: content[:20_000] + b"damaged!" + content[20_008:],
        ],
    )
    def test_damaged_data_file(self, tmp_path, original, damage):
        copy = copy_of(original[0], tmp_path / "bert")
        data = copy / "bert_model.ckpt.data-00000-of-00001"
        data.write_bytes(damage(data.read_bytes()))
        self.refused(copy, ["bert/", "cannot be read"])

    @pytest.mark.parametrize("content", [b"", b"no index at all" * 20, index(tensor(dims=(-5,)))])
    def test_damaged_index(self, tmp_path, original, content):
        copy = copy_of(original[0], tmp_path / "bert")
        (copy / "bert_model.ckpt.index").write_bytes(content)
        self.refused(copy, ["bert_model.ckpt.index"])

    def test_object_checkpoint_of_tensorflow_2(self, tmp_path, original):
        copy = copy_of(original[0], tmp_path / "bert")
        tf.train.Checkpoint(v=tf.Variable([1.0])).write(str(copy / "bert_model.ckpt"))
        self.refused(copy, ["object checkpoint of TensorFlow 2"])

    @pytest.mark.parametrize("name", ["bert_model.ckpt.index", "vocab.txt"])
    def test_missing_file(self, tmp_path, original, name):
        copy = copy_of(original[0], tmp_path / "bert")
        model = text_network(copy)
        (copy / name).unlink()
        with pytest.raises(ConfigError, match=f"lacks {name}"):
            load_bert(model, copy)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_layers": 5}, ["does not hold the BERT", "lacks transformer_encoder_4"]),
            ({"num_layers": 3}, ["holds transformer_encoder_3", "which that BERT lacks"]),
            ({"intermediate_dim": 40}, ["32×48", "32×40", "text_encoder and bert_path"]),
        ],
    )
    def test_preset_of_another_size(self, tmp_path, preset, changes, message):
        copy = copy_of(preset[0], tmp_path / "bert")
        settings = json.loads((copy / "config.json").read_text())
        settings["config"].update(changes)
        (copy / "config.json").write_text(json.dumps(settings))
        self.refused(copy, message)

    def test_preset_cut_off(self, tmp_path, preset):
        copy = copy_of(preset[0], tmp_path / "bert")
        weights = copy / "model.weights.h5"
        weights.write_bytes(weights.read_bytes()[:5000])
        self.refused(copy, ["model.weights.h5: is damaged"])

    def test_more_words_than_positions(self, original):
        with pytest.raises(ConfigError, match=r"word_len = 25: .* reads 24"):
            text_network(original[0], word_len=25)


def one_step(model, ids):
    """Trains a network on any loss for one step."""
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(ids, training=True) - 1.0))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    keras.optimizers.SGD(0.1).apply(gradients, variables)


class TestTraining:
    @pytest.mark.parametrize("trainable", [False, True])
    def test_one_step_leaves_or_changes_it(self, original, trainable):
        text = text_network(original[0], trainable)
        load_bert(text, original[0])
        dense = keras.layers.Dense(3)
        model = keras.Model(text.input, dense(text.output))
        before, kernel = variables_of(model), np.array(dense.kernel)
        one_step(model, random_ids())
        unchanged = [
            variable.path
            for variable, old in zip(model.get_layer("bert").weights, before, strict=True)
            if np.array_equal(variable, old)
        ]
        assert not np.array_equal(dense.kernel, kernel)
        if trainable:
            # A constant added to all keys cancels in the softmax.
            assert all(path.endswith("/key/bias") for path in unchanged)
        else:
            assert len(unchanged) == len(before)

    @pytest.mark.parametrize("trainable", [False, True])
    def test_dropout_is_on_only_while_it_trains(self, original, trainable):
        model = text_network(original[0], trainable)
        load_bert(model, original[0])
        training = [np.asarray(model(random_ids(), training=True)) for _ in range(2)]
        assert np.array_equal(*training) is not trainable
        assert np.array_equal(training[0], model(random_ids())) is not trainable


def whole_network(folder, **changes):
    settings = {**TINY, "text_encoder": "bert", "bert_path": str(folder), "word_len": WORD_LEN}
    return build_mcn(Config(**{**settings, **changes}))


@pytest.fixture(scope="module")
def network(original):
    model = whole_network(original[0])
    load_bert(model, original[0])
    return model


@pytest.mark.slow
class TestWholeNetwork:
    def outputs(self, model):
        images = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
        return model({"image": images, "words": random_ids(2)})

    def same_outputs(self, model, other):
        expected, result = self.outputs(model), self.outputs(other)
        for name, values in expected.items():
            np.testing.assert_allclose(result[name], values, rtol=1e-5, atol=1e-5)

    def test_words_are_integers_and_encode_text_is_cut_out(self, original, network):
        assert network.input["words"].shape == (None, WORD_LEN)
        assert network.input["words"].dtype == "int32"
        alone = text_network(original[0])
        load_bert(alone, original[0])
        np.testing.assert_allclose(
            encode_text(network)(random_ids()), alone(random_ids()), rtol=1e-5, atol=1e-6
        )

    def test_frozen_whatever_free_body_says(self, network):
        for free_body in (0, 1, 2):
            freeze(network, free_body)
            assert not network.get_layer("bert").trainable_variables
        freeze(network, 1)

    def test_fine_tuned_unless_only_the_output_layers_train(self, original):
        model = whole_network(original[0], bert_trainable=1)
        bert = model.get_layer("bert")
        trained = {id(variable) for variable in model.trainable_variables}
        assert {id(variable) for variable in bert.weights} < trained
        freeze(model, 2)
        assert not bert.trainable_variables

    def test_keras_file_needs_no_checkpoint(self, tmp_path, original):
        folder = copy_of(original[0], tmp_path / "bert")
        model = whole_network(folder)
        load_bert(model, folder)
        model.save(tmp_path / "mcn.keras")
        shutil.rmtree(folder)
        loaded = keras.models.load_model(tmp_path / "mcn.keras")
        self.same_outputs(model, loaded)
        assert loaded.get_layer("bert").trainable is False
        assert not loaded.get_layer("bert").trainable_variables

    def test_weights_file(self, tmp_path, original, network):
        save_weights(network, tmp_path / "mcn.weights.h5")
        other = whole_network(original[0], seed=3)
        assert not same(variables_of(network), variables_of(other))
        report = load_weights(other, tmp_path / "mcn.weights.h5")
        assert report.missing == []
        assert same(variables_of(network), variables_of(other))
        self.same_outputs(network, other)

    def test_weights_with_words_are_refused_by_name_of_the_key(self, tmp_path, network):
        save_weights(build_mcn(Config(**TINY)), tmp_path / "words.weights.h5")
        with pytest.raises(WeightsError, match=r"set .*text_encoder=recurrent"):
            load_weights(network, tmp_path / "words.weights.h5")

    def test_weights_with_another_bert_name_the_key(self, tmp_path, network):
        write_original(tmp_path, intermediate_size=40)
        save_weights(whole_network(tmp_path), tmp_path / "other.weights.h5")
        with pytest.raises(WeightsError, match=r"layer bert/.*48.*text_encoder and bert_path"):
            load_weights(network, tmp_path / "other.weights.h5")
