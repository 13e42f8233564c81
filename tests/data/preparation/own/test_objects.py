"""Objects of own data: mask images of all kinds, and images that cannot be used."""

import io
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


def tiff(pixels, kind, order="<", compressed=False):
    """A gray TIFF image (height, width) of 16 or 32 bits; `kind` is its sample format."""
    rows = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    rows = zlib.compress(rows) if compressed else rows
    numbers = [
        *((256, 4, WIDTH), (257, 4, HEIGHT), (258, 3, 8 * pixels.itemsize)),
        *((259, 3, 8 if compressed else 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)),
        *((278, 4, HEIGHT), (279, 4, len(rows)), (339, 3, kind)),
    ]
    tags = [
        struct.pack(f"{order}HHI", tag, size, 1) + struct.pack(order + "HI"[size == 4], value)
        for tag, size, value in numbers
    ]
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "I", 8 + len(rows)) + rows
    table = b"".join(tag.ljust(12, b"\0") for tag in tags)
    return head + struct.pack(order + "H", len(tags)) + table + bytes(4)


@pytest.mark.parametrize(
    ("dtype", "kind", "inside"),
    [
        *((np.uint32, 1, value) for value in (1, 1 << 31, 0xFFFFFFFF)),
        *((np.int32, 2, value) for value in (1, -1, -(1 << 31))),
        *((np.int16, 2, value) for value in (1, -1, 32767, 255)),
        *((np.uint16, 1, value) for value in (1, 256, 65535)),
        *((np.float32, 3, value) for value in (0.1, 1, -1)),
    ],
)
@pytest.mark.parametrize(("order", "compressed"), [("<", False), ("<", True), (">", True)])
def test_all_numbers_but_zero_are_inside(photos, dtype, kind, inside, order, compressed):
    content = tiff(np.where(INSIDE, inside, 0).astype(dtype), kind, order, compressed)
    (photos.folder / "m.tif").write_bytes(content)
    path = photos.write(thing(polygon=None, box=None, mask="m.tif"))
    if dtype is np.uint32 and order == ">":  # Pillow does not open it.
        assert photos.run(path) == 2
    else:
        assert photos.run(path) == 0
        np.testing.assert_array_equal(photos.mask(1), INSIDE)


def test_a_mask_of_what_is_no_number_is_refused(photos, capsys):
    content = tiff(np.where(INSIDE, 1, np.nan).astype(np.float32), 3)
    (photos.folder / "m.tif").write_bytes(content)
    assert photos.run(photos.write(thing(polygon=None, mask="m.tif"))) == 2
    assert f"{photos.folder / 'm.tif'}: some values are no number" in capsys.readouterr().err


def test_a_tiff_mask_is_read_as_stored(photos):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(INSIDE).save(photos.folder / "m.tif", exif=exif)
    assert photos.run(photos.write(thing(polygon=None, box=None, mask="m.tif"))) == 0
    np.testing.assert_array_equal(photos.mask(1), INSIDE)


@pytest.mark.parametrize("kind", ["P1", "P4"])
def test_a_bitmap_is_read_as_mask_and_image(photos, kind):
    """In it, 1 is black: outside."""
    bits = " ".join(map(str, OUTSIDE.flat)).encode()
    rows = bits if kind == "P1" else np.packbits(OUTSIDE, axis=1).tobytes()
    (photos.folder / "m.pbm").write_bytes(f"{kind}\n{WIDTH} {HEIGHT}\n".encode() + rows)
    path = photos.write(thing(image="m.pbm", polygon=None, box=None, mask="m.pbm"))
    assert photos.run(path) == 0
    np.testing.assert_array_equal(photos.mask(1), INSIDE)


def tga_of_sixteen_bits():
    """All pixels have the bit that would mark them as opaque if the header said so."""
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, WIDTH, HEIGHT, 16, 0x20)
    return head + np.where(INSIDE, 0xFFFF, 0x8000).astype("<u2").tobytes()


def gif_of_a_part():
    """A GIF image whose screen is larger than its frame."""
    frame = io.BytesIO()
    Image.fromarray(INSIDE[:20]).save(frame, "GIF")
    return frame.getvalue()[:6] + struct.pack("<HH", WIDTH, HEIGHT) + frame.getvalue()[10:]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.tga", tga_of_sixteen_bits(), "colors of 16 bits may be marked as transparent"),
        ("m.gif", gif_of_a_part(), "its frame does not cover the image"),
    ],
)
def test_masks_with_pixels_that_pillow_makes_up_are_refused(photos, capsys, name, content, said):
    (photos.folder / name).write_bytes(content)
    assert photos.run(photos.write(thing(polygon=None, mask=name))) == 2
    assert f"{photos.folder / name}: {said}" in capsys.readouterr().err


def test_instances_in_one_mask_are_reported(photos, capsys):
    name = with_palette(TWO_PARTS, BLACK, RED, GREEN)(photos.folder)
    assert photos.run(photos.write(thing(polygon=None, mask=name))) == 0
    assert "mask images with more than two values" in capsys.readouterr().out


def test_gray_without_black_is_reported(photos, capsys):
    Image.fromarray(np.where(INSIDE, 255, 1).astype(np.uint8)).save(photos.folder / "m.png")
    assert photos.run(photos.write(thing(polygon=None, mask="m.png"))) == 0
    said = capsys.readouterr().out
    assert "mask images without 0, which must be outside" in said
    assert "more than two" not in said


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
