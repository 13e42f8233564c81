"""Which networks and pictures are those of the demo, and what is said about others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config.schema import PROJECT_ROOT, Config, load_config
from data.loading.annotations import read_annotations
from utils.demo import DEMO_WEIGHTS, demo_warning, is_demo_network, is_demo_scene

SCENES = sorted((DEMO_WEIGHTS.parent / "scenes").iterdir())


def test_the_shipped_network_and_those_of_the_demo_set_are_demo_networks(tmp_path):
    assert is_demo_network(Config(), DEMO_WEIGHTS)
    assert is_demo_network(load_config(DEMO_WEIGHTS.parent / "config.json"), None)
    assert is_demo_network(load_config(PROJECT_ROOT / "config/demo.json"), tmp_path / "w.h5")
    larger = Config(train_set=str(PROJECT_ROOT / "data/demo_large/anns/refcoco/train.txt"))
    assert is_demo_network(larger, tmp_path / "w.h5")
    for path in ("data/anns/refcoco/train.txt", "data/demonstrators/train.txt"):
        config = Config(train_set=str(PROJECT_ROOT / path))
        assert not is_demo_network(config, tmp_path / "w.h5")
    assert not is_demo_network(Config(train_set=str(tmp_path / "demo/train.txt")), "log/w.h5")


@pytest.mark.parametrize("scene", SCENES, ids=lambda path: path.name)
def test_scenes_are_recognized_wherever_they_are(scene, tmp_path, monkeypatch):
    assert is_demo_scene(scene)
    monkeypatch.chdir(scene.parent)
    assert is_demo_scene(scene.name)
    shutil.copy(scene, tmp_path / "upload.jpg")
    assert is_demo_scene(tmp_path / "upload.jpg")


def test_pictures_of_the_demo_set_are_scenes():
    assert is_demo_scene(PROJECT_ROOT / "data/demo/raw/images/train2014/a.jpg")


def test_any_other_picture_is_none(tmp_path):
    photograph = tmp_path / "photo.jpg"
    Image.open(SCENES[0]).rotate(90).save(photograph)
    same_size = tmp_path / "same.jpg"
    same_size.write_bytes(bytes(SCENES[0].stat().st_size))
    for path in (photograph, same_size, tmp_path / "missing.jpg", tmp_path):
        assert not is_demo_scene(path)


def test_the_warning_names_the_reasons(tmp_path):
    assert demo_warning(SCENES[0], []) is None
    trained = ": the demo network was trained only on synthetic shapes; "
    told = demo_warning(tmp_path / "photo.jpg", [])
    assert told.startswith(f"this picture is not one of the network's scenes{trained}")
    told = demo_warning(SCENES[0], ["woman", "umbrella", "woman"])
    assert told.startswith(f"the network does not know the words woman, umbrella{trained}")
    both = demo_warning(tmp_path / "photo.jpg", [*"abcdefghij", "x" * 1000])
    assert (
        "network's scenes and the network does not know the words a, b, c, d, e and 6 more: "
        in both
    )
    assert "x" * 21 not in demo_warning(SCENES[0], ["x" * 1000])


@pytest.mark.slow
def test_the_examples_of_the_page_are_answered_right():
    from utils.page.app import EXAMPLES, example_rows
    from utils.prediction.predictor import Predictor

    config = load_config(DEMO_WEIGHTS.parent / "config.json")
    truth = {
        (referent.image, expression): np.array(referent.box_xyxy_px)
        for referent in read_annotations(config.evaluate_set)
        for expression in referent.expressions
    }
    predictor = Predictor.from_config(config, DEMO_WEIGHTS)
    rows = example_rows(config)
    assert len(rows) == EXAMPLES
    for path, expression in rows:
        predictor.set_image(path)
        (prediction,) = predictor.predict(expression)
        box, true_box = prediction.box_xyxy, truth[Path(path).name, expression]
        sides = np.maximum(np.minimum(box, true_box)[2:] - np.maximum(box, true_box)[:2], 0)
        areas = [np.prod(b[2:] - b[:2]) for b in (box, true_box)]
        assert sides.prod() / (sum(areas) - sides.prod()) > 0.7, (path, expression)
        left, top, right, bottom = true_box.round().astype(int)
        inside = prediction.mask[top:bottom, left:right].sum()
        assert inside > 0.9 * prediction.mask.sum() > 0.2 * areas[1], (path, expression)
