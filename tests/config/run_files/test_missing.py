"""Every file that a run needs is looked for, and each missing one is listed with a command."""

import pytest

from config.errors import UserError
from config.run_files.missing import EVALUATION, TRAINING, check_no_file_missing, missing_files
from config.schema import PROJECT_ROOT, Config, load_config


def config_of(folder, **changes):
    """Settings whose files all exist in a folder."""
    files = {
        "train_set": "train.txt", "evaluate_set": "val.txt", "anchors_file": "anchors.txt",
        "word_embed": "glove.txt", "pretrained_weights": "a.h5", "evaluate_model": "b.h5",
    }  # fmt: skip
    for name in files.values():
        (folder / name).write_text("x")
    (folder / "images").mkdir(exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    (folder / "bert").mkdir(exist_ok=True)
    folders = {"image_path": "images", "seg_gt_path": "masks", "bert_path": "bert"}
    paths = {key: str(folder / name) for key, name in (files | folders).items()}
    return Config(**(paths | changes))


@pytest.mark.parametrize("keys", [TRAINING, EVALUATION], ids=["training", "evaluation"])
def test_each_file_is_looked_for(tmp_path, keys):
    config = config_of(tmp_path)
    assert missing_files(config, keys) == []
    check_no_file_missing(config, keys)
    for key in (*keys, "word_embed"):
        broken = config.replace(**{key: str(tmp_path / "none.txt")})
        (missing,) = missing_files(broken, keys)
        assert (missing.key, missing.path) == (key, tmp_path / "none.txt")
        with pytest.raises(
            UserError, match=f"{key}: {tmp_path}/none.txt: no such file or folder; "
        ):
            check_no_file_missing(broken, keys)


def test_an_empty_file_is_as_good_as_none(tmp_path):
    config = config_of(tmp_path)
    (tmp_path / "a.h5").write_text("")
    (missing,) = missing_files(config)
    assert "a.h5: an empty file; docs/weights.md says" in str(missing)


def test_names_and_empty_values_are_no_files(tmp_path):
    config = config_of(tmp_path)
    for value in ("", "imagenet"):
        assert missing_files(config.replace(pretrained_weights=value)) == []
    assert missing_files(config.replace(word_embed="en_core_web_md")) == []


def test_bert_takes_the_place_of_word_vectors(tmp_path):
    nowhere = str(tmp_path / "none")
    config = config_of(tmp_path, text_encoder="bert", word_embed=nowhere)
    assert missing_files(config) == []
    (missing,) = missing_files(config.replace(bert_path=nowhere))
    assert missing.key == "bert_path"


def test_what_a_newcomer_lacks_is_listed_with_the_commands(monkeypatch):
    config = load_config(PROJECT_ROOT / "config" / "config.json")
    monkeypatch.setattr("pathlib.Path.is_dir", lambda _: False)
    monkeypatch.setattr("pathlib.Path.is_file", lambda _: False)
    with pytest.raises(UserError) as error:
        check_no_file_missing(config)
    message = str(error.value)
    assert message.startswith("7 files or folders of this run are missing:\n  train_set: data/anns")
    for command in ("download.py refcoco && python data/data_process.py ", "download.py darknet\n",
                    "download.py coco-train2014\n", "download.py glove"):  # fmt: skip
        assert f"get it with: python data/{command}" in f"{message}\n"
    assert "data/weights/darknet.h5: no such file or folder; get it with: " in message
