"""Darknet `.weights`: full detectors, parts of them, and files that are refused."""

import numpy as np
import pytest

from model.weights import WeightsError, load_pretrained, load_weights
from model.weights.darknet import read_darknet
from tests.model.weights.weight_fixtures import (
    SIDES,
    backbone_arrays,
    fresh_pair,
    refused,
    same_weights,
    untouched,
    write_darknet,
    yolo_head_arrays,
)

CONVOLUTIONS = {"darknet": 24, "vgg": 19}  # of the tiny backbones
TAIL = 6


def in_backbone(name):
    return name.startswith("backbone_")


def in_trunk(backbone):
    def chosen(name):
        return in_backbone(name) and int(name.split("_")[1]) <= CONVOLUTIONS[backbone] - TAIL

    return chosen


@pytest.mark.parametrize("classes", [80, 20])
def test_full_yolov3_fills_the_backbone_and_reports_the_rest(tmp_path, pair, classes):
    arrays = backbone_arrays(pair.source)
    assert len(arrays) == CONVOLUTIONS[pair.backbone]
    heads = yolo_head_arrays(SIDES[pair.backbone], classes)
    path = write_darknet(tmp_path / "yolo.weights", arrays + heads)
    report = load_pretrained(pair.target, path)
    assert same_weights(pair.source, pair.target, in_backbone)
    assert len(report.unused) == len(heads) == 17
    assert report.unused[-1] == f"convolution {len(arrays) + 17} of YOLOv3 ({classes} classes)"
    assert "mask_logits" in report.missing
    assert not any(map(in_backbone, report.missing))
    assert report.parameters == sum(
        np.size(part)
        for kernel, bias, norm in arrays
        for part in (kernel, *([] if bias is None else [bias]), *(norm or []))
    )


@pytest.mark.parametrize(("version", "header"), [((0, 1, 0), 16), ((0, 2, 0), 20), ((0, 2, 5), 20)])
def test_both_header_versions(tmp_path, darknet, version, header):
    arrays = backbone_arrays(darknet.source)
    path = write_darknet(tmp_path / "w", arrays, version, seen=7)
    file = read_darknet(path)
    assert (file.version, file.seen) == (version, 7)
    assert path.stat().st_size == header + 4 * len(file.values)
    report = load_pretrained(darknet.target, path)
    assert same_weights(darknet.source, darknet.target, in_backbone)
    assert report.unused == []


def test_trunk_leaves_the_last_six_convolutions(tmp_path, pair):
    arrays = backbone_arrays(pair.source)[:-TAIL]
    path = write_darknet(tmp_path / "trunk.conv", arrays)
    report = load_pretrained(pair.target, path)
    assert same_weights(pair.source, pair.target, in_trunk(pair.backbone))
    left = [name for name in report.missing if in_backbone(name)]
    count = len(arrays)
    assert left == [
        f"backbone_{n}_{part}" for n in range(count + 1, count + 7) for part in ("conv", "bn")
    ]


def test_classifier_behind_the_trunk_is_not_used(tmp_path, darknet):
    arrays = backbone_arrays(darknet.source)[:-TAIL]
    classifier = (np.ones((1, 1, 64, 1000), "f4"), np.ones(1000, "f4"), None)
    report = load_pretrained(
        darknet.target, write_darknet(tmp_path / "darknet53.weights", [*arrays, classifier])
    )
    assert report.unused == ["the classifier of 1000 classes"]
    assert same_weights(darknet.source, darknet.target, in_trunk("darknet"))


def test_file_of_another_width_is_refused(tmp_path, darknet):
    path = write_darknet(tmp_path / "yolo.weights", [(np.ones((3, 3, 3, 32)), np.ones(32), None)])
    with refused(darknet.target, match="ends within backbone_"):
        load_pretrained(darknet.target, path)


def test_truncated_file_names_layer_and_bytes(tmp_path, pair):
    arrays = backbone_arrays(pair.source)
    path = write_darknet(tmp_path / "cut.weights", arrays)
    # Cut 40 bytes into the sixteenth convolution.
    before = sum(
        np.size(part)
        for kernel, bias, norm in arrays[:15]
        for part in (kernel, *([] if bias is None else [bias]), *(norm or []))
    )
    path.write_bytes(path.read_bytes()[: 20 + 4 * before + 40])
    kernel, bias, norm = arrays[15]
    needed = 4 * (kernel.size + (bias.size if norm is None else 4 * norm[0].size))
    with (
        untouched(pair.target),
        pytest.raises(
            WeightsError,
            match=rf"ends within backbone_16_conv \(convolution 16 of {len(arrays)}\), which needs "
            rf"{needed:,} bytes when only 40 are left",
        ),
    ):
        load_pretrained(pair.target, path)


def test_file_truncated_within_the_heads_names_the_convolution(tmp_path, darknet):
    arrays = backbone_arrays(darknet.source) + yolo_head_arrays(SIDES["darknet"], 80)
    path = write_darknet(tmp_path / "cut.weights", arrays)
    path.write_bytes(path.read_bytes()[:-400])
    with refused(darknet.target, match="would end within convolution 41 of YOLOv3 with"):
        load_pretrained(darknet.target, path)


def test_extra_bytes_are_refused_unless_ignored(tmp_path, pair):
    arrays = backbone_arrays(pair.source)
    path = write_darknet(tmp_path / "more.weights", arrays, extra=bytes(4 * 999))
    with refused(
        pair.target, match=rf"3,996 bytes follow backbone_{len(arrays)}_conv .*--ignore_rest"
    ):
        load_pretrained(pair.target, path)
    report = load_pretrained(pair.target, path, ignore_rest=True)
    assert report.unused == ["999 values of an unknown network"]
    assert same_weights(pair.source, pair.target, in_backbone)


def test_file_of_another_network_of_fitting_length_is_refused(tmp_path, darknet):
    arrays = backbone_arrays(darknet.source)
    path = write_darknet(tmp_path / "other.weights", arrays)
    header, body = path.read_bytes()[:20], path.read_bytes()[20:]
    values = np.frombuffer(body, "<f4")
    path.write_bytes(header + np.roll(values, 40).tobytes())
    with refused(darknet.target, match="is a variance and holds"):
        load_pretrained(darknet.target, path)


def test_values_that_are_not_finite_are_refused(tmp_path, pair):
    arrays = backbone_arrays(pair.source)
    arrays[11][0][0, 0, 0, 0] = np.nan
    path = write_darknet(tmp_path / "nan.weights", arrays)
    with refused(
        pair.target, match=r"convolution 12 kernel \(backbone_12_conv\) holds values that are not"
    ):
        load_pretrained(pair.target, path)


def test_odd_bytes_short_header_and_foreign_binary(tmp_path, darknet):
    arrays = backbone_arrays(darknet.source)
    cases = {
        "not a whole number": write_darknet(tmp_path / "a", arrays, extra=b"\1\0").read_bytes(),
        "fewer than a Darknet header": b"\0\1\2",
        "ends within its header": np.array([0, 2, 0, 1], "<i4").tobytes(),
        "neither a Keras file nor Darknet": b"\x80\x02}q\x00X\x05\xff" + bytes(100),
    }
    for message, content in cases.items():
        path = tmp_path / "file.weights"
        path.write_bytes(content)
        with refused(darknet.target, match=message):
            load_pretrained(darknet.target, path)


def test_backbone_is_not_a_whole_network(tmp_path, darknet):
    path = write_darknet(tmp_path / "yolo.weights", backbone_arrays(darknet.source))
    with refused(darknet.target, match="pretrained_weights"):
        load_weights(darknet.target, path)


def test_full_size_file_of_the_other_backbone_names_the_key(tmp_path):
    path = write_darknet(tmp_path / "yolov3.weights", [])
    with open(path, "r+b") as file:
        file.truncate(20 + 4 * 62_001_757)  # the length of YOLOv3; zeros take no room
    network = fresh_pair("vgg").target
    full = r"--set backbone=darknet backbone_width=1.0 backbone_blocks=\[1,2,8,8,4\]$"
    with refused(network, match=full):
        load_pretrained(network, path)
