"""`data/import_jsonl.py --like RUN`: a config that fine-tunes a finished run on own data."""

import json

import pytest

from config.run_folder import network_keys
from config.schema import PROJECT_ROOT, Config, load_config
from tests.data.preparation.own.own_photos import Photos, thing
from tests.tiny import write_run

NETWORK = {
    "backbone_width": 0.0625,
    "backbone_blocks": [1, 1, 1, 1, 1],
    "head_width": 0.0625,
    "aspp_dilations": [1, 2, 4],
    "rnn_cell": "gru",
    "rnn_hidden_size": 8,
    "embed_dim": 50,
    "word_len": 4,
    "input_size": 64,
    "mask_target": "area",
    "word_embed": str(PROJECT_ROOT / "data/demo_glove.50d.txt"),
}


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path)


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run, as far as an import looks at it."""
    settings = Config(**NETWORK, lr=0.5, log_path=str(tmp_path / "run"))
    return write_run(tmp_path, **settings.to_dict())


@pytest.mark.parametrize("name", ["", "config.json", "best.weights.h5", "other.weights.h5"])
def test_the_config_describes_the_network_of_the_run_and_starts_from_it(photos, run, name):
    (run / "other.weights.h5").touch()
    assert photos.run(photos.write(thing()), "--like", run / name) == 0
    file = photos.out / "anns/mine/config.json"
    config, trained = load_config(file), load_config(run / "config.json")
    for key in network_keys(vars(trained)):
        assert getattr(config, key) == getattr(trained, key), key
    weights = name if name.endswith(".h5") else "best.weights.h5"
    assert config.pretrained_weights == str(run / weights)
    assert config.train_set == str(photos.out / "anns/mine/train.txt")
    assert (config.lr, config.log_path) == (Config().lr, str(PROJECT_ROOT / "log/mine"))
    written = json.loads(file.read_text())
    assert written["word_embed"] == "data/demo_glove.50d.txt"  # Inside the project.
    assert "bert_path" not in written


def test_the_run_is_named_at_the_end(photos, run, capsys):
    assert photos.run(photos.write(thing()), "--like", run) == 0
    said = capsys.readouterr().out
    assert (
        f"note: the config starts from {run}/best.weights.h5, with the network of that run" in said
    )


def test_the_demo_network_is_a_run(photos):
    assert photos.run(photos.write(thing()), "--like", PROJECT_ROOT / "data/demo_model") == 0
    written = json.loads((photos.out / "anns/mine/config.json").read_text())
    assert written["pretrained_weights"] == "data/demo_model/mcn.weights.h5"
    assert (written["rnn_cell"], written["input_size"]) == ("gru", 256)


def test_a_run_that_cannot_be_used_leaves_nothing(photos, run, tmp_path, capsys):
    path = photos.write(thing())
    (run / "best.weights.h5").unlink()
    for like, message in (
        (run, "best.weights.h5: no such file; let the run complete an epoch"),
        (tmp_path / "nowhere", "nowhere: no such run; name its folder, config.json or weight"),
        (tmp_path, "is no run, since there is no "),
    ):
        assert photos.run(path, "--like", like) == 2
        assert message in capsys.readouterr().err
    assert not photos.out.exists()
