"""Predictions agree with the evaluation, and a photograph is encoded only once."""

import doctest
import json
import os
import signal
import warnings

import numpy as np
import pytest
from PIL import Image

from config.errors import UserError
from data.loading.errors import DataError
from data.loading.letterbox import Letterbox
from model.weights import save_weights
from tests.limits import memory_within
from tests.tiny import ANCHORS, UNKNOWN_WORD, scramble
from utils.evaluation.evaluator import build_evaluator
from utils.prediction.expressions import ExpressionReader
from utils.prediction.grounder import Grounder, NotFiniteError
from utils.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(grounder, tiny_set):
    return Predictor(grounder, ExpressionReader(tiny_set.config()), batch_size=2)


@pytest.fixture(scope="module")
def saved(network, tiny_set, tmp_path_factory):
    """A folder as training leaves it, with config.json and best.weights.h5."""
    folder = tmp_path_factory.mktemp("run")
    save_weights(network(), folder / "best.weights.h5")
    weights = str(folder / "best.weights.h5")
    settings = tiny_set.config(log_path=str(folder), evaluate_model=weights).to_dict()
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def threshold_of(prediction):
    """A threshold that about half of the pixels exceed."""
    return float(np.median(prediction.probability))


def test_results_print_in_one_line(predictor):
    predictor.set_image(np.zeros((40, 60, 3), np.uint8))
    (prediction,) = predictor.predict("red " + 500 * "a")
    text = repr(prediction)
    assert len(text) < 250
    assert "\n" not in text
    assert text.startswith('Prediction("red aaa')
    assert text.endswith(f"mask of {prediction.mask.sum():,} px in 60×40)")
    (attention,) = predictor.attention("red")
    assert repr(attention) == (
        f"Attention(mask of shape {attention.mask.shape}, box of shape {attention.box.shape})"
    )


def test_agrees_with_the_evaluation(predictor, tiny_set):
    config = tiny_set.config()
    evaluator = build_evaluator(config)
    measured = list(evaluator.measure(predictor._grounder, config.word_len, keep_masks=True))
    assert len(measured) > 8
    for expected in measured:
        predictor.set_image(tiny_set.images / expected.image)
        (prediction,) = predictor.predict(expected.expression)
        with Image.open(tiny_set.images / expected.image) as image:
            width, height = image.size
        clipped = np.clip(expected.box_xyxy, 0, [width, height, width, height])
        np.testing.assert_allclose(prediction.box_xyxy, clipped, atol=1e-3)
        assert prediction.score == pytest.approx(expected.score, abs=1e-5)
        # With another batch size, pixels at the threshold can be rounded the other way.
        assert np.mean(prediction.mask != expected.mask) < 0.01
        assert prediction.mask.shape == (height, width)
        assert prediction.mask.dtype == bool


def test_a_photograph_is_encoded_once(predictor, tiny_set, monkeypatch):
    calls = []
    encode = predictor._grounder.encode_images

    def counting(images):
        calls.append(images.shape)
        return encode(images)

    monkeypatch.setattr(predictor._grounder, "encode_images", counting)
    predictor.set_image(tiny_set.images / "a.png")
    many = predictor.predict(["red box", "blue box", "right one", "everything", "red thing"])
    predictor.attention(["red box"])
    assert calls == [(1, 96, 96, 3)]
    for prediction in many:
        (alone,) = predictor.predict([prediction.expression])
        np.testing.assert_allclose(alone.box_xyxy, prediction.box_xyxy, atol=1e-3)
        np.testing.assert_allclose(alone.probability, prediction.probability, atol=1e-5)
    assert len({tuple(prediction.box_xyxy) for prediction in many}) > 1
    assert all(prediction.seconds > 0 for prediction in many)


def test_another_mask_is_computed_without_the_network(predictor, tiny_set, monkeypatch):
    predictor.set_image(tiny_set.images / "d.png")
    (prediction,) = predictor.predict(["red round thing"])
    threshold = threshold_of(prediction)
    (expected,) = predictor.predict(["red round thing"], segment_thresh=threshold, use_nls=False)
    monkeypatch.setattr(predictor, "_grounder", None)
    changed = prediction.with_mask(threshold, use_nls=False)
    np.testing.assert_array_equal(changed.mask, expected.mask)
    np.testing.assert_array_equal(changed.probability, expected.probability)
    assert not np.array_equal(changed.probability, prediction.probability)
    assert 0 < changed.mask.mean() < 1
    assert (prediction.segment_thresh, prediction.use_nls) == (0.35, True)
    assert (changed.segment_thresh, changed.use_nls) == (threshold, False)
    assert changed.with_mask(use_nls=True).probability == pytest.approx(prediction.probability)


def test_paths_images_and_arrays_give_the_same_result(predictor, tiny_set):
    path = tiny_set.images / "b.png"
    boxes = []
    for source in (path, str(path), Image.open(path), np.asarray(Image.open(path))):
        predictor.set_image(source)
        np.testing.assert_array_equal(predictor.image, np.asarray(Image.open(path)))
        boxes.append(predictor.predict("red thing")[0].box_xyxy)
    assert np.ptp(boxes, axis=0).max() == 0


def test_boxes_are_clipped_to_the_photograph(predictor):
    predictor.set_image(np.zeros((4, 96, 3), np.uint8))
    (prediction,) = predictor.predict("red box")
    assert np.ptp(prediction.box_xyxy_input[[1, 3]]) > 4
    left, top, right, bottom = prediction.box_xyxy
    assert 0 <= left < right <= 96
    assert 0 <= top <= bottom <= 4


def test_ignored_words_are_reported(predictor, tiny_set):
    predictor.set_image(tiny_set.images / "a.png")
    known, unknown = predictor.predict(["red box", f"the {UNKNOWN_WORD} box on the left side"])
    assert (known.unknown_words, known.unread_words) == ((), ())
    assert unknown.unknown_words == (UNKNOWN_WORD,)
    assert unknown.unread_words == ("the", "left", "side")


def test_set_image_must_be_called_first(grounder, tiny_set):
    fresh = Predictor(grounder, ExpressionReader(tiny_set.config()))
    with pytest.raises(ValueError, match="call set_image first"):
        fresh.predict("red box")


def test_a_forked_process_is_told_to_make_its_own(predictor):
    """TensorFlow's threads do not survive a fork: without a check, the child waits for ever."""
    predictor.set_image(np.zeros((40, 60, 3), np.uint8))
    calls = [
        lambda: predictor.set_image(np.zeros((40, 60, 3), np.uint8)),
        lambda: predictor.predict("red"),
        lambda: predictor.attention("red"),
    ]
    for call in calls:
        with warnings.catch_warnings(action="ignore"):
            child = os.fork()
        if not child:
            signal.alarm(20)
            try:
                call()
            except UserError as error:
                os._exit(0 if "make one in each process" in str(error) else 1)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(predictor.predict("red")) == 1


def test_bad_input_is_refused(predictor, tiny_set, monkeypatch):
    monkeypatch.setattr(predictor, "max_pixels", 5000)
    predictor.set_image(tiny_set.images / "a.png")
    assert predictor.predict([]) == predictor.attention([]) == []
    with pytest.raises(ValueError, match="an expression is empty"):
        predictor.predict(["red box", "  "])
    with pytest.raises(DataError, match=r"200×70 pixels; at most 0\.005 million"):
        predictor.set_image(tiny_set.images / "d.png")


@pytest.mark.parametrize("ask", ["predict", "attention"])
def test_values_that_are_no_numbers_name_the_photograph(predictor, tiny_set, monkeypatch, ask):
    encode = predictor._grounder.encode_images
    monkeypatch.setattr(
        predictor._grounder, "encode_images", lambda x: [y * np.nan for y in encode(x)]
    )
    path = tiny_set.images / "a.png"
    for image, name, said in (
        (path, None, rf"^{path}: the network computes NaN"),
        (os.fsencode(path), None, rf"^{path}: the network computes NaN"),
        (path, "mine", r"^mine: the network computes NaN"),
        (np.zeros((40, 60, 3), np.uint8), None, r"^the network computes NaN"),
    ):
        predictor.set_image(image, name)
        with pytest.raises(NotFiniteError, match=said):
            getattr(predictor, ask)(["red box", "blue box"])


@pytest.mark.parametrize("expressions", [None, 5, b"red box"])
def test_anything_but_expressions_is_refused(predictor, tiny_set, expressions):
    predictor.set_image(tiny_set.images / "a.png")
    for run in (predictor.predict, predictor.attention):
        with pytest.raises(UserError, match="an expression must be text"):
            run(expressions)


@pytest.mark.parametrize("use_nls", ["no", "False", 2, np.nan, []])
def test_use_nls_is_checked(predictor, grounder, tiny_set, use_nls):
    predictor.set_image(tiny_set.images / "a.png")
    (prediction,) = predictor.predict("red box", use_nls=np.bool_(True))
    assert not prediction.with_mask(use_nls=0).use_nls
    for compute in (
        lambda: predictor.predict("red box", use_nls=use_nls),
        lambda: prediction.with_mask(use_nls=use_nls),
        lambda: Predictor(grounder, predictor.reader, use_nls=use_nls),
    ):
        with pytest.raises(UserError, match="use_nls must be True or False, not "):
            compute()


@pytest.mark.parametrize("image", [None, 5, ["a.png"], "", b""])
def test_anything_but_an_image_is_refused(predictor, image):
    with pytest.raises(DataError, match=r"is no image: expected a path, a PIL\.Image or"):
        predictor.set_image(image)


@pytest.mark.parametrize("threshold", [np.nan, np.inf, -0.01, 1.01, "0.3", True])
def test_thresholds_are_checked(predictor, tiny_set, threshold):
    predictor.set_image(tiny_set.images / "a.png")
    (prediction,) = predictor.predict("red box", segment_thresh=np.float32(0.5))
    for compute in (
        lambda: predictor.predict("red box", segment_thresh=threshold),
        lambda: prediction.with_mask(threshold),
    ):
        with pytest.raises(UserError, match="the mask threshold must be a number between 0 and 1"):
            compute()


def test_a_score_below_the_smallest_one_is_nothing_found(predictor, grounder, tiny_set):
    predictor.set_image(tiny_set.images / "a.png")
    (plain,) = predictor.predict("red box")
    assert plain.found
    assert plain.min_score == 0
    above = (1 + plain.score) / 2
    (nothing,) = predictor.predict("red box", min_score=above)
    assert not nothing.found
    assert repr(nothing) == (
        f'Prediction("red box", nothing found: score {plain.score:.2f} is below {above:g})'
    )
    # The answer of the network itself stays available.
    np.testing.assert_array_equal(nothing.box_xyxy, plain.box_xyxy)
    assert not nothing.with_mask(0.1).found
    strict = Predictor(grounder, ExpressionReader(tiny_set.config()), min_score=above)
    strict.set_image(tiny_set.images / "a.png")
    assert not strict.predict("red box")[0].found
    assert strict.predict("red box", min_score=plain.score)[0].found


def test_after_a_photograph_that_cannot_be_read_none_is_set(predictor, tiny_set):
    predictor.set_image(tiny_set.images / "a.png")
    with pytest.raises(DataError, match=r"nowhere\.png: no such image"):
        predictor.set_image(tiny_set.images / "nowhere.png")
    with pytest.raises(ValueError, match="no photograph is set"):
        predictor.predict("red box")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(predictor, size):
    with pytest.raises(DataError, match=rf"the image: has no pixels, {size[0]}×{size[1]}"):
        predictor.set_image(Image.new("RGB", size))


@pytest.mark.parametrize("score", [np.nan, np.inf, -0.01, 1.01, "0.3", True])
def test_the_smallest_score_is_checked(predictor, grounder, tiny_set, score):
    predictor.set_image(tiny_set.images / "a.png")
    for compute in (
        lambda: predictor.predict("red box", min_score=score),
        lambda: Predictor(grounder, predictor.reader, min_score=score),
    ):
        with pytest.raises(UserError, match="the smallest score must be a number between 0 and 1"):
            compute()


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("red \ud800 box", "half of a surrogate pair"),
        ("red\0box", "NUL"),
        (7, "an expression must be text, not 7"),
        (None, "an expression must be text, not None"),
        (b"red box", "an expression must be text, not b'red box'"),
    ],
)
def test_expressions_that_are_no_text_are_refused(predictor, tiny_set, expression, message):
    predictor.set_image(tiny_set.images / "a.png")
    for run in (predictor.predict, predictor.attention, predictor.reader.read):
        with pytest.raises(UserError, match=message):
            run(["red box", expression])


def test_many_and_long_expressions_take_bounded_memory(predictor, tiny_set):
    predictor.set_image(np.zeros((200, 300, 3), np.uint8))
    words = ["x" * 100_000, "box " * 30_000, "\u202e\U0001f600 box", *["red box"] * 47]
    expressions = [f"{words[k % 50]} {k}" for k in range(500)]
    predictor.predict(expressions[:8])
    masks = 500 * 200 * 300
    with memory_within(masks + 100_000_000):
        predictions = predictor.predict(expressions)
        attention = predictor.attention(expressions)
    assert [prediction.expression for prediction in predictions] == expressions
    assert len(attention) == 500
    assert predictions[0].unknown_words == ("x" * 100_000, "0")
    assert len(predictions[1].unread_words) == 29_997


def test_missing_weights_are_reported(saved):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.h5: no such weight file; name another"):
        Predictor.from_config(saved / "config.json", saved / "nowhere.h5")


@pytest.mark.slow
def test_the_docstring_example_runs(saved, tiny_set, predictor, tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    settings = json.loads((saved / "config.json").read_text())
    settings |= {"use_nls": 0, "segment_thresh": 0.6}
    (tmp_path / "config/demo.json").write_text(json.dumps(settings))
    (tmp_path / "best.weights.h5").write_bytes((saved / "best.weights.h5").read_bytes())
    Image.open(tiny_set.images / "a.png").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    example, *_ = doctest.DocTestFinder(recurse=False).find(Predictor, "Predictor")
    result = doctest.DocTestRunner().run(example, clear_globs=False)
    assert result.attempted >= 6
    assert result.failed == 0

    loaded = example.globs["predictor"]
    assert "MCN weights" in str(loaded.weights_report)
    for one in (loaded, predictor):
        one.set_image(tiny_set.images / "c.png")
    (mine,) = loaded.predict("everything")
    (other,) = predictor.predict("everything", segment_thresh=0.6, use_nls=False)
    np.testing.assert_allclose(mine.box_xyxy, other.box_xyxy, atol=1e-4)
    np.testing.assert_allclose(mine.probability, other.probability, atol=1e-5)
    assert (mine.segment_thresh, mine.use_nls) == (0.6, False)
    np.testing.assert_array_equal(mine.mask, mine.probability > 0.6)


def test_attention_of_both_branches(predictor, network, tiny_set):
    predictor.set_image(tiny_set.images / "d.png")
    words = ["red round thing", "blue box"]
    first, second = predictor.attention(words)
    assert first.mask.shape == (12, 12, 2)
    assert first.box.shape == (3, 3, 2)
    for weights in (first.mask, first.box):
        np.testing.assert_allclose(weights.sum(axis=(0, 1)), 1, rtol=1e-5)
        assert weights.min() >= 0
    assert not np.allclose(first.mask, second.mask)


def test_attention_agrees_with_the_whole_network(predictor, network, tiny_set):
    import keras

    from data.loading.letterbox import letterbox_image

    predictor.set_image(tiny_set.images / "d.png")
    (attention,) = predictor.attention("red round thing")
    model = network()
    unit = model.get_layer("garan_box_attention")
    entering = keras.Model(model.input, [unit.input[0], model.get_layer("fq").output])
    image = letterbox_image(Image.open(tiny_set.images / "d.png"), 96)[None] / np.float32(255)
    words = predictor.reader.read(["red round thing"]).inputs
    feature, fq = entering({"image": image, "words": words}, training=False)
    collect, _ = unit.attention_maps(feature, fq)
    np.testing.assert_allclose(attention.box, np.array(collect)[0], atol=1e-5)


@pytest.mark.slow
def test_half_precision(network, tiny_set):
    grounder = Grounder(network(precision="mixed_bfloat16"), ANCHORS)
    predictor = Predictor(grounder, ExpressionReader(tiny_set.config()))
    predictor.set_image(tiny_set.images / "a.png")
    (prediction,) = predictor.predict("red box")
    (attention,) = predictor.attention("red box")
    assert prediction.probability.dtype == attention.mask.dtype == np.float32
    np.testing.assert_allclose(attention.mask.sum(axis=(0, 1)), 1, rtol=1e-2)


@pytest.mark.slow
def test_bert_reads_the_words(tiny_set, tmp_path):
    pytest.importorskip("keras_hub", reason="pip install -r requirements-bert.txt")
    from model.mcn import build_mcn
    from tests.model.text_encoders.bert_fixtures import write_original

    write_original(tmp_path, num_hidden_layers=2)
    config = tiny_set.config(text_encoder="bert", word_len=7, bert_path=str(tmp_path))
    predictor = Predictor(Grounder(scramble(build_mcn(config)), ANCHORS), ExpressionReader(config))
    predictor.set_image(tiny_set.images / "a.png")
    first, second = predictor.predict(["the red man", "the Ω leftmost leftmost man"])
    assert (first.unknown_words, first.unread_words) == ((), ())
    assert second.unknown_words == ("Ω",)
    assert second.unread_words == ("leftmost", "man")
    assert first.mask.shape == (60, 80)
    assert len(predictor.attention(["the red man"])) == 1


def test_the_upright_photograph_is_letterboxed(predictor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "turned.jpg", exif=exif)
    predictor.set_image(tmp_path / "turned.jpg")
    (prediction,) = predictor.predict("red box")
    assert prediction.mask.shape == (90, 40)
    assert prediction.geometry == Letterbox.fit(40, 90, 96)
