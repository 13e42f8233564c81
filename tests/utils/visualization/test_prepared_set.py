"""A prepared set is shown as it is, and nothing foreign is replaced."""

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config.errors import UserError
from data.loading.annotations import Referent
from data.loading.errors import DataError
from utils.visualization import prepared_set
from utils.visualization.gallery import gallery
from utils.visualization.palette import GRID
from utils.visualization.panels import contact_sheet
from utils.visualization.prepared_set import Chosen, choose, spread, view_set


def chosen(*expressions, split="val"):
    return Chosen(split, Referent("a.png", (0, 0, 9, 9), 0, 1, expressions))


def texts(path):
    """The expressions of each picture of a page."""
    figures = path.read_text(encoding="utf-8").split("<figure")[1:]
    return [tuple(re.findall("<li>(.*?)</li>", figure)) for figure in figures]


def splits(path):
    """The split of each picture of a page."""
    groups = re.findall('data-groups="(.*?)"', path.read_text(encoding="utf-8"))
    return [split for text in groups for split in json.loads(html.unescape(text))["Split"]]


def test_words_are_whole_and_of_one_expression():
    referents = [chosen("Red box.", "left"), chosen("reddish box"), chosen("the box", "red one")]
    assert choose(referents, ["BOX", "red"]) == referents[:1]
    assert choose(referents, ["red, box"]) == referents[:1]
    assert choose(referents, []) == referents


def test_few_are_spread_over_all():
    referents = [chosen(str(number)) for number in range(10)]
    assert spread(referents, 4) == [referents[k] for k in (0, 2, 5, 7)]
    assert spread(referents, 0) == spread(referents, 10) == spread(referents, 99) == referents


def test_a_page_of_both_sets(tiny_set, tmp_path):
    path = tmp_path / "new" / "view.html"
    said = view_set(tiny_set.config(), path)
    expected = [referent.expressions for referent in (*tiny_set.train, *tiny_set.val)]
    assert texts(path) == expected
    assert "11 referents of 11, in " in said
    assert splits(path) == ["train"] * len(tiny_set.train) + ["val"] * len(tiny_set.val)
    assert path.read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 11


def test_a_page_of_one_split_some_words_and_few_referents(tiny_set, tmp_path):
    path = tmp_path / "view.html"
    view_set(tiny_set.config(), path, splits=["val"], words=["Red"], count=1)
    assert texts(path) == [("red box", "the box on the left side")]
    with pytest.raises(UserError, match="no expression of val has the words green"):
        view_set(tiny_set.config(), path, splits=["val"], words=["green"])
    with pytest.raises(UserError, match=r"has no test\.txt; its splits are .*train, val"):
        view_set(tiny_set.config(), path, splits=["test"])


def test_two_files_of_one_name_are_both_shown(tiny_set, tmp_path):
    config = tiny_set.config()
    other = tmp_path / "other" / Path(config.evaluate_set).name
    other.parent.mkdir()
    shutil.copyfile(config.train_set, other)
    view_set(tiny_set.config(train_set=str(other)), tmp_path / "view.html")
    assert splits(tmp_path / "view.html") == (
        [str(other)] * len(tiny_set.train) + [config.evaluate_set] * len(tiny_set.val)
    )


def test_a_sheet_is_replaced_until_it_is_changed(tiny_set, tmp_path):
    path = tmp_path / "view.png"
    view_set(tiny_set.config(), path)
    first = path.read_bytes()
    view_set(tiny_set.config(), path, splits=["train"], count=2)
    with Image.open(path) as image:
        assert image.width == 2 * 480 + 3 * 16  # two columns and the gaps of 1/30 beside them
        changed = np.array(image)
    assert path.read_bytes() != first
    changed[0, 0] ^= 1
    Image.fromarray(changed).save(path)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"was not written by data/view\.py, or has changed since"):
        view_set(tiny_set.config(), path)
    assert path.read_bytes() == before


def test_foreign_files_are_kept(tiny_set, tmp_path):
    page = bytes(gallery("predict.py", "2 results", [], []))
    for name, content in (
        ("a.html", b"<p>mine</p>"),
        ("c.html", page),
        ("a.png", b"mine"),
        ("b.html", b""),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"move it, or name another --output"):
            view_set(tiny_set.config(), path)
        assert path.read_bytes() == content
    (tmp_path / "link.html").symlink_to(tmp_path / "nowhere.html")
    with pytest.raises(UserError, match="is a link"):
        view_set(tiny_set.config(), tmp_path / "link.html")
    assert not (tmp_path / "nowhere.html").exists()


def test_other_suffixes_and_too_many_referents_are_refused(tiny_set, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"name a file that ends with \.html or \.png"):
        view_set(tiny_set.config(), tmp_path / "view.jpg")
    monkeypatch.setattr(prepared_set, "MOST", {".html": 10, ".png": 3})
    for name, count, number in (("view.html", 0, 11), ("view.html", 11, 11), ("view.png", 4, 4)):
        with pytest.raises(UserError, match=rf"--count {count}: {number} referents would be shown"):
            view_set(tiny_set.config(), tmp_path / name, count=count)
    assert list(tmp_path.iterdir()) == []
    view_set(tiny_set.config(), tmp_path / "view.html", count=10)


def test_faults_are_shown_with_the_others(tiny_set, tmp_path, monkeypatch):
    images, masks = tmp_path / "images", tmp_path / "masks"
    shutil.copytree(tiny_set.images, images)
    shutil.copytree(tiny_set.masks, masks)
    (images / "c.png").write_bytes(b"broken")
    (masks / "1.npy").unlink()
    config = tiny_set.config(image_path=str(images), seg_gt_path=str(masks))
    said = view_set(config, tmp_path / "view.html", splits=["val"])
    page = (tmp_path / "view.html").read_text(encoding="utf-8")
    # One referent is in c.png; the box of that whose mask is missing is drawn.
    assert "2 referents with a fault, the first: " in said
    assert page.count("<p>fault: ") == 2
    assert page.count("<img ") == 5
    drawn = []

    def watched(sections, *rest):
        drawn.extend(panel for panels in sections.values() for panel in panels)
        return contact_sheet(sections, *rest)

    monkeypatch.setattr(prepared_set, "contact_sheet", watched)
    assert "2 referents with a fault" in view_set(config, tmp_path / "view.png", splits=["val"])
    assert len(drawn) == len(tiny_set.val)
    # Gray stands in place of the image of c.png, and the caption names the fault.
    gray = [panel for panel in drawn if (panel[:360] == GRID).all()]
    assert [panel.shape[1] for panel in gray] == [480]
    assert (gray[0][360:] < 100).any()
    for path in images.iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="no image of the set can be read"):
        view_set(config, tmp_path / "other.png", splits=["val"])


def test_a_set_without_masks_shows_boxes(tiny_set, tmp_path):
    config = tiny_set.config(seg_gt_path=str(tmp_path / "nowhere"))
    assert "without masks: the folder of seg_gt_path does not exist" in view_set(
        config, tmp_path / "view.html"
    )
    assert (tmp_path / "view.html").read_text(encoding="utf-8").count("<img ") == 11


def test_missing_images_and_lines_are_named(tiny_set, tmp_path):
    with pytest.raises(UserError, match=r"image_path: .*no such file or folder"):
        view_set(tiny_set.config(image_path=str(tmp_path / "no")), tmp_path / "view.html")
    with pytest.raises(FileNotFoundError, match="no such annotation file"):
        view_set(tiny_set.config(train_set=str(tmp_path / "no.txt")), tmp_path / "view.html")
