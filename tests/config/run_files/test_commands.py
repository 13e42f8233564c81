"""The commands that messages name fetch or make the very files that are missing."""

import pytest

from config.run_files.commands import DIVISIONS, command_for, how_to_get
from config.run_files.released import RELEASED
from config.schema import PROJECT_ROOT, load_config
from data.acquisition.archives import SOURCES, Archive
from data.preparation.raw.raw_set import SPLITS

DATA = PROJECT_ROOT / "data"
CONFIGS = sorted((PROJECT_ROOT / "config").glob("*.json"))


def test_what_download_stores_is_known_by_its_path():
    for released in RELEASED:
        path = DATA / "weights" / released.file
        assert command_for(path) == f"python data/download.py {released.name}"
    stored = {"glove": "words/glove.6B.300d.txt", "glove-840b": "words/glove.840B.300d.txt"}
    for name, file in stored.items():
        (archive,) = SOURCES[name].downloads
        assert f"{archive.folder}/{archive.members[0]}" == file
        assert command_for(DATA / file) == f"python data/download.py {name}"
    for name in ("coco-train2014", "refclef", "bert"):
        archive = SOURCES[name].downloads[-1]
        assert isinstance(archive, Archive)
        folder = archive.folder if archive.flat else f"{archive.folder}/train2014"
        assert command_for(DATA / folder) == f"python data/download.py {name}"


def test_another_data_folder_is_passed_on(tmp_path):
    command = command_for(tmp_path / "mcn/weights/mcn_refcoco+_vgg.h5")
    assert command == f"python data/download.py mcn-refcoco+-vgg --output {tmp_path}/mcn"
    command = command_for(tmp_path / "anns/refcocog/val.txt")
    assert command == (
        f"python data/download.py refcocog --output {tmp_path} && python data/data_process.py "
        f"--data_root {tmp_path}/raw --output_dir {tmp_path} --dataset refcocog --split umd "
        "--generate_mask"
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_file_of_the_shipped_configs_has_a_command(config):
    settings = load_config(config)
    for key in ("train_set", "evaluate_set", "seg_gt_path", "image_path", "anchors_file",
                "pretrained_weights", "word_embed", "evaluate_model", "bert_path"):  # fmt: skip
        assert command_for(getattr(settings, key)), key
    made = {"demo": "make demo", "demo_model": "make demo-model"}
    trained = made.get(config.stem, f"python train.py --config config/{config.name}")
    assert command_for(settings.evaluate_model) == trained


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("data/yolo_anchors.txt", "git checkout data/yolo_anchors.txt"),
        ("data/demo_backbone.weights.h5", "git checkout data/demo_backbone.weights.h5"),
        ("data/demo/anns/refcoco/val.txt", "make demo"),
        ("data/demo_large/anns/refcoco/val.txt", "make demo-model"),
        ("data/anns/mine/train.txt", None),
        ("log/mine/best.weights.h5", None),
        ("data/weights/mine.h5", None),
    ],
)
def test_other_files_of_the_project(path, command):
    assert command_for(PROJECT_ROOT / path) == command


def test_a_clause_for_messages(tmp_path):
    assert how_to_get(tmp_path / "a.h5", "see there") == "see there"
    assert how_to_get(DATA / "weights/vgg.h5", "") == (
        "this command gets it: python data/download.py vgg"
    )


def test_the_divisions_exist():
    assert all((dataset, division) in SPLITS for dataset, division in DIVISIONS.items())
