"""Images whose compressed stream ends early, although properly, are refused; others are not."""

import io
import itertools
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.loading.damage import _ADAM7, _CHANNELS, MAX_SCANS, _pixel_bytes
from data.loading.errors import DataError
from data.loading.images import conversion_of, opened_image, read_image
from utils.prediction.photographs import read_photograph

SIZE = (13, 11)
KINDS = [(0, 1), (0, 8), (0, 16), (2, 8), (2, 16), (3, 2), (3, 8), (4, 8), (6, 8), (6, 16)]
MISSING = "not a readable image .its last rows are missing.; replace the file"


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def rows_of(color_type, depth, interlaced, value):
    """The bytes of each row, in the order of the file."""
    width, height = SIZE
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = []
    for left, top, across, down in passes:
        columns = len(range(left, width, across))
        length = -(-columns * _CHANNELS[color_type] * depth // 8)
        rows += [b"\0" + bytes([value]) * length] * len(range(top, height, down))
    return rows


def write(path, color_type, depth, interlaced, rows, pieces=1):
    header = struct.pack(">IIBBBBB", *SIZE, depth, color_type, 0, 0, interlaced)
    packed = zlib.compress(b"".join(rows))
    step = -(-len(packed) // pieces)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"PLTE", bytes(12))
    for start in range(0, len(packed), step):
        content += chunk(b"IDAT", packed[start : start + step])
    path.write_bytes(content + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_stream_that_ends_after_any_row_is_refused(tmp_path, kind, interlaced):
    for value in (0, 1):  # Black pictures, too, are whole or not.
        rows = rows_of(*kind, interlaced, value)
        assert _pixel_bytes(*SIZE, kind[1], kind[0], interlaced) == len(b"".join(rows))
        whole = write(tmp_path / "whole.png", *kind, interlaced, rows)
        for read in (read_image, read_photograph):
            assert read(whole).size == SIZE
            assert read(write(tmp_path / "a.png", *kind, interlaced, rows, 3)).size == SIZE
        for kept, pieces in itertools.product(range(1, len(rows)), (1, 3)):
            path = write(tmp_path / "short.png", *kind, interlaced, rows[:kept], pieces)
            for read in (read_image, read_photograph):
                with pytest.raises(DataError, match=rf"^{path}: "):
                    read(path)
        with pytest.raises(DataError, match=MISSING):
            read_image(write(tmp_path / "short.png", *kind, 0, rows_of(*kind, 0, value)[:5]))


def test_only_decoded_pixels_are_examined(tmp_path):
    path = write(tmp_path / "short.png", 0, 8, 0, rows_of(0, 8, 0, 1)[:5])
    assert conversion_of(path) is None
    with pytest.raises(DataError, match=MISSING), opened_image(path) as image:
        image.load()


def test_black_pictures_of_any_size_are_read(tmp_path):
    """The stream of a large one expands in many pieces."""
    path = tmp_path / "black.png"
    for size in ((1, 1), (3000, 1000)):
        Image.new("RGB", size).save(path)
        assert not np.asarray(read_image(path)).any()


def jpeg(image, **options):
    """The bytes of a JPEG image before its end marker."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    assert buffer.getvalue().endswith(b"\xff\xd9")
    return buffer.getvalue()[:-2]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"quality": 20}, {"restart_marker_rows": 1}, {"optimize": True}],
)
def test_a_jpeg_image_that_ends_early_but_properly_is_refused(tmp_path, mode, options):
    noise = np.random.default_rng(0).integers(0, 256, (97, 130, 3), np.uint8)
    content = jpeg(Image.fromarray(noise).convert(mode), **options)
    path = tmp_path / "a.jpg"
    path.write_bytes(content + b"\xff\xd9" + b"what some cameras append \xff\xd9")
    read_image(path)
    for share in np.linspace(0.3, 0.8, 21):
        cut = content[: int(share * len(content))].rstrip(b"\xff")
        path.write_bytes(cut + b"\xff\xd9")
        with pytest.raises(DataError, match="its last rows are missing"):
            read_image(path)
    for at in [at for at in range(len(content)) if re.match(rb"\xff[\xd0-\xd7]", content[at:])]:
        path.write_bytes(content[:at] + b"\xff\xd9")
        with pytest.raises(DataError, match="its last rows are missing"):
            read_image(path)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"progressive": True}])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (97, 130), (64, 64)])
def test_a_jpeg_image_that_ends_in_gray_is_read(tmp_path, mode, options, size):
    Image.new(mode, size, (128,) * len(Image.new(mode, (1, 1)).getbands())).save(
        tmp_path / "a.jpg", **options
    )
    assert read_image(tmp_path / "a.jpg").size == size


def with_scans(image, count, **options):
    """A JPEG file that repeats its last scan until it has `count` of them.

    They have no data, so a decoder fills in zeros, as for every scan of a stream that ends early.
    """
    content = jpeg(image, **options)
    start = content.rindex(b"\xff\xda")
    header = content[start : start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")]
    return content + header * (count - content.count(b"\xff\xda")) + b"\xff\xd9"


NOISE = Image.effect_noise((40, 24), 90)


def test_a_jpeg_image_of_many_scans_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "a.jpg"
    for image in (NOISE, NOISE.convert("RGB"), NOISE.convert("CMYK")):
        path.write_bytes(with_scans(image, MAX_SCANS, progressive=True))
        read_image(path)
        path.write_bytes(with_scans(image, MAX_SCANS + 1, progressive=True))
        for read in (read_image, read_photograph, conversion_of):
            with pytest.raises(DataError, match=r"a\.jpg: not a readable image \(it has more than"):
                read(path)


def test_scans_of_a_baseline_image_are_counted_if_each_has_one_color(tmp_path):
    content = jpeg(NOISE.convert("RGB"), subsampling=0)
    start = content.index(b"\xff\xda")
    scans = b"".join(
        b"\xff\xda\0\x08\1" + bytes((color, 0x11 * (color > 1), 0, 63, 0)) for color in (1, 2, 3)
    )
    path = tmp_path / "a.jpg"
    path.write_bytes(content[:start] + scans * 50 + b"\xff\xd9")
    with pytest.raises(DataError, match="it has more than"):
        read_image(path)


def test_scans_outside_of_the_image_do_not_count(tmp_path):
    """Of a thumbnail in the metadata, and of what cameras append."""
    path, marks = tmp_path / "a.jpg", b"\xff\xda\0\x02" * 5000
    for progressive in (True, False):
        NOISE.save(path, progressive=progressive, comment=marks)
        path.write_bytes(path.read_bytes() + marks)
        read_image(path)


@pytest.mark.filterwarnings("ignore")
def test_jpeg_images_within_blp_files_are_not_read(tmp_path):
    content = with_scans(NOISE.convert("RGB"), 2 * MAX_SCANS, progressive=True)
    head = struct.pack("<4s6I", b"BLP1", 0, 0, *NOISE.size, 0, 0)
    places = struct.pack("<32I", 160, *[0] * 15, len(content), *[0] * 15)
    path = tmp_path / "a.jpg"
    path.write_bytes(head + places + struct.pack("<I", 0) + content)
    with Image.open(path) as image:
        assert image.format == "BLP"
    with pytest.raises(DataError, match="BLP files are not read; save it as PNG"):
        read_image(path)
