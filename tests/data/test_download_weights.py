"""Weight files: from a name on the command line to a file that is what it should be."""

import base64
import errno
import os
import random
import re
import tempfile
import urllib.parse
from dataclasses import replace

import h5py
import numpy as np
import pytest

from config.files import bytes_text, locked
from config.run_files.released import RELEASED, SCORES, onedrive_urls, released_of
from data.acquisition.archives import SOURCES, Source
from data.download import main
from tests.data.acquisition.web_server import WebServer

HTML = b"<!DOCTYPE html>\n<html><body>Sign in to OneDrive</body></html>\n"


def darknet_file(values, seen=123):
    """A Darknet weight file of that many values; its length says what it is."""
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array(seen, "<i8").tobytes()
    return header + bytes(4 * values)


# The first 52 convolutions of Darknet-53.
CONV_74 = darknet_file(40_620_640)


def keras_backbone(path, convolutions, filters=32):
    """A Keras 2 file of that many convolutions with BatchNorm; only the first has real shapes."""
    with h5py.File(path, "w") as file:
        names = []
        for number in range(1, convolutions + 1):
            conv, norm = f"conv2d_{number}", f"batch_normalization_{number}"
            shape = (3, 3, 3, filters) if number == 1 else (1, 1, 2, 2)
            arrays = {f"{conv}/kernel:0": np.zeros(shape, "f4")}
            file.create_group(conv).attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                file[conv][name] = array
            parts = [f"{norm}/{part}:0" for part in ("gamma", "beta", "mean", "variance")]
            group = file.create_group(norm)
            group.attrs["weight_names"] = [part.encode() for part in parts]
            for part in parts:
                group[part] = np.ones(2, "f4")
            names += [conv.encode(), norm.encode()]
        file.attrs["layer_names"] = names
        file.attrs["padding"] = random.Random(0).randbytes(20_000).hex()
    return path.read_bytes()


@pytest.fixture
def backbone(tmp_path):
    return keras_backbone(tmp_path / "source.h5", 58)


@pytest.fixture
def serve(monkeypatch):
    """Replaces the addresses of a name by local ones: serve(name, content, …) → `Served`s."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with WebServer() as server:

        def add(name, *contents, **behaviour):
            pairs = [
                server.add(f"{number}", content, **{"content_type": "x/x"} | behaviour)
                for number, content in enumerate(contents)
            ]
            (download,) = SOURCES[name].downloads
            local = replace(download, urls=tuple(url for url, _ in pairs))
            monkeypatch.setitem(SOURCES, name, Source("", (local,)))
            return [served for _, served in pairs]

        yield add


def run(tmp_path, *names):
    return main([*names, "--output", str(tmp_path / "data")])


def test_a_weight_file_is_downloaded_once(serve, tmp_path, backbone, capsys):
    (served,) = serve("darknet", backbone)
    path = tmp_path / "data/weights/darknet.h5"
    assert run(tmp_path, "darknet") == 0
    assert path.read_bytes() == backbone
    assert f"darknet.h5: {bytes_text(len(backbone))} → {path}" in capsys.readouterr().out
    assert [p.name for p in path.parent.glob("[!.]*")] == ["darknet.h5"]
    assert run(tmp_path, "darknet") == 0
    assert f"exist as {path}" in capsys.readouterr().out
    assert len(served.asked) == 1


def test_a_complete_file_is_found_in_a_folder_that_cannot_be_written(
    serve, tmp_path, backbone, capsys, monkeypatch
):
    (served,) = serve("darknet", backbone)
    path = tmp_path / "data/weights/darknet.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(backbone)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    assert run(tmp_path, "darknet") == 0
    assert f"exist as {path}" in capsys.readouterr().out
    assert os.listdir(path.parent) == ["darknet.h5"]
    assert served.asked == []


def test_redirects_are_followed(serve, tmp_path, backbone):
    moved, served = serve("darknet", b"", backbone)
    (download,) = SOURCES["darknet"].downloads
    moved.location = download.urls[1]
    SOURCES["darknet"] = Source("", (replace(download, urls=download.urls[:1]),))
    assert run(tmp_path, "darknet") == 0
    assert (moved.asked, served.asked) == ([""], [""])


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_in_place_of_the_file_is_refused_and_the_next_address_tried(
    serve, tmp_path, backbone, capsys, content_type
):
    page, served = serve("darknet", HTML, backbone)
    page.content_type = content_type
    assert run(tmp_path, "darknet") == 0
    assert len(served.asked) == 1
    assert (tmp_path / "data/weights/darknet.h5").read_bytes() == backbone


def test_a_failure_names_the_page_and_the_place_for_the_file(serve, tmp_path, backbone, capsys):
    serve("darknet", HTML, b"Not Found")
    assert run(tmp_path, "darknet") == 2
    message = capsys.readouterr().err
    path = tmp_path / "data/weights/darknet.h5"
    assert "https://1drv.ms/u/s!AmrFUyZ_lDVGiHOaFzCO5FL5paqn?e=qwGxvZ" in message
    assert f"save it as\n  {path}\nand run the same command again, which verifies it." in message
    assert message.count("something other than an HDF5 file") == 2
    # The file from the page, which may have had any name there.
    path.write_bytes(backbone)
    assert run(tmp_path, "darknet") == 0


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (HTML, r'it is a web page \("<!DOCTYPE html>"\)'),
        (CONV_74, "it holds Darknet weights.*classifier.*not the backbone of a network with dark"),
        (b"", "it is empty"),
        (bytes(1000), "it "),
    ],
    ids=["page", "trunk", "empty", "zeros"],
)
def test_another_file_under_the_name_is_refused(serve, tmp_path, capsys, content, fault):
    path = tmp_path / "data/weights/darknet.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (served,) = serve("darknet", b"")
    assert run(tmp_path, "darknet") == 2
    message = capsys.readouterr().err
    assert f"error: {path} exists, but it " in message
    assert "https://1drv.ms/u/s!AmrFUyZ_lDVGiHOaFzCO5FL5paqn?e=qwGxvZ" in message
    assert path.read_bytes() == content
    assert served.asked == []
    assert re.search(fault, message)


def test_the_backbone_of_another_network_is_refused(serve, tmp_path, capsys):
    serve("vgg", keras_backbone(tmp_path / "s.h5", 58), keras_backbone(tmp_path / "t.h5", 20))
    assert run(tmp_path, "vgg") == 2
    message = capsys.readouterr().err
    assert message.count("it sent a different file: it holds Keras weights") == 2
    serve("darknet", keras_backbone(tmp_path / "small.h5", 58, filters=8))
    assert run(tmp_path, "darknet") == 2
    assert "a network of another size (backbone_width=0.25)" in capsys.readouterr().err
    serve("mcn-refcoco-darknet", keras_backbone(tmp_path / "u.h5", 58))
    assert run(tmp_path, "mcn-refcoco-darknet") == 2
    assert "not an MCN with darknet" in capsys.readouterr().err
    assert not list((tmp_path / "data/weights").glob("[!.]*"))


def test_a_truncated_file_is_refused(serve, tmp_path, backbone, capsys):
    # Without Content-Length, a connection that ends early looks like the end of the file.
    serve("darknet", backbone, break_at=len(backbone) // 2, length=-1)
    assert run(tmp_path, "darknet") == 2
    message = capsys.readouterr().err
    assert "it sent a different file: it cannot be read and is probably truncated" in message
    assert not list((tmp_path / "data/weights").glob("[!.]*"))


def test_a_lost_connection_is_resumed(serve, tmp_path, backbone, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    (served,) = serve("darknet", backbone, break_at=30_000, breaks=1)
    assert run(tmp_path, "darknet") == 0
    assert served.asked == ["", "bytes=30000-"]
    assert (tmp_path / "data/weights/darknet.h5").read_bytes() == backbone


def test_a_file_that_never_ends_is_given_up(serve, tmp_path, backbone, capsys):
    serve("darknet", backbone)
    (download,) = SOURCES["darknet"].downloads
    SOURCES["darknet"] = Source("", (replace(download, most_bytes=len(backbone) - 1),))
    assert run(tmp_path, "darknet") == 2
    assert f"offers a file of {len(backbone):,} bytes, more than" in capsys.readouterr().err
    serve("darknet", backbone, length=-1)
    (download,) = SOURCES["darknet"].downloads
    SOURCES["darknet"] = Source("", (replace(download, most_bytes=len(backbone) - 1),))
    assert run(tmp_path, "darknet") == 2
    assert "sends more than the expected" in capsys.readouterr().err


def test_a_full_disk_is_noticed_before_the_download(serve, tmp_path, small_disk, backbone, capsys):
    serve("mcn-refcoco-vgg", backbone, length=-1)
    assert main(["mcn-refcoco-vgg", "--output", str(small_disk(1_000_000))]) == 2
    assert "mcn_refcoco_vgg.h5 needs 223.8 MB" in capsys.readouterr().err


def test_darknet_files_are_identified_by_their_length(serve, tmp_path, capsys):
    serve("darknet53.conv.74", CONV_74)
    (download,) = SOURCES["darknet53.conv.74"].downloads
    assert len(CONV_74) == download.size
    assert run(tmp_path, "darknet53.conv.74") == 0
    assert (tmp_path / "data/weights/darknet53.conv.74").stat().st_size == download.size
    (tmp_path / "data/weights/darknet53.conv.74").write_bytes(HTML)
    assert run(tmp_path, "darknet53.conv.74") == 2
    assert "instead of 162,482,580" in capsys.readouterr().err


def test_two_processes_do_not_download_the_same_file_at_once(serve, tmp_path, backbone, capsys):
    (served,) = serve("darknet", backbone)
    with locked(tmp_path / "data/weights/.darknet.h5.lock", "taken"):
        assert run(tmp_path, "darknet") == 2
        assert "another process is downloading it" in capsys.readouterr().err
        other = tmp_path / "other"
        other.mkdir()
        (other / "weights").symlink_to(tmp_path / "data/weights")
        assert main(["darknet", "--output", str(other)]) == 2
    assert "another process is downloading it" in capsys.readouterr().err
    assert served.asked == []


def test_onedrive_addresses_encode_the_link():
    link = "https://1drv.ms/u/s!AmrFUyZ_lDVGiRL_WITB7kfqX0St?e=JlWTBX"
    by_link, by_token, by_page = onedrive_urls(link)
    encoded = urllib.parse.urlparse(by_link).path.split("/")[3].removeprefix("u!")
    assert base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode() == link
    assert not {"=", "+", "/"} & set(encoded)
    assert by_token.endswith("/shares/s!AmrFUyZ_lDVGiRL_WITB7kfqX0St/root/content")
    assert by_page == link + "&download=1"


def test_every_checkpoint_has_its_scores():
    checkpoints = [released for released in RELEASED if released.part == "network"]
    assert {(r.trained_on, r.backbone): r.scores for r in checkpoints} == SCORES
    assert len({r.page for r in RELEASED}) == len({r.file for r in RELEASED}) == len(RELEASED)


def test_released_files_are_known_by_name_and_folder():
    assert released_of("/disk/weights/mcn_refcoco+_vgg.h5").name == "mcn-refcoco+-vgg"
    assert released_of("data/weights/darknet.h5").trained_on == "coco-clean"
    assert released_of("mine/darknet.h5") is None
    assert released_of("data/weights/mine.h5") is None
