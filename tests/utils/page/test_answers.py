"""The answers of the page: pictures, facts and error messages, without redundant computation."""

import pickle

import numpy as np
import pytest
from PIL import Image

from tests.tiny import UNKNOWN_WORD
from utils.page.answers import LARGEST_SIDE, SMALLEST_SIDE, Answerer, PageError
from utils.page.markup import problem_html
from utils.prediction.expressions import ExpressionReader
from utils.prediction.grounder import NotFiniteError
from utils.prediction.predictor import Predictor
from utils.visualization.palette import PREDICTED


@pytest.fixture(scope="module")
def predictor(grounder, tiny_set):
    return Predictor(grounder, ExpressionReader(tiny_set.config()))


@pytest.fixture
def calls(predictor, monkeypatch):
    """Names of the predictor's methods in the order of their calls."""
    called = []

    def watch(name, method):
        def watched(*given):
            called.append(name)
            return method(*given)

        monkeypatch.setattr(predictor, name, watched)

    for name in ("set_image", "predict", "attention"):
        watch(name, getattr(predictor, name))
    return called


def test_an_answer(predictor, tiny_set):
    answer = Answerer(predictor).answer(tiny_set.images / "d.png", " red  box ", 0.5, True)
    assert answer.prediction.expression == "red box"
    assert (answer.prediction.segment_thresh, answer.prediction.use_nls) == (0.5, True)
    # 200×70, enlarged for the page.
    height = round(70 * SMALLEST_SIDE / 200)
    assert answer.shown.shape == (height, SMALLEST_SIDE, 3)
    for picture in (answer.attention_mask, answer.attention_box):
        assert picture.shape == answer.shown.shape
    assert not np.array_equal(answer.attention_mask, answer.attention_box)
    picture = answer.picture
    assert picture.shape[1] == SMALLEST_SIDE
    # The box is drawn around its position, scaled to the picture on the page.
    left, top, _, bottom = answer.prediction.box_xyxy * SMALLEST_SIDE / 200
    orange = np.abs(picture[:height].astype(int) - PREDICTED).max(axis=-1) < 12
    middle = round((top + bottom) / 2)
    assert orange[middle - 2 : middle + 3, max(round(left) - 14, 0) : round(left) + 6].any()
    facts = answer.facts
    assert f"<dd>{answer.prediction.score:.2f}</dd>" in facts
    assert "pixels of 200×70" in facts
    assert f"{int(answer.prediction.mask.sum()):,} px" in facts


def test_a_score_below_the_smallest_one_is_nothing_found(predictor, tiny_set):
    answer = Answerer(predictor).answer(tiny_set.images / "d.png", "red box", 0.5, True)
    strict = answer.with_mask(0.5, True, 1.0)
    score = f"{answer.prediction.score:.2f}"
    assert f"<dd>{score}: nothing found, below 1</dd>" in strict.facts
    assert " px, " not in strict.facts
    height = answer.shown.shape[0]
    assert not np.array_equal(answer.picture[:height], answer.shown)
    np.testing.assert_array_equal(strict.picture[:height], strict.shown)
    again = strict.kept().with_mask(0.5, True, 0.0)
    np.testing.assert_array_equal(again.picture, answer.picture)
    asked = Answerer(predictor).answer(
        tiny_set.images / "d.png", "red box", 0.5, True, min_score=1.0
    )
    assert "nothing found" in asked.facts


def test_a_warning_is_shown_with_the_answer(predictor, tiny_set):
    asked = []

    def warn(path, unknown_words):
        asked.append((path, unknown_words))
        return "means <nothing>"

    path = tiny_set.images / "d.png"
    answer = Answerer(predictor, warn).answer(path, f"red {UNKNOWN_WORD}", 0.5, True)
    assert asked == [(path, (UNKNOWN_WORD,))]
    assert '<p class="note">Means &lt;nothing&gt;.</p>' in answer.facts
    assert "Means" in answer.kept().with_mask(0.4, True).facts
    assert "Means" not in Answerer(predictor).answer(path, "red", 0.5, True).facts


def test_large_photographs_are_scaled_down(predictor, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg")
    answer = Answerer(predictor).answer(tmp_path / "large.jpg", "red box", 0.5, False)
    assert answer.shown.shape == (LARGEST_SIDE // 2, LARGEST_SIDE, 3)
    assert answer.prediction.mask.shape == (900, 1800)
    assert "pixels of 1800×900" in answer.facts


def test_another_mask_does_not_run_the_network(predictor, tiny_set, calls):
    answerer = Answerer(predictor)
    answer = answerer.answer(tiny_set.images / "a.png", "red box", 0.35, True)
    assert calls == ["set_image", "predict", "attention"]
    bold, thin = answer.with_mask(0.05, False), answer.with_mask(0.95, True)
    assert calls == ["set_image", "predict", "attention"]
    assert bold.prediction.mask.sum() > thin.prediction.mask.sum()
    assert not np.array_equal(bold.picture, thin.picture)
    np.testing.assert_array_equal(bold.attention_mask, answer.attention_mask)


def test_a_photograph_is_encoded_once(predictor, tiny_set, calls):
    answerer = Answerer(predictor)
    first, second = tiny_set.images / "a.png", tiny_set.images / "b.png"
    assert answerer.answer(first, "red box", 0.35, True).image_seconds > 0
    again = answerer.answer(first, "blue box", 0.35, True)
    assert again.image_seconds == 0
    assert "encoded before + " in again.facts
    answerer.answer(second, "blue box", 0.35, True)
    answerer.answer(first, "blue box", 0.35, True)
    assert calls.count("set_image") == 3


def test_ignored_words_are_escaped(predictor, tiny_set):
    expression = f"the <b>{UNKNOWN_WORD}</b> box on the left side"
    facts = Answerer(predictor).answer(tiny_set.images / "a.png", expression, 0.35, True).facts
    assert f"Unknown words: <b>&lt;b&gt;{UNKNOWN_WORD}&lt;/b&gt;</b>" in facts
    assert "beyond the limit, ignored: <b>the, left, side</b>" in facts


def test_a_warning_names_unknown_words_once(predictor, tiny_set):
    answerer = Answerer(predictor, lambda _, words: f"the network does not know {words[0]}")
    facts = answerer.answer(tiny_set.images / "a.png", f"{UNKNOWN_WORD} box", 0.35, True).facts
    assert f'<p class="note">The network does not know {UNKNOWN_WORD}.</p>' in facts
    assert facts.count(UNKNOWN_WORD) == 1


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "Describe the object"),
        (None, "Describe the object"),
        (" \n", "Describe the object"),
        ("a " * 200, "at most 300 characters"),
        ("red \0 box", "contains NUL"),
        ("red \ud83d box", "half of a surrogate pair"),
        (["red box"], "in words"),
    ],
)
def test_missing_or_long_input_is_reported(predictor, tiny_set, expression, message):
    answerer = Answerer(predictor)
    with pytest.raises(PageError, match=message):
        answerer.answer(tiny_set.images / "a.png", expression, 0.35, True)
    with pytest.raises(PageError, match="Choose a photograph"):
        answerer.answer(None, "red box", 0.35, True)


def test_a_broken_photograph_does_not_affect_the_next(predictor, tiny_set, tmp_path):
    answerer = Answerer(predictor)
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    answerer.answer(tiny_set.images / "a.png", "red box", 0.35, True)
    with pytest.raises(PageError, match=r"^broken\.jpg: not a readable image"):
        answerer.answer(broken, "red box", 0.35, True)
    answer = answerer.answer(tiny_set.images / "b.png", "red box", 0.35, True)
    assert answer.prediction.mask.shape == (96, 60)


@pytest.mark.parametrize("method", ["predict", "attention"])
def test_values_that_are_no_numbers_are_a_sentence(predictor, tiny_set, monkeypatch, method):
    monkeypatch.setattr(predictor, method, lambda *_: (_ for _ in ()).throw(NotFiniteError("x")))
    with pytest.raises(PageError, match="no valid result for this: try another photograph"):
        Answerer(predictor).answer(tiny_set.images / "a.png", "red box", 0.35, True)


def test_problems_are_escaped():
    assert problem_html("<i>.jpg and/or b") == '<p class="problem">&lt;i&gt;.jpg and/or b</p>'


@pytest.mark.parametrize("name", [None, "my <photo>/and or.jpg", "x" * 5000])
def test_messages_name_a_photograph_as_its_owner_does(predictor, tmp_path, name):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    with pytest.raises(PageError) as problem:
        Answerer(predictor).answer(broken, "red box", 0.35, True, name)
    assert str(problem.value).startswith((name or "broken.jpg")[:100] + ": not a readable image")
    assert str(tmp_path) not in str(problem.value)


def test_what_a_session_keeps_is_small(predictor, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 3000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg")
    answer = Answerer(predictor).answer(tmp_path / "large.jpg", "red box", 0.5, False)
    kept = answer.kept()
    assert len(pickle.dumps(kept)) <= 3e6 < len(pickle.dumps(answer))
    again, expected = kept.with_mask(0.3, True), answer.with_mask(0.3, True)
    np.testing.assert_array_equal(again.picture, expected.picture)
    assert again.facts == expected.facts


@pytest.mark.parametrize(
    "threshold", [float("nan"), float("inf"), -0.1, 1.1, "0.3", True, None, 1j]
)
def test_thresholds_are_checked(predictor, tiny_set, threshold):
    answerer, path = Answerer(predictor), tiny_set.images / "a.png"
    with pytest.raises(PageError, match="the mask threshold must be a number between 0 and 1, not"):
        answerer.answer(path, "red box", threshold, True)
    answer = answerer.answer(path, "red box", 0.35, True)
    with pytest.raises(PageError, match="the mask threshold must be a number between 0 and 1, not"):
        answer.kept().with_mask(threshold, True)
    with pytest.raises(PageError, match="the smallest score must be a number between 0 and 1, not"):
        answerer.answer(path, "red box", 0.35, True, min_score=threshold)
    if threshold is not None:  # Keeps the score of before.
        with pytest.raises(PageError, match="the smallest score must be a number between 0 and 1"):
            answer.with_mask(0.35, True, threshold)
    with pytest.raises(PageError, match="ASNLS can only be on or off"):
        answer.with_mask(0.35, 1)
