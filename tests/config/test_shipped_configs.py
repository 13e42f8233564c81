"""What the shipped configs say of their data set is true of what preparation writes."""

import re
from pathlib import Path

import pytest

from config.schema import PROJECT_ROOT, load_config
from data.acquisition.archives import SOURCES
from data.preparation.refer import SPLITS

PUBLIC = [path for path in sorted((PROJECT_ROOT / "config").glob("*.json")) if path.stem != "demo"]


def test_all_public_configs_are_found():
    assert len(PUBLIC) == 8


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
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
