"""Objects of own data: mask images of all kinds, and images that cannot be used."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from data.preparation.own import objects
from tests.data.preparation.own.own_photos import HEIGHT, WIDTH, Photos, square_mask, thing


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path)


def lossy(photos, name, **options):
    square = np.zeros((HEIGHT, WIDTH), np.uint8)
    square[10:25, 10:30] = 255
    Image.fromarray(square).convert(options.pop("mode", "L")).save(photos.folder / name, **options)
    return name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("m.jpg", {}),
        ("m.webp", {}),
        ("m.webp", {"lossless": True}),
        ("m.avif", {}),
        ("m.jp2", {}),
        ("m.tif", {"compression": "jpeg"}),
        ("m.tif", {"mode": "CMYK"}),
    ],
)
def test_masks_in_lossy_formats_are_refused(photos, capsys, name, options):
    try:
        lossy(photos, name, **options)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"this build of Pillow does not write {name}")
    path = photos.write(thing(polygon=None, mask=name))
    assert photos.run(path) == 2
    assert f"{path}:1: key 'mask': {photos.folder / name}: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["m.png", "m.bmp", "m.gif", "m.pgm", "m.tif", "m.tga"])
def test_masks_in_lossless_formats_are_read(photos, name):
    lossy(photos, name)
    assert photos.run(photos.write(thing(polygon=None, box=None, mask=name))) == 0
    assert photos.lines("train")[0].box_xyxy_px == (10, 10, 30, 25)


def with_palette(indices, *colors, name="m.png", **options):
    def save(folder):
        image = Image.fromarray(indices, "P")
        if colors:
            image.putpalette([value for color in colors for value in color])
        image.save(folder / name, **options)
        return name

    return save


def white_first_bitmap(folder):
    """A BMP of one bit per pixel, 0 is white, as other programs write it."""
    bits = [np.packbits(row).tobytes().ljust((WIDTH + 31) // 32 * 4, b"\0") for row in OUTSIDE]
    rows = b"".join(reversed(bits))
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 1, 0, len(rows), 0, 0, 2, 2)
    start = b"BM" + struct.pack("<IHHI", 62 + len(rows), 0, 0, 62)
    (folder / "m.bmp").write_bytes(start + header + b"\xff\xff\xff\0" + b"\0\0\0\0" + rows)
    return "m.bmp"


def as_gif(folder):
    Image.fromarray(square_mask() * 255).convert("RGB").save(folder / "m.gif")
    return "m.gif"


INSIDE, OUTSIDE = square_mask(), 1 - square_mask()
TWO_PARTS = INSIDE * np.where(np.arange(WIDTH) < 20, 1, 2).astype(np.uint8)
BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (128, 0, 0), (0, 128, 0)


@pytest.mark.parametrize(
    "save",
    [
        as_gif,
        white_first_bitmap,
        with_palette(OUTSIDE, WHITE, BLACK),
        with_palette(OUTSIDE, WHITE, BLACK, name="m.tif"),
        with_palette(OUTSIDE, WHITE, BLACK, name="m.tga"),
        with_palette(OUTSIDE, WHITE, RED, transparency=1),
        with_palette(INSIDE, BLACK, WHITE),
        with_palette(TWO_PARTS, BLACK, RED, GREEN),
        with_palette(INSIDE),
    ],
)
def test_the_color_of_a_palette_says_what_is_outside(photos, save):
    assert photos.run(photos.write(thing(polygon=None, box=None, mask=save(photos.folder)))) == 0
    np.testing.assert_array_equal(photos.mask(1), INSIDE)


def sixteen_bit_png(color_type, pixels, *chunks):
    """A PNG image of 16 bits per channel, (height, width) or (height, width, channels)."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, color_type, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    rest = [*chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*c) for c in rest)


def in_channels(mask, channels):
    return np.repeat(mask[..., None], channels, axis=2)


COLORS_OF_SIXTEEN_BITS = {
    "color.png": sixteen_bit_png(2, in_channels(INSIDE, 3)),
    "gray and alpha.png": sixteen_bit_png(4, in_channels(INSIDE, 2)),
    "color and alpha.png": sixteen_bit_png(6, in_channels(INSIDE, 4)),
    "binary.ppm": b"P6 60 40 1000\n" + in_channels(INSIDE, 3).astype(">u2").tobytes(),
    "text.ppm": b"P3 60 40 256\n" + " ".join(map(str, in_channels(INSIDE, 3).flat)).encode(),
    "color.tif": None,
}


@pytest.mark.parametrize("name", COLORS_OF_SIXTEEN_BITS)
def test_masks_of_which_pillow_reads_only_the_upper_bits_are_refused(photos, capsys, name):
    file = photos.folder / name
    if content := COLORS_OF_SIXTEEN_BITS[name]:
        file.write_bytes(content)
    else:
        cv2.imwrite(str(file), in_channels(INSIDE, 3).astype(np.uint16))
    path = photos.write(thing(polygon=None, mask=name))
    assert photos.run(path) == 2
    expected = f"{path}:1: key 'mask': {file}: of colors of 16 bits per channel, only the upper"
    assert expected in capsys.readouterr().err


def test_a_transparent_value_of_sixteen_bits_is_outside(photos):
    key = (b"tRNS", struct.pack(">H", 300))
    (photos.folder / "m.png").write_bytes(sixteen_bit_png(0, np.where(INSIDE, 1, 300), key))
    assert photos.run(photos.write(thing(polygon=None, box=None, mask="m.png"))) == 0
    np.testing.assert_array_equal(photos.mask(1), INSIDE)


@pytest.mark.parametrize(("depth", "code"), [(np.uint16, 0), (np.float32, 2)])
def test_a_mask_in_which_zero_is_white(photos, capsys, depth, code):
    stored = OUTSIDE.astype(depth) * (65535 if depth is np.uint16 else 1)
    file = photos.folder / "m.tif"
    Image.fromarray(stored).save(file)
    tag = struct.Struct("<HHIHH")
    black_is_zero, white_is_zero = (tag.pack(262, 3, 1, value, 0) for value in (1, 0))
    file.write_bytes(file.read_bytes().replace(black_is_zero, white_is_zero))
    assert photos.run(photos.write(thing(polygon=None, box=None, mask="m.tif"))) == code
    if code:
        assert f"{file}: 0 is white in it" in capsys.readouterr().err
    else:
        np.testing.assert_array_equal(photos.mask(1), INSIDE)


def test_instances_in_one_mask_are_reported(photos, capsys):
    name = with_palette(TWO_PARTS, BLACK, RED, GREEN)(photos.folder)
    assert photos.run(photos.write(thing(polygon=None, mask=name))) == 0
    assert "mask images with more than two values" in capsys.readouterr().out


def test_a_palette_without_black_is_refused(photos, capsys):
    with_palette(INSIDE, RED, GREEN)(photos.folder)
    path = photos.write(thing(polygon=None, mask="m.png"))
    assert photos.run(path) == 2
    expected = f"{path}:1: key 'mask': {photos.folder / 'm.png'}: no color of its palette is black"
    assert expected in capsys.readouterr().err


def test_the_size_of_a_mask_image_is_compared_before_it_is_decoded(photos, monkeypatch):
    Image.new("1", (5000, 5000)).save(photos.folder / "large.png")
    monkeypatch.setattr(objects, "_pixel_values", lambda *_: 1 / 0)
    assert photos.run(photos.write(thing(polygon=None, mask="large.png"))) == 2


@pytest.mark.parametrize("size", [(10_000, 8_000), (70_000, 100)])
def test_images_that_training_does_not_read_are_refused(photos, capsys, size):
    Image.new("1", size).save(photos.folder / "large.png")
    path = photos.write(thing(image="large.png"))
    assert photos.run(path) == 2
    said = capsys.readouterr().err
    assert (
        f"{path}:1: key 'image': {photos.folder / 'large.png'} has {size[0]}×{size[1]} pix" in said
    )
    assert "scale it down" in said
