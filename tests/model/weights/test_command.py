"""`python -m model.weights`: converting and inspecting files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from config.command_line import BAD_INPUT, exit_code
from config.errors import UserError
from model.mcn import visual_backbone
from model.weights import load_pretrained, load_weights, save_weights
from model.weights.__main__ import main
from model.weights.inspection import describe
from tests.model.weights.test_provenance import OFFICIAL_YOLOV3, sparse_darknet
from tests.model.weights.weight_fixtures import (
    SIDES,
    TINY,
    backbone_arrays,
    detector_layers,
    fresh_pair,
    same_weights,
    write_applications_vgg,
    write_darknet,
    write_keras2,
    write_published,
    yolo_head_arrays,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY))
    return ["--config", str(path)]


def run(*arguments):
    """Runs the command in this process; returns its exit code."""
    return exit_code(lambda: main([str(argument) for argument in arguments]), "")


def in_backbone(name):
    return name.startswith("backbone_")


def test_converted_darknet_file_keeps_its_mark_and_its_part(tmp_path, config, capsys):
    pair = fresh_pair("darknet")
    arrays = backbone_arrays(pair.source)
    source = write_darknet(
        tmp_path / "yolov3.weights", arrays + yolo_head_arrays(SIDES["darknet"], 80)
    )
    target = tmp_path / "new" / "backbone.weights.h5"
    assert run("convert", source, target, *config) == 0
    printed = capsys.readouterr().out
    for part in ("convolution 1 kernel", "3×3×3×2", "not used (17)", "left as initialized",
                 "trained on: coco (marked"):  # fmt: skip
        assert part in printed
    report = load_pretrained(pair.target, target)
    assert same_weights(pair.source, pair.target, in_backbone)
    assert not any(map(in_backbone, report.missing))

    source = write_darknet(tmp_path / "darknet53.conv.74", arrays[:-6])
    assert run("convert", source, target, *config, "--half", "--overwrite") == 0
    fresh_pair("darknet")
    report = load_pretrained(pair.target, target)
    assert [n for n in report.missing if in_backbone(n)][:2] == [
        "backbone_19_conv",
        "backbone_19_bn",
    ]
    assert report.kind == "MCN darknet backbone, trunk only"
    assert describe(target).precision == "float16"
    assert "trunk of a backbone of MCN, darknet, 18 convolutions" in str(describe(target))


def test_published_checkpoint_and_mark_by_hand(tmp_path, config, capsys):
    pair = fresh_pair("vgg")
    source = write_published(tmp_path / "best_map.h5", pair.source)
    target = tmp_path / "mcn.weights.h5"
    wanted = [*config, "--set", "backbone=vgg", "--trained_on", "refcoco"]
    assert run("convert", source, target, *wanted) == 0
    load_weights(pair.target, target)
    assert same_weights(pair.source, pair.target) > 60
    with h5py.File(target) as file:
        assert file.attrs["trained_on"] == "refcoco"
    capsys.readouterr()
    # Without the setting, the message names the key and nothing is written.
    other = tmp_path / "other.weights.h5"
    assert run("convert", source, other, *config) == BAD_INPUT
    assert "--set backbone=vgg" in capsys.readouterr().err
    assert not other.exists()


def test_adapted_vgg_is_not_adapted_twice(tmp_path, config):
    pair = fresh_pair("vgg")
    arrays = backbone_arrays(pair.source)[:13]
    source = write_applications_vgg(tmp_path / "vgg16_notop.h5", arrays)
    target = tmp_path / "vgg.weights.h5"
    assert run("convert", source, target, *config, "--set", "backbone=vgg") == 0
    load_pretrained(pair.target, source)
    once = pair.target.get_layer("backbone_1_conv").get_weights()
    fresh_pair("vgg")
    load_pretrained(pair.target, target)
    for first, second in zip(
        once, pair.target.get_layer("backbone_1_conv").get_weights(), strict=True
    ):
        assert (first == second).all()


def test_errors_of_the_command_line(tmp_path, config, capsys):
    path = tmp_path / "mcn.weights.h5"
    save_weights(fresh_pair("darknet").source, path)
    for arguments, message in (
        ([str(path), str(path)], "is the file to convert"),
        ([str(path), str(path), "--overwrite"], "is the file to convert"),
        ([str(path), str(tmp_path / "mcn.h5")], "must end in .weights.h5"),
        ([str(path), str(tmp_path / "b.weights.h5"), "--set", "rnn_sell=gru"], "rnn_cell"),
        ([str(tmp_path / "none.h5"), str(tmp_path / "b.weights.h5")], "no such weight file"),
    ):
        assert run("convert", *arguments, *config) == BAD_INPUT
        assert message in capsys.readouterr().err


def test_an_existing_file_is_replaced_on_request_only(tmp_path, config, capsys):
    source, target = tmp_path / "mcn.weights.h5", tmp_path / "best.weights.h5"
    save_weights(fresh_pair("darknet").source, source)
    target.write_bytes(b"the work of days")
    link = tmp_path / "link.weights.h5"
    link.symlink_to(tmp_path / "not there yet")
    for taken in (target, link):
        assert run("convert", source, taken, *config) == BAD_INPUT
        printed = capsys.readouterr().err
        assert printed == f"error: {taken} exists; specify another file, or pass --overwrite\n"
    assert target.read_bytes() == b"the work of days"
    (tmp_path / "folder.weights.h5").mkdir()
    assert run("convert", source, tmp_path / "folder.weights.h5", *config, "--overwrite") == 2
    assert "folder.weights.h5 is a folder; specify a file" in capsys.readouterr().err
    assert run("convert", source, target, *config, "--overwrite") == 0
    assert describe(target).parameters == fresh_pair("darknet").source.count_params()


def test_what_appears_in_the_place_of_the_target_meanwhile_is_kept(
    tmp_path, config, capsys, monkeypatch
):
    source, target = tmp_path / "mcn.weights.h5", tmp_path / "new" / "best.weights.h5"
    save_weights(fresh_pair("darknet").source, source)

    def load_meanwhile(*arguments, **keywords):
        target.parent.mkdir()
        target.write_bytes(b"mine")
        return load_pretrained(*arguments, **keywords)

    monkeypatch.setattr("model.weights.__main__.load_pretrained", load_meanwhile)
    assert run("convert", source, target, *config) == 0
    printed, written = capsys.readouterr(), target.with_name("best-2.weights.h5")
    assert printed.err == f"warning: {target} exists by now; writing {written} instead\n"
    assert str(describe(written)) in printed.out
    assert target.read_bytes() == b"mine"


def test_weights_that_cannot_be_written_leave_no_file(tmp_path, config, capsys, monkeypatch):
    source, target = tmp_path / "mcn.weights.h5", tmp_path / "best.weights.h5"
    save_weights(fresh_pair("darknet").source, source)

    def fail(*_, **__):
        raise UserError("too large for float16")

    monkeypatch.setattr("model.weights.native.write_native", fail)
    assert run("convert", source, target, *config) == BAD_INPUT
    assert not target.exists()


def settings(path):
    return describe(path).settings


def test_descriptions(tmp_path):
    darknet, vgg = fresh_pair("darknet"), fresh_pair("vgg")
    path = tmp_path / "mcn.weights.h5"
    save_weights(darknet.source, path)
    # The settings are those of the network, without those of its inputs and with some defaults.
    known = {key: value for key, value in TINY.items() if key not in ("input_size", "word_len")}
    known |= {"backbone_blocks": "[1,1,2,1,1]", "backbone": "darknet", "rnn_cell": "lstm"}
    assert settings(path) == known | {"bidirectional": 1, "lang_att": 1}
    assert describe(path).parameters == darknet.source.count_params()
    assert "MCN, darknet backbone, bidirectional lstm of 8" in str(describe(path))

    save_weights(visual_backbone(vgg.source), path)
    assert "backbone of MCN, vgg, 19 convolutions" in str(describe(path))
    path = write_published(tmp_path / "published.h5", vgg.source)
    assert describe(path).kind == "published MCN checkpoint, vgg backbone, bidirectional lstm of 8"
    assert settings(path)["head_width"] == 0.0625
    heads = yolo_head_arrays(SIDES["darknet"], 7)
    layers = detector_layers(backbone_arrays(darknet.source) + heads)
    path = write_keras2(tmp_path / "yolo.h5", layers)
    kind = describe(path).kind
    assert "start like darknet" in kind
    assert kind.endswith("with 3 heads of YOLOv3 for 7 classes")
    path = write_keras2(tmp_path / "dense.h5", layers[1:2])
    assert "unknown network" in str(describe(path))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (OFFICIAL_YOLOV3, "YOLOv3 of 80 classes, darknet backbone"),
        (56_367_712, "the backbone alone, darknet backbone"),
        (40_620_640, "the trunk of a classifier, darknet backbone"),
        (14_714_688, "the trunk of a classifier, vgg backbone"),
        (8_858_734, "whose length is not known"),  # YOLOv3-tiny
        (63_052_381, "whose length is not known"),  # YOLOv3-SPP
    ],
)
def test_lengths_of_darknet_files(tmp_path, values, kind):
    assert kind in str(describe(sparse_darknet(tmp_path / "w.weights", values)))


def test_inspect_works_without_tensorflow(tmp_path):
    save_weights(fresh_pair("darknet").source, tmp_path / "mcn.weights.h5")
    (tmp_path / "page.h5").write_text("<html>")
    # TensorFlow and Keras cannot be imported here, so neither is needed.
    (tmp_path / "block").mkdir()
    for name in ("tensorflow", "keras"):
        (tmp_path / "block" / f"{name}.py").write_text("raise ImportError('not wanted')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'block'}{os.pathsep}{ROOT}"}

    def inspect(name):
        command = [sys.executable, "-m", "model.weights", "inspect", str(tmp_path / name)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
        )

    done = inspect("mcn.weights.h5")
    assert done.returncode == 0, done.stderr
    assert "bidirectional lstm of 8" in done.stdout
    done = inspect("page.h5")
    assert done.returncode == BAD_INPUT
    assert "is a web page" in done.stderr


def test_inspect_describes_the_other_files(tmp_path, capsys):
    save_weights(fresh_pair("darknet").source, tmp_path / "mcn.weights.h5")
    (tmp_path / "page.h5").write_text("<html>")
    names = [str(tmp_path / name) for name in ("page.h5", "missing.h5", "mcn.weights.h5")]
    assert exit_code(lambda: main(["inspect", *names]), "") == BAD_INPUT
    printed = capsys.readouterr()
    assert "bidirectional lstm of 8" in printed.out
    assert "page.h5: is a web page" in printed.err
    assert "missing.h5: no such weight file" in printed.err
