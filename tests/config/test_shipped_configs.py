"""What the shipped configs say of their data set is true of what preparation writes."""

import json
import re
from pathlib import Path

import pytest

from config.schema import PROJECT_ROOT, load_config
from data.acquisition.archives import SOURCES
from data.loading.anchors import read_anchors
from data.preparation.raw.raw_set import SPLITS
from model.weights.inspection import describe

PUBLIC = [
    path for path in sorted((PROJECT_ROOT / "config").glob("*.json")) if "demo" not in path.stem
]
# Networks of other sizes have no published figures.
PUBLISHED = [path for path in PUBLIC if path.stem != "small"]
SMALL = PROJECT_ROOT / "config" / "small.json"


def test_all_public_configs_are_found():
    assert (len(PUBLIC), len(PUBLISHED)) == (9, 8)


def test_the_small_network_starts_from_what_the_repository_contains():
    config, default = load_config(SMALL), load_config(PROJECT_ROOT / "config" / "config.json")
    backbone = describe(config.pretrained_weights).settings
    values = {key: getattr(config, key) for key in ("backbone", "backbone_width")}
    values["backbone_blocks"] = json.dumps(config.backbone_blocks, separators=(",", ":"))
    assert backbone == values
    # It has learned synthetic shapes only, so all of it is trained.
    assert (config.free_body, config.cache_features) == (0, 0)
    for key in ("train_set", "evaluate_set", "seg_gt_path", "image_path", "word_embed"):
        assert getattr(config, key) == getattr(default, key)
    # Anchors and dilations are the published ones, scaled to the smaller input.
    scale = config.input_size / default.input_size
    anchors = read_anchors(default.anchors_file) * scale
    assert abs(read_anchors(config.anchors_file) - anchors).max() <= 1
    assert config.aspp_dilations == [round(scale * rate) for rate in default.aspp_dilations]


def test_the_overfit_command_of_the_small_config_is_that_of_the_guide():
    command = load_config(SMALL).about[-1].split("python ", 1)[1]
    guide = (PROJECT_ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert command.split() in [shown.split() for shown in _commands(guide)]


def _commands(text):
    """The Python commands of a document, each on one line."""
    return re.findall(r"^python (.+)$", text.replace("\\\n", " "), re.MULTILINE)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_split_named_in_about_exists(path):
    config = load_config(path)
    train, evaluate = Path(config.train_set), Path(config.evaluate_set)
    dataset = train.parent.name
    split_by = re.search(r", split (\w+),", config.about[0])[1]
    splits = SPLITS[dataset, split_by]
    assert config.about[0].lower().startswith((f"{dataset},", f"referit ({dataset}),"))
    assert evaluate.parent == train.parent
    assert Path(config.seg_gt_path).name == dataset
    assert {train.stem, evaluate.stem} <= set(splits)
    # The figures are those of the splits that are prepared, and of no others.
    published = re.search(r"checkpoint, (.+) in percent: REC Acc@0.5 ([\d. /]+),", config.about[1])
    named = published[1].split(" / ")
    assert set(named) <= set(splits) - {"train"}
    assert len(published[2].split(" / ")) == len(named)
    # download.py tells users to prepare this division.
    assert f"--dataset {dataset} --split {split_by} " in SOURCES[dataset].next_step


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_the_weights_to_evaluate_are_those_of_the_training(path):
    config = load_config(path)
    assert Path(config.evaluate_model) == Path(config.log_path) / "best.weights.h5"
    assert Path(config.train_set).parent.name in Path(config.log_path).name
