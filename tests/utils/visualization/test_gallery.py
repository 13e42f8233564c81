"""Pages of pictures show every text as it is, load nothing from elsewhere and can be filtered."""

import html
import io
import re
import shutil
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from utils.visualization.gallery import Card, embedded, gallery, is_gallery, picture_address

SCRIPT = "<script>alert(1)</script>"


def card(expression="red box", picture="./a.png", **changes):
    return Card(picture, (40, 30), (expression,), **changes)


def page(*cards, title="a set"):
    return gallery(title, ["a note"], cards).decode()


def test_texts_are_shown_as_they_are():
    text = f"\"'&{SCRIPT}\ud800"
    written = page(
        card(text, notes=(text,), groups={text: text}, values={text: 0.5}),
        card("b", groups={text: "other"}),
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


def test_only_filters_with_a_choice_are_shown():
    one = page(card(groups={"Split": "val"}), card(groups={"Split": "val"}))
    assert "<select" not in one
    two = page(card(groups={"Split": "val"}), card(groups={"Split": "train"}))
    assert re.findall('<option value="([^"]*)">', two) == ["", "val", "train"]
    assert "fieldset>" not in two.split("</style>")[1].split("<script")[0]
    assert page(card(values={"Score": 0.25})).count('data-value="Score"') == 2


def test_an_embedded_picture_keeps_its_colors():
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, 24:] = (230, 159, 0)
    head, _, content = embedded(picture).partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(b64decode(content))) as image:
        assert image.size == (48, 32)
        np.testing.assert_allclose(np.asarray(image).astype(int), picture, atol=12)


def test_a_page_is_recognized_until_it_is_changed(tmp_path):
    path, link = tmp_path / "index.html", tmp_path / "link.html"
    content = gallery("a set", [], [card()])
    path.write_bytes(content)
    assert is_gallery(path)
    link.symlink_to(path)
    assert not is_gallery(link)
    assert not is_gallery(tmp_path)
    assert not is_gallery(tmp_path / "missing.html")
    for changed in (
        content.replace(b"red", b"big", 1), content + b"\n", content[:-1], b"", content[-90:]
    ):  # fmt: skip
        path.write_bytes(changed)
        assert not is_gallery(path)


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with its driver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.mark.slow
def test_filters_in_a_browser(browser, tmp_path):
    Image.new("RGB", (40, 30), (230, 159, 0)).save(tmp_path / "a ü.png")
    address = picture_address("a ü.png")
    cards = [
        card("red box", address, groups={"Split": "val"}, values={"Box IoU": 0.2}),
        card(f"blue box {SCRIPT}", address, groups={"Split": "train"}, values={"Box IoU": 0.6}),
        card("red disk", address, groups={"Split": "train"}, values={"Box IoU": 0.9, "Score": 7.3}),
        card("red ring", embedded(np.zeros((30, 40, 3), np.uint8)), groups={"Split": "val"}),
    ]
    (tmp_path / "index.html").write_bytes(gallery("a set", [], cards))
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
    assert browser.execute_script(widths) == [40, 40, 40, 40]
    put("[name=words]", "RED di")
    assert shown() == [2]
    put("[name=words]", "red")
    put("[data-group=Split]", "val")
    assert shown() == [0, 3]
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
    assert browser.get_log("browser") == []
