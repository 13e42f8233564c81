"""The page of results says of each picture what its record says."""

import html
import json
import os
import re

import pytest
from PIL import Image

from utils.visualization.results_page import results_page

RECORD = {
    "image": "photos/a.jpg",
    "expression": "a zorblax box on top",
    "picture": "elsewhere/a_1.png",
    "score": 0.256,
    "found": True,
    "unknown_words": ["zorblax"],
    "unread_words": ["top"],
}


def test_without_records_there_is_no_page(tmp_path):
    assert results_page(tmp_path, [], 0) is None


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_took_the_place_of_a_picture_is_left_out(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a_1.png")
    Image.new("RGB", (48, 32)).save(tmp_path / "b_1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # Twice as many are an error.
    for name in ("a_1.png", "b_1.png"):
        page = bytes(results_page(tmp_path, [RECORD | {"picture": name}], 1)).decode()
        assert "<img" not in page
        assert "zorblax" in page


def test_records_become_pictures(tmp_path):
    Image.new("RGB", (48, 32)).save(tmp_path / "a_1.png")
    refused = RECORD | {"expression": "b", "found": False, "unread_words": []}
    page = bytes(results_page(tmp_path, [RECORD, refused], 2)).decode()
    assert f"<h1>2 results in {tmp_path.name}</h1>" in page
    assert page.count('src="./a_1.png" width="48" height="32"') == 2
    assert '<u title="unknown word">zorblax</u> box on <s title="not read">top</s>' in page
    assert re.findall("<figcaption>.*?</ul>(.*?)</figcaption>", page) == [
        "<p>a.jpg</p><p>Score 0.26</p>",
        "<p>a.jpg</p><p>nothing found</p><p>Score 0.26</p>",
    ]
    groups = re.findall('data-groups="(.*?)"', page)
    assert [json.loads(html.unescape(text)) for text in groups] == [
        {"Answer": ["found"]}, {"Answer": ["nothing found"]},
    ]  # fmt: skip
    assert "exactly one box" in page
    assert "move or send the folder as a whole" in page


def test_a_picture_that_is_gone_or_another_file_is_left_out(tmp_path):
    assert b"<img" not in bytes(results_page(tmp_path, [RECORD], 1))
    (tmp_path / "a_1.png").write_text("mine")
    assert b"<img" not in bytes(results_page(tmp_path, [RECORD], 1))
