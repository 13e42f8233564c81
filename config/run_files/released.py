"""The released weight files that `data/download.py` fetches: names, links and what they are."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

# The folder of the files below the project's data/, or below --output.
FOLDER = "weights"
DATASETS = {
    "refcoco": "RefCOCO",
    "refcoco+": "RefCOCO+",
    "refcocog": "RefCOCOg",
    "refclef": "ReferIt",
}
BACKBONES = {"darknet": "Darknet-53", "vgg": "VGG-16"}
# What backbones were trained on, as in the attribute `trained_on` of weight files.
COCO, COCO_CLEAN, IMAGENET = "coco", "coco-clean", "imagenet"
# Values in a checkpoint of the full-size network with a bidirectional GRU and attention, four
# bytes each. The authors state 312M and 214M, which are these in units of 1,048,576 bytes.
CHECKPOINT_VALUES = {"darknet": 81_799_538, "vgg": 55_960_146}
# Data set and backbone → split → REC Acc@0.5 and RES mean IoU of the checkpoint, in percent. They
# are from the authors' README, which says that they exceed the figures of the paper by 1-4 %.
SCORES: dict[tuple[str, str], dict[str, tuple[float, float]]] = {
    ("refcoco", "darknet"): {
        "val": (80.61, 63.12),
        "testA": (83.38, 65.05),
        "testB": (75.51, 60.99),
    },
    ("refcoco", "vgg"): {
        "val": (79.68, 61.51),
        "testA": (81.49, 63.25),
        "testB": (75.30, 60.46),
    },
    ("refcoco+", "darknet"): {
        "val": (69.10, 53.00),
        "testA": (74.17, 57.00),
        "testB": (59.75, 46.96),
    },
    ("refcoco+", "vgg"): {
        "val": (64.67, 49.04),
        "testA": (69.25, 51.94),
        "testB": (57.01, 44.31),
    },
    ("refcocog", "darknet"): {"val": (68.95, 50.65), "test": (67.88, 50.62)},
    ("refcocog", "vgg"): {"val": (63.50, 47.81), "test": (63.32, 47.94)},
    ("refclef", "darknet"): {"val": (69.29, 57.00), "test": (67.65, 55.42)},
    ("refclef", "vgg"): {"val": (68.28, 56.19), "test": (65.49, 53.68)},
}


@dataclass(frozen=True)
class ReleasedFile:
    """A weight file that others have released.

    Attributes:
        name: what the command line calls it.
        file: name under which it is stored in data/weights/, whatever its name on the web.
        about: description.
        page: web page, for people to download the file from.
        urls: addresses of the file itself, to try in this order.
        backbone: "darknet" or "vgg".
        part: the part of the network that it fills: "network", "backbone" or "trunk".
        trained_on: data of its training: one of the constants above for a backbone, the folder of
            a data set for a whole network.
        size: size in bytes, if it is known exactly.
        about_bytes: approximate size, if it is known.
        scores: published scores of a whole network, see `SCORES`.
    """

    name: str
    file: str
    about: str
    page: str
    urls: tuple[str, ...]
    backbone: str
    part: str
    trained_on: str
    size: int | None = None
    about_bytes: int | None = None
    scores: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def onedrive_urls(link: str) -> tuple[str, ...]:
    """Addresses that may send the file behind a OneDrive link, which itself opens a web page.

    The first two are documented for OneDrive's API: by the encoded link, and by its token.
    """
    encoded = base64.urlsafe_b64encode(link.encode()).decode().rstrip("=")
    token = link.split("?")[0].rsplit("/", 1)[1]
    shares = "https://api.onedrive.com/v1.0/shares"
    return (
        f"{shares}/u!{encoded}/root/content",
        f"{shares}/{token}/root/content",
        f"{link}&download=1",
    )


def _onedrive(
    name: str,
    about: str,
    token: str,
    backbone: str,
    part: str,
    trained_on: str,
) -> ReleasedFile:
    link = f"https://1drv.ms/u/s!AmrFUyZ_lDVG{token}"
    file = f"{name.replace('-', '_')}.h5"
    return ReleasedFile(name, file, about, link, onedrive_urls(link), backbone, part, trained_on)


def _checkpoint(dataset: str, backbone: str, token: str) -> ReleasedFile:
    released = _onedrive(
        f"mcn-{dataset}-{backbone}",
        f"MCN of the authors for {DATASETS[dataset]} with {BACKBONES[backbone]}",
        token,
        backbone,
        "network",
        dataset,
    )
    return replace(
        released,
        about_bytes=4 * CHECKPOINT_VALUES[backbone],
        scores=SCORES[dataset, backbone],
    )


_CLEAN = "without the val and test images of RefCOCO, RefCOCO+ and RefCOCOg"
_CONV_74 = "https://pjreddie.com/media/files/darknet53.conv.74"

RELEASED = (
    _onedrive(
        "darknet",
        f"Darknet-53 of the authors, trained on COCO {_CLEAN}",
        "iHOaFzCO5FL5paqn?e=qwGxvZ",
        "darknet",
        "backbone",
        COCO_CLEAN,
    ),
    _onedrive(
        "vgg",
        f"VGG-16 of the authors, trained on COCO {_CLEAN}",
        "gkMPh_zKPyocbMSG?e=ehYFNJ",
        "vgg",
        "backbone",
        COCO_CLEAN,
    ),
    _onedrive(
        "darknet-coco",
        "Darknet-53 of the authors, trained on all of COCO: for ReferIt only, a LEAK for RefCOCO, "
        "RefCOCO+ and RefCOCOg",
        "gkfaOxziFJr01WNy?e=kwl3h1",
        "darknet",
        "backbone",
        COCO,
    ),
    ReleasedFile(
        "darknet53.conv.74",
        "darknet53.conv.74",
        "Darknet-53 trained on ImageNet, 52 of its 58 convolutions",
        "https://pjreddie.com/darknet/yolo/",
        (_CONV_74, f"https://web.archive.org/web/2022id_/{_CONV_74}"),
        "darknet",
        "trunk",
        IMAGENET,
        size=162_482_580,
    ),
    _checkpoint("refcoco", "darknet", "iRL_WITB7kfqX0St?e=JlWTBX"),
    _checkpoint("refcoco", "vgg", "iScJ7zFZNZOXE6VI?e=b1iCYa"),
    _checkpoint("refcoco+", "darknet", "iROAVl3RuIllJLAC?e=qPMity"),
    _checkpoint("refcoco+", "vgg", "iShEnn5tmeI0bM_q?e=x7BOcs"),
    _checkpoint("refcocog", "darknet", "iRRafGe8qzDDuLci?e=qUBLBT"),
    _checkpoint("refcocog", "vgg", "iSkOuTZ0g1LIRBVl?e=YitGvV"),
    _checkpoint("refclef", "darknet", "iRUQCWpBx1D5cm8_?e=MDjO2I"),
    _checkpoint("refclef", "vgg", "iSouSmtCBg5zhlB_?e=1ONzTK"),
)
_BY_FILE = {released.file: released for released in RELEASED}


def released_of(path: str | os.PathLike) -> ReleasedFile | None:
    """The released file that is stored under a path, judged by its name and folder alone."""
    path = Path(path)
    return _BY_FILE.get(path.name) if path.parent.name == FOLDER else None
