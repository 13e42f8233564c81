"""Image files of any kind are read upright and in RGB, or refused with a clear message."""

import itertools
import os
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from data.loading.errors import DataError
from utils.prediction import photographs
from utils.prediction.photographs import read_photograph

ORIENTATION = 0x0112


def scene():
    """Left half red, right half blue; 40×20."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:, 2] = 255
    return Image.fromarray(pixels)


def colours(image, places):
    array = np.asarray(image).astype(int)
    return [array[y, x].tolist() for x, y in places]


def near(actual, expected, atol=12):
    np.testing.assert_allclose(actual, expected, atol=atol)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path, orientation):
    # A viewer shows each of these eight files as the same picture, the scene.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = scene().transpose(undo[orientation]) if orientation > 1 else scene()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95, subsampling=0)
    image = read_photograph(tmp_path / "turned.jpg")
    assert image.size == (40, 20)
    near(colours(image, [(4, 10), (36, 10)]), [(254, 0, 0), (0, 0, 254)])


def test_a_path_of_bytes_is_a_path(tmp_path):
    scene().save(tmp_path / "a.png")
    assert read_photograph(os.fsencode(tmp_path / "a.png")).size == (40, 20)
    with pytest.raises(DataError, match=r"none\.png: no such image"):
        read_photograph(os.fsencode(tmp_path / "none.png"))


def test_an_open_image_is_rotated_once(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    scene().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as opened:
        image = read_photograph(opened)
    assert image.size == read_photograph(image).size == (40, 20)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGB", "png"), ("L", "png"), ("1", "png"), ("P", "gif"), ("CMYK", "jpg"), ("RGBA", "webp")],
)
def test_modes(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    scene().convert(mode).save(path, quality=100)
    image = read_photograph(path)
    assert (image.mode, image.size) == ("RGB", (40, 20))
    if mode not in ("L", "1"):
        near(colours(image, [(4, 10), (36, 10)]), [(254, 0, 0), (0, 0, 254)])
    if mode == "L":
        near(colours(image, [(4, 10), (36, 10)]), [[76] * 3, [29] * 3])


def test_transparent_parts_are_white(tmp_path):
    image = scene().convert("RGBA")
    alpha = np.full((20, 40), 255, np.uint8)
    alpha[:, 20:] = 0
    image.putalpha(Image.fromarray(alpha))
    for name, picture in (
        ("a.png", image),
        ("la.png", image.convert("LA")),
        ("p.png", image.convert("P")),
    ):
        picture.save(tmp_path / name, **({"transparency": 0} if name == "p.png" else {}))
    near(
        colours(read_photograph(tmp_path / "a.png"), [(4, 10), (36, 10)]), [(255, 0, 0), [255] * 3]
    )
    near(colours(read_photograph(tmp_path / "la.png"), [(36, 10)]), [[255] * 3])
    assert read_photograph(tmp_path / "p.png").mode == "RGB"


def test_sixteen_bits(tmp_path):
    Image.fromarray(np.full((5, 7), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert colours(read_photograph(tmp_path / "a.png"), [(0, 0)]) == [[128] * 3]
    wide = Image.fromarray(np.full((5, 7), 1 << 20, np.int32))
    with pytest.raises(
        DataError, match="the image: the pixels are integers of 32 bits; save it with 8 bits"
    ):
        read_photograph(wide)


def test_floating_point_pixels_are_refused():
    with pytest.raises(DataError, match="the image: the pixels are floating-point"):
        read_photograph(Image.fromarray(np.ones((5, 7), np.float32)))


def test_arrays():
    pixels = np.asarray(scene())
    np.testing.assert_array_equal(np.asarray(read_photograph(pixels)), pixels)
    gray = pixels[..., 0]
    for array in (gray, gray[..., None]):
        expected = np.repeat(gray[..., None], 3, axis=2)
        np.testing.assert_array_equal(np.asarray(read_photograph(array)), expected)
    for array in (pixels / 255, pixels[..., :2], pixels[:0], pixels[None]):
        with pytest.raises(DataError, match="is not an image: expected uint8"):
            read_photograph(array)


def test_only_the_first_frame_of_an_animation(tmp_path):
    blue = Image.new("RGB", (40, 20), (0, 0, 255))
    scene().save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    near(colours(read_photograph(tmp_path / "a.gif"), [(4, 10)]), [(255, 0, 0)])


def png_of_size(path, width, height):
    """Writes a PNG with a header but no pixels."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b""))
    return path


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (10_000, 8_000, "10000×8000 pixels; at most 64 million"),
        (60_000, 60_000, "too large"),
    ],
)
def test_huge_images_are_refused_before_they_are_decoded(tmp_path, width, height, message):
    path = png_of_size(tmp_path / "huge.png", width, height)
    with pytest.raises(DataError, match=message):
        read_photograph(path)


def test_threads_leave_the_filters_of_warnings_as_they_are(tmp_path, monkeypatch):
    scene().save(tmp_path / "a.png")
    opened, seconds = photographs.opened_image, itertools.cycle([0.003, 0.001, 0.002])

    @contextmanager
    def opened_slowly(path, name):
        time.sleep(next(seconds))  # The threads do not end in the order in which they began.
        with opened(path, name) as image:
            yield image

    monkeypatch.setattr(photographs, "opened_image", opened_slowly)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read_photograph, [tmp_path / "a.png"] * 40))
    assert warnings.filters == before


def test_files_that_are_not_images_are_named(tmp_path):
    text, cut, folder = tmp_path / "a.jpg", tmp_path / "cut.jpg", tmp_path / "folder.png"
    text.write_text("hello")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:5000])
    folder.mkdir()
    for path, fault in (
        (text, "not a readable image"),
        (cut, "not a readable"),
        (folder, "not a file"),
    ):
        with pytest.raises(DataError, match=f"{path.name}: {fault}"):
            read_photograph(path)
    with pytest.raises(DataError, match=r"missing\.jpg: no such image"):
        read_photograph(tmp_path / "missing.jpg")
    with pytest.raises(DataError, match="save it as JPEG"):
        read_photograph("IMG_1.HEIC")


def test_closed_images_are_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    closed = Image.open(tmp_path / "a.png")
    closed.close()
    with Image.open(tmp_path / "a.png") as left:
        pass
    for image in (closed, left):
        with pytest.raises(DataError, match=r"^the image: .*; pass one that is open and complete$"):
            read_photograph(image)


@pytest.mark.parametrize(
    "content", [b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_messages_can_name_a_photograph_otherwise(tmp_path, content):
    path = tmp_path / "folder.eps"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^my photo: ") as refusal:
        read_photograph(path, name="my photo")
    assert str(tmp_path) not in str(refusal.value)
    with pytest.raises(DataError, match=f"^{path}: "):
        read_photograph(path)
