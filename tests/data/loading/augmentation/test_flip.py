"""Mirrored expressions describe the mirrored image, or there are none; geometry is exact."""

import numpy as np
import pytest
from PIL import Image

from data.loading.annotations import Referent, check_box_in_image
from data.loading.augmentation.flip import (
    mirrored_box,
    mirrored_expression,
    mirrored_image,
    mirrored_mask,
)

EXCHANGED = {
    "left man": "right man",
    "man on the left": "man on the right",
    "Left man": "Right man",
    "RIGHT CAR!": "LEFT CAR!",
    "bottom-left corner, (right) one": "bottom-right corner, (left) one",
    "left/right": "right/left",
    "left of the right one": "right of the left one",
    "leftmost  zebra ": "rightmost  zebra ",
    "the topleft picture": "the topright picture",
    "2nd from right": "2nd from left",
    "the cup that is left of the plate": "the cup that is right of the plate",
    "man raising his right hand": "man raising his left hand",
    "second from left to right": "second from right to left",
    "right of bus": "left of bus",
    "person on right in black": "person on left in black",
    "car on the far left behind the bus": "car on the far right behind the bus",
    "one that is to the left over there": "one that is to the right over there",
    "right-handed batter": "left-handed batter",
    "man with the left-hand side of the board": "man with the right-hand side of the board",
    "guy left": "guy right",
    "third from left to right": "third from right to left",
    "the last one on the left": "the last one on the right",
    "the edge of the left bus": "the edge of the right bus",
    "left to right, second one": "right to left, second one",
    "man facing left": "man facing right",
    "left-facing zebra": "right-facing zebra",
    "third from the left in back": "third from the right in back",
    "woman on left with hat": "woman on right with hat",
    "two left zebras": "two right zebras",
    "left red car": "right red car",
    "left-hand side": "right-hand side",
    "at the right": "at the left",
}
UNCHANGED = ["the red umbrella", "bright shirt", "man standing upright", "", "Äpfel links", "cleft"]
AMBIGUOUS = [
    "right behind the car",
    "the one right next to her",
    "Right  In front of the bus",
    "all right sign",
    "the last slice left",
    "pizza that is left",
    "one left behind",
    "left over cake",
    "leftovers",
    "the leftest one",
    "player number seven",
    "number 25",
    "jersey 5a",
    "the 2 men",
    'sign that says "stop"',
    "the bus with letters",
    "man at three o'clock",
    "the clock",
    "hand at 3 oclock",
    "east side",
    "southwest corner",
    "rt guy",
    "lft",
    "human rights banner",
    "going clockwise",
    "a box of left over pizza",
    "left-over pizza",
    "two roads at right angles",
    "the cup that is right side up",
    "right-side-up bowl",
    "the car that has the right-of-way",
    "what is left of the sandwich",
    "what's left of the cake",
    "whats left of cake",
    "last donut left",
    "the only white sheep left",
    "the last man left standing",
    "seat left vacant",
    "bike left at the curb",
    "the truck left parked",
    "food left to eat",
    # "Left over", also behind a preposition, with and without a hyphen.
    "a box of left-over pizza",
    "the food in the left over box",
    "the left-behind suitcase",
    # "To leave".
    "only banana in the bowl left",
    "all that is left of the pie",
    "slice left of the pizza",
    "cake left to cool",
    "the seat left unoccupied",
    "the bus that already left",
    "two left",
    # "Right" that is no direction.
    "looking from right behind the tree",
    "moved to right behind him",
    "man right back there",
    "the guy right infront of us",
    "he is cool right?",
    "not right",
    "right past the gate",
    # What is read, and places with names.
    "the 'stop' sign",
    "book titled left",
    "l-shaped couch",
    "c shaped pillow",
    "counter-clockwise",
    "driver's side mirror",
    "the port side",
    "first base man",
    "north-east corner",
]


@pytest.mark.parametrize(("expression", "expected"), EXCHANGED.items())
def test_left_and_right_are_exchanged_and_back(expression, expected):
    assert mirrored_expression(expression) == expected
    assert mirrored_expression(expected) == expression


@pytest.mark.parametrize("expression", UNCHANGED)
def test_other_words_stay(expression):
    assert mirrored_expression(expression) == expression


@pytest.mark.parametrize("expression", AMBIGUOUS)
def test_ambiguous_expressions_have_no_mirrored_one(expression):
    assert mirrored_expression(expression) is None


def test_image_box_and_mask_are_mirrored_together():
    pixels = np.zeros((3, 5, 3), np.uint8)
    pixels[1, 0] = (9, 8, 7)
    mask = np.zeros((3, 5), np.uint8)
    mask[1, 0] = 1
    image = np.asarray(mirrored_image(Image.fromarray(pixels)))
    assert np.argwhere(image.any(axis=2)).tolist() == [[1, 4]]
    assert image[1, 4].tolist() == [9, 8, 7]
    assert np.argwhere(mirrored_mask(mask)).tolist() == [[1, 4]]
    assert mirrored_box((0, 1, 1, 2), 5) == (4, 1, 5, 2)
    # A box may extend outside of its image, but is clipped where it would have no center inside.
    assert mirrored_box((-2, 0, 3, 3), 5) == (2, 0, 5, 3)


def test_the_center_of_a_mirrored_box_has_a_cell():
    """Its center 0 is a pixel of the image, but that of the mirrored box would be 64 of 64."""
    check_box_in_image(Referent("a.jpg", (-9, 10, 9, 20), 0, 0, ("a",)), 64, 32)
    box = mirrored_box((-9, 10, 9, 20), 64)
    check_box_in_image(Referent("a.jpg", box, 0, 0, ("a",)), 64, 32)
    assert box == (55, 10, 64, 20)
