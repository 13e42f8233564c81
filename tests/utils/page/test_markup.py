"""What the page says in HTML: captions, alternative texts, the weights of words."""

import html
import re

import numpy as np
import pytest

from model.nls import asnls
from tests.utils.prediction.results import prediction
from utils.page.markup import (
    EXPLANATION_OF_ASNLS,
    answer_html,
    attention_html,
    figure_html,
    words_html,
)

PICTURE = np.zeros((60, 80, 3), np.uint8)
BAD = "red\"'<img src=x onerror=alert(1)> ${1} {{1}}"


def texts(markup):
    """The texts of HTML without its tags."""
    return html.unescape(re.sub("<[^>]*>", "", markup)).replace("\xa0", " ")


def alternative(markup):
    return html.unescape(re.search('alt="([^"]*)"', markup)[1])


def test_words_are_shown_with_their_weights():
    weights = (("the", 0.1), ("red", 0.4), ("zorblax", 0.2))
    shown = words_html(
        prediction(
            "the red zorblax on top",
            word_weights=weights,
            unknown_words=("zorblax",),
            unread_words=("on", "top"),
        )
    )
    assert texts(shown).startswith("the 10 %red 40 %zorblax 20 %on top ")
    assert "The rest, 30 %, lies on the empty places" in texts(shown)
    assert texts(shown).endswith("An unknown word is read as an empty place, too.")
    assert re.findall(r"width: (\d+)%", shown) == ["25", "100", "50"]  # The largest is full.
    assert '<u title="unknown word">zorblax</u>' in shown
    assert shown.count('<s title="not read">') == 2


def test_words_that_have_all_the_weight_leave_no_rest():
    shown = texts(words_html(prediction("red", word_weights=(("red", 0.998),))))
    assert shown.endswith("comes from each of them.")


@pytest.mark.parametrize("weights", [None, ()])
def test_networks_without_weights_of_words_show_none(weights):
    assert words_html(prediction("red", word_weights=weights)) == ""


def address(picture):
    assert picture is PICTURE
    return "a.jpg?x&y"


def test_pictures_have_captions_and_alternative_texts():
    shown = answer_html(PICTURE, prediction("red box"), address)
    assert "The box reaches from 20 to 70 pixels from the left" in alternative(shown)
    assert texts(shown) == "red box, box and mask"
    refused = answer_html(PICTURE, prediction("red box", score=0.1, min_score=0.5), address)
    assert alternative(refused) == "Nothing found in the photograph for: red box"
    assert texts(refused) == "Nothing found: red box"
    assert alternative(attention_html(PICTURE, "mask", "a", address)).endswith("for the mask of: a")
    assert "coarser grid" in texts(attention_html(PICTURE, "box", "a", address))
    assert 'src="a.jpg?x&amp;y" width="80" height="60"' in figure_html(PICTURE, "", "", address)


def test_expressions_are_text():
    answer = prediction(BAD, word_weights=tuple((word, 0.1) for word in BAD.split()))
    for shown in (
        answer_html(PICTURE, answer, address),
        attention_html(PICTURE, "box", BAD, address),
        words_html(answer),
    ):
        assert "<img src=x" not in shown
        assert html.escape(BAD.split()[0]) in shown


def test_the_explanation_of_asnls_is_what_it_does():
    """The text says that a sure box changes the mask less than an unsure one."""
    assert "The lower the score of the box, the stronger the effect" in EXPLANATION_OF_ASNLS
    map_of = np.full((8, 8, 1), 0.4, np.float32)
    box = np.array([[0, 0, 3, 3]])
    sure, unsure = (asnls(map_of, box, [score])[..., 0] for score in (0.9, 0.3))
    assert unsure[1, 1] > sure[1, 1] > 0.4 > sure[6, 6] > unsure[6, 6]
