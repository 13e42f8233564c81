"""The page of results says of each picture what its record says."""

import re

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
    assert results_page(tmp_path, []) is None


def test_records_become_pictures(tmp_path):
    Image.new("RGB", (48, 32)).save(tmp_path / "a_1.png")
    refused = RECORD | {"expression": "b", "found": False, "unread_words": []}
    page = results_page(tmp_path, [RECORD, refused]).decode()
    assert f"<h1>2 results in {tmp_path.name}</h1>" in page
    assert page.count('src="./a_1.png" width="48" height="32"') == 2
    assert '<u title="unknown word">zorblax</u> box on <s title="not read">top</s>' in page
    assert re.findall("<figcaption>.*?</ul>(.*?)</figcaption>", page) == [
        "<p>a.jpg</p><p>Score 0.26</p>",
        "<p>a.jpg</p><p>nothing found</p><p>Score 0.26</p>",
    ]
    assert re.findall('<option value="([^"]*)">', page) == ["", "found", "nothing found"]
    assert "exactly one box" in page


def test_a_picture_that_is_gone_or_another_file_is_left_out(tmp_path):
    assert b"<img" not in results_page(tmp_path, [RECORD])
    (tmp_path / "a_1.png").write_text("mine")
    assert b"<img" not in results_page(tmp_path, [RECORD])
