"""Pages of pictures show every text as it is, load nothing from elsewhere and can be filtered."""

import html
import io
import re
import tempfile
import tracemalloc
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from config.errors import NoSpaceError
from utils.visualization.gallery import (
    FEW,
    Card,
    embedded,
    gallery,
    is_gallery,
    picture_address,
    picture_width,
    words_of,
)

SCRIPT = "<script>alert(1)</script>"


def card(expression="red box", picture="./a.png", **changes):
    return Card(picture, (40, 30), (expression,), **changes)


def page(*cards, title="a set"):
    return bytes(gallery("test.py", title, ["a note"], cards)).decode()


def test_texts_are_shown_as_they_are():
    text = f"\"'&{SCRIPT}\ud800"
    written = page(
        card(text, notes=(text,), groups={text: (text,)}, values={text: 0.5}),
        card("b", groups={text: ("other",)}),
        title=text,
    )
    assert written.count("<script") == 1
    assert "onerror" not in page(card('x" onerror="alert(1)'))[:400]
    shown = html.unescape(re.search(r"<li>(.*?)</li>", written)[1])
    assert shown == "\"'&<script>alert(1)</script>?"


def test_pictures_are_lazy_and_have_their_size():
    images = re.findall("<img [^>]*>", page(card(), card("no picture", picture="")))
    assert images == [
        '<img src="./a.png" width="40" height="30" loading="lazy" decoding="async" alt="red box">'
    ]


def test_nothing_is_loaded_from_elsewhere():
    written = page(card(picture=picture_address('a b:c?#ü".png')))
    assert 'src="./a%20b%3Ac%3F%23%C3%BC%22.png"' in written
    assert not re.search(r"https?:|//[a-z]|@import|url\(", written)
    assert "default-src 'none'" in written


def test_words_that_the_network_does_not_see_are_marked():
    written = page(card("a zorblax a b", unknown_words=("zorblax", "b"), unread_words=("b",)))
    marked = 'a <u title="unknown word">zorblax</u> a <s title="not read">b</s>'
    assert f"<li>{marked}</li>" in written


def test_words_are_found_without_case_and_punctuation():
    assert words_of(" The  man's \"Hat\", (left) # ÉTÉ! _x_") == [
        "the", "man's", "hat", "left", "#", "été", "x",
    ]  # fmt: skip
    assert 'data-words=" red box "' in page(card("Red box."))


def test_large_photographs_stay_sharp():
    small, large = np.zeros((60, 80, 3), np.uint8), np.zeros((3000, 4000, 3), np.uint8)
    coco = np.zeros((640, 480, 3), np.uint8)
    assert [picture_width(image, FEW) for image in (small, coco, large)] == [480, 640, 1280]
    assert [picture_width(image, FEW + 1) for image in (small, coco, large)] == [480, 640, 640]


def test_cards_are_written_as_they_come():
    """Pages of thousands of pictures do not fit into memory several times."""
    picture = "data:image/jpeg;base64," + "A" * (1 << 20)
    tracemalloc.start()
    try:
        content = gallery("test.py", "a set", [], (card(picture=picture) for _ in range(50)))
        assert len(content) > 50 << 20
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_a_full_disk_for_temporary_files_is_named(small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk(200_000)))
    cards = (card(picture="x" * 100_000) for _ in range(5))
    with pytest.raises(NoSpaceError, match="the disk is full"):
        gallery("test.py", "a set", [], cards)


def test_an_embedded_picture_keeps_its_colors():
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, 24:] = (230, 159, 0)
    head, _, content = embedded(picture).partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(b64decode(content))) as image:
        assert image.size == (48, 32)
        np.testing.assert_allclose(np.asarray(image).astype(int), picture, atol=12)


def test_a_page_is_recognized_by_its_command_until_it_is_changed(tmp_path):
    path, link = tmp_path / "index.html", tmp_path / "link.html"
    content = bytes(gallery("test.py", "a set", [], [card()]))
    path.write_bytes(content)
    assert is_gallery(path, "test.py")
    assert not is_gallery(path, "data/view.py")
    link.symlink_to(path)
    assert not is_gallery(link, "test.py")
    assert not is_gallery(tmp_path, "test.py")
    assert not is_gallery(tmp_path / "missing.html", "test.py")
    for changed in (
        content.replace(b"red", b"big", 1), content + b"\n", content[:-1], b"", content[-90:]
    ):  # fmt: skip
        path.write_bytes(changed)
        assert not is_gallery(path, "test.py")
    path.write_bytes(content.replace(b"test.py", b"test.js"))
    assert not is_gallery(path, "test.js")


@pytest.mark.slow
def test_a_tall_picture_fits_into_the_window_until_it_is_enlarged(browser, tmp_path):
    tall = Card(embedded(np.zeros((1200, 300, 3), np.uint8)), (300, 1200), ("red",))
    (tmp_path / "index.html").write_bytes(gallery("test.py", "a set", [], [tall]))
    browser.set_window_size(700, 800)
    browser.get((tmp_path / "index.html").as_uri())
    size = "const i = document.querySelector('img'); return [i.offsetWidth, i.offsetHeight]"
    assert browser.execute_script(size) == [104, 416]
    browser.find_element("css selector", "button.picture").click()
    assert browser.execute_script(size) == [300, 1200]


@pytest.mark.slow
def test_filters_in_a_browser(browser, tmp_path):
    Image.new("RGB", (40, 30), (230, 159, 0)).save(tmp_path / "a ü.png")
    address = picture_address("a ü.png")
    groups = [
        {"Split": ("val",), "One": ("x",)},
        {"Split": ("train",)},
        {"Split": ("val", "train")},
    ]
    cards = [
        card("Red box,", address, groups=groups[0], values={"Box IoU": 0.2}),
        card(f"blue box {SCRIPT}", address, groups=groups[1], values={"Box IoU": 0.6}),
        card("red disk", address, groups=groups[1], values={"Box IoU": 0.9, "Score": 7.3}),
        Card(embedded(np.zeros((30, 400, 3), np.uint8)), (400, 30), ("red ring", "reddish hat"),
             groups=groups[2]),
    ]  # fmt: skip
    (tmp_path / "index.html").write_bytes(gallery("test.py", "a set", [], cards))
    browser.set_window_size(700, 800)
    browser.get((tmp_path / "index.html").as_uri())

    def shown():
        return browser.execute_script(
            "return [...document.querySelectorAll('figure')].map((f, k) => f.hidden ? -1 : k)"
            ".filter((k) => k >= 0)"
        )

    def put(selector, value):
        browser.execute_script(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('input', {bubbles: true}));",
            selector, value,
        )  # fmt: skip

    assert shown() == [0, 1, 2, 3]
    widths = "return [...document.images].map((image) => image.naturalWidth)"
    assert browser.execute_script(widths) == [40, 40, 40, 400]
    # As --words of data/view.py: whole words of one expression, without punctuation.
    for words, found in (("RED (disk)", [2]), ("redd", []), ("ring hat", []), ("hat", [3])):
        put("[name=words]", words)
        assert shown() == found
    put("[name=words]", "red")
    assert shown() == [0, 2, 3]
    put("[data-group=Split]", "val")
    assert shown() == [0, 3]
    # Only filters with something to choose from.
    selects = "return [...document.querySelectorAll('select')].map((s) => s.dataset.group)"
    assert browser.execute_script(selects) == ["Split"]
    put("[data-bound=most]", "0.5")
    assert shown() == [0]
    assert browser.execute_script("return document.getElementById('count').textContent") == (
        "1 of 4 pictures"
    )
    browser.execute_script("document.querySelector('form').reset()")
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert shown() == [0, 1, 2, 3]
    put("[data-bound=least]", "0.6")
    assert shown() == [1, 2]
    put("[data-value=Score][data-bound=most]", "0.9")
    assert shown() == []
    browser.execute_script("document.querySelector('form').reset()")
    put("[data-group=Split]", "train")
    assert shown() == [1, 2, 3]  # One of them is of both splits.

    width = "return document.images[3].getBoundingClientRect().width"
    before = browser.execute_script(width)
    button = browser.find_elements("css selector", "button.picture")[3]
    assert button.get_attribute("aria-expanded") == "false"
    button.send_keys("\n")
    assert button.get_attribute("aria-expanded") == "true"
    assert browser.execute_script(width) == 400 > before
    button.click()
    assert browser.execute_script(width) == before
    assert browser.get_log("browser") == []
