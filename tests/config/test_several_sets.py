"""Lists of sets in a config."""

import json

import pytest

from config.errors import ConfigError
from config.schema import PROJECT_ROOT, Config, load_config


@pytest.fixture
def write(tmp_path):
    def written(settings):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(settings))
        return path

    return written


def absolute(path):
    return str(PROJECT_ROOT / path)


def test_a_list_is_its_first_set_and_the_others(write):
    config = load_config(write({"train_set": ["a/train.txt", "b/train.txt"]}))
    assert config.train_sets == [absolute("a/train.txt"), absolute("b/train.txt")]
    assert config.also_train == config.train_sets[1:]
    assert config.also_evaluate == []


def test_a_list_can_be_given_on_the_command_line(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(write({}), ['evaluate_set=["a/val.txt", "b/val.txt"]'])
    assert config.evaluate_sets == [str(tmp_path / "a/val.txt"), str(tmp_path / "b/val.txt")]


def test_one_set_replaces_a_list(write):
    path = write({"train_set": ["a/train.txt", "b/train.txt"]})
    assert load_config(path, ["train_set=/c/train.txt"]).train_sets == ["/c/train.txt"]


def test_written_settings_are_read_back(write):
    config = load_config(write({"train_set": ["a/train.txt", "b/train.txt"], "best_of": "mean"}))
    assert load_config(write(config.to_dict())) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_set": []}, "train_set: is an empty list"),
        ({"train_set": ["a/t.txt"], "also_train": []}, "train_set is a list and contains 'also_"),
        ({"train_set": ["a/t.txt", ""]}, "must be a list of paths, none of them empty"),
        ({"train_set": ["a/t.txt", "b/a/t.txt"]}, "different names: a/t.txt is there twice"),
        ({"evaluate_set": ["a/v.txt", "a/v.txt"]}, "also_evaluate = .*a/v.txt is there twice"),
        ({"train_set": ["a/t.txt", "b/t.txt"], "train_weights": [1]}, "one number per training se"),
        ({"train_weights": [0]}, r"train_weights = \[0\]: must be at least 0.001"),
        ({"train_set": ["a/t.txt", 1]}, "must be a string or a list of strings"),
    ],
)
def test_lists_that_cannot_be_used(write, settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(settings))


def test_masks_of_other_data_sets_are_beside_those_of_the_first():
    config = Config().replace(
        train_set=["data/anns/refcoco/train.txt", "data/anns/refcoco+/train.txt"],
        evaluate_set=["data/anns/refcoco/val.txt", "data/anns/refcocog/val.txt"],
        seg_gt_path="elsewhere/of_refcoco",
    )
    assert [config.mask_folder(path) for path in (*config.train_sets, *config.evaluate_sets)] == [
        "elsewhere/of_refcoco", "elsewhere/refcoco+", "elsewhere/of_refcoco", "elsewhere/refcocog",
    ]  # fmt: skip
    each = config.each_evaluation()
    assert [one.evaluate_sets for one in each] == [[path] for path in config.evaluate_sets]
    assert each[1].mask_folder(each[1].evaluate_set) == "elsewhere/refcocog"
