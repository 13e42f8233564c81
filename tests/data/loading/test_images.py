"""Opening images: every fault of a file is a `DataError` that names it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, TiffImagePlugin

from data.loading.errors import DataError
from data.loading.images import conversion_of, has_exif_orientation, opened_image, read_image
from tests.limits import memory_within
from utils.prediction.photographs import read_photograph


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize(("orientation", "expected"), [(None, False), (1, False), (3, True)])
def test_orientation(tmp_path, suffix, orientation, expected):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (9, 5)).save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert has_exif_orientation(image) == expected


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_pixels_of_a_tiff_image_are_as_stored(tmp_path, orientation, compression):
    exif, path = Image.Exif(), tmp_path / "a.tif"
    exif[0x0112] = orientation
    stored = np.arange(5 * 9, dtype=np.uint8).reshape(5, 9)
    Image.fromarray(stored).save(path, exif=exif, compression=compression)
    with opened_image(path) as image:
        assert image.size == (9, 5)
        assert has_exif_orientation(image) == (orientation != 1)
        assert conversion_of(image) is None
        np.testing.assert_array_equal(np.asarray(image), stored)
        assert has_exif_orientation(image) == (orientation != 1)
    np.testing.assert_array_equal(np.asarray(read_image(path))[..., 0], stored)
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    shown = np.asarray(read_photograph(tmp_path / "a.png"))  # Its owner sees it rotated.
    np.testing.assert_array_equal(np.asarray(read_photograph(path)), shown)


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_signed_integers_are_refused_as_an_image(tmp_path, dtype):
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), np.zeros((5, 9), dtype))
    for read in (read_image, read_photograph, conversion_of):
        with pytest.raises(DataError, match=rf"^{path}: the pixels are signed integers"):
            read(path)
    with (
        Image.open(path) as image,
        pytest.raises(DataError, match=r"^the image: the pixels are signed integers"),
    ):
        read_photograph(image)


def test_gray_of_twelve_bits_is_scaled(tmp_path):
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 6}
    pixels = bytes.fromhex("000 001 7ff fff".replace(" ", ""))
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    path, start = tmp_path / "a.tif", 8 + len(pixels)
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, start)
        + pixels
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )
    with Image.open(path) as image:
        for source in (path, image):
            assert conversion_of(source) == "12-bit grayscale scaled to 8 bits"
            assert np.asarray(read_photograph(source))[0, :, 0].tolist() == [0, 0, 127, 255]
    assert np.asarray(read_image(path))[0, :, 0].tolist() == [0, 0, 127, 255]


def test_a_truncated_png_is_not_decoded(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((90, 90), 50).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with Image.open(path) as image:
        assert not has_exif_orientation(image)


def test_an_image_is_decoded_only_when_its_pixels_are_accessed(tmp_path):
    path = tmp_path / "a.jpg"
    Image.effect_noise((90, 90), 50).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with opened_image(path) as image:
        assert image.size == (90, 90)
    with (
        pytest.raises(DataError, match=rf"^{path}: not a readable image \(.*truncated"),
        opened_image(path) as image,
    ):
        image.load()


def test_a_file_that_is_not_an_image_is_named(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(FileNotFoundError), opened_image(path):
        pass
    path.write_text("a picture")
    with (
        pytest.raises(
            DataError, match=rf"^{path}: not a readable image \(unknown format\); replace it$"
        ),
        opened_image(path),
    ):
        pass


def test_a_decompression_bomb_is_refused_in_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with (
        pytest.raises(DataError, match=rf"^{path}: too large to open \(.*2400.*smaller size$"),
        opened_image(path),
    ):
        pass


def test_errors_of_other_code_pass_unchanged(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 5)).save(path)
    for error in (DataError("too small"), ValueError("a bug"), OSError("disk"), KeyError("x")):
        with pytest.raises(type(error)) as caught, opened_image(path):
            raise error
        assert caught.value is error


def png(*chunks, size=(4, 3), rows=None, color_type=0, depth=8):
    """A gray PNG image with further chunks (kind, content) before its pixels, black by default."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, color_type, 0, 0, 0))
    rows = bytes((size[0] + 1) * size[1]) if rows is None else rows
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*c) for c in chunks) + pixels


BOMB = zlib.compress(bytes(200_000_000))
ODD_FILES = {
    # What Pillow raises for it.
    "text bomb": (png((b"zTXt", b"note\0\0" + BOMB)), ValueError),
    "many texts": (png(*[(b"zTXt", b"note\0\0" + zlib.compress(bytes(10**6)))] * 70), ValueError),
    "PPM without numbers": (b"P6\nx 3\n255\n" + bytes(36), ValueError),
    "PPM of large values": (b"P6\n4 3\n99999\n" + bytes(36), ValueError),
    "DDS of another kind": (b"DDS " + struct.pack("<I", 124) + bytes(120), NotImplementedError),
    "chunk of no length": (png((b"IHDR", b"")), ValueError),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ODD_FILES)
def test_whatever_pillow_raises_names_the_file(tmp_path, case):
    content, raised = ODD_FILES[case]
    path = tmp_path / "a.img"
    path.write_bytes(content)
    with pytest.raises(Exception) as caught, Image.open(path) as image:  # noqa: PT011
        image.load()
    assert isinstance(caught.value, raised)
    for read in (read_image, read_photograph):
        with memory_within(150_000_000), pytest.raises(DataError, match=rf"^{path}: "):
            read(path)


def test_a_palette_image_without_a_palette_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(color_type=3))
    for read in (read_image, read_photograph, conversion_of):
        with pytest.raises(DataError, match=r"not a readable image \(its palette is missing\)"):
            read(path)


def test_memory_that_an_image_would_need_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 5)).save(path)

    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", no_memory)
    with pytest.raises(DataError, match=rf"^{path}: not a readable image \(MemoryError\)"):
        read_image(path)


@pytest.mark.filterwarnings("ignore")  # Pillow warns about odd metadata and large sizes.
@pytest.mark.parametrize("name", ["a.eps", "a.jpg"])
def test_programs_are_not_run(tmp_path, name, monkeypatch):
    path = tmp_path / name
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript runs"))
    with pytest.raises(DataError, match=rf"^{path}: EPS files are not read; save it as PNG"):
        read_image(path)


GRADIENT = np.linspace(0, 65535, 256 * 40).astype(np.uint16).reshape(40, 256)
COLORS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
HALF = np.dstack([COLORS, np.full((40, 30), 128, np.uint8)])


def saved(array, path, **options):
    Image.fromarray(array).save(path, **options)
    return path


def pixels(path):
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
def test_gray_of_sixteen_bits_is_scaled(tmp_path, suffix):
    options = {"irreversible": False} if suffix == "jp2" else {}
    path = saved(GRADIENT, tmp_path / f"a.{suffix}", **options)
    expected = np.repeat((GRADIENT // 256).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(pixels(path), expected)
    np.testing.assert_array_equal(np.asarray(read_photograph(path)), expected)
    assert conversion_of(path) == "16-bit grayscale scaled to 8 bits"


@pytest.mark.parametrize("orientation", [1, 3])
@pytest.mark.parametrize("depth", ["L", "I;16"])
def test_white_is_zero_where_a_tiff_file_says_so(tmp_path, depth, orientation):
    stored = (GRADIENT // 256).astype(np.uint8) if depth == "L" else GRADIENT.astype(np.uint16)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    path = tmp_path / "a.tif"
    Image.fromarray(stored).save(path, tiffinfo=tags)
    tag = struct.Struct("<HHIHH")  # Pillow writes no others in this order of bytes.
    black_is_zero, white_is_zero = (tag.pack(262, 3, 1, value, 0) for value in (1, 0))
    content = path.read_bytes()
    assert content.count(black_is_zero) == 1
    path.write_bytes(content.replace(black_is_zero, white_is_zero))
    expected = 255 - np.repeat((GRADIENT // 256).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(pixels(path), expected)
    upright = expected[::-1, ::-1] if orientation == 3 else expected
    np.testing.assert_array_equal(np.asarray(read_photograph(path)), upright)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(read_photograph(image)), upright)


def test_colors_of_more_than_255_values_are_reported(tmp_path):
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6\n2 1\n1000\n" + bytes(12))
    assert conversion_of(path) == "16 bits per channel scaled to 8 bits"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colors_of_sixteen_bits_are_scaled(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), COLORS[..., ::-1].astype(np.uint16) * 256 + 77)
    np.testing.assert_array_equal(pixels(path), COLORS)
    assert conversion_of(path) == "16 bits per channel scaled to 8 bits"


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.int32, "signed integers"), (np.float32, "floating-point numbers")]
)
def test_numbers_without_a_white_are_refused(tmp_path, dtype, kind):
    path = saved(np.ones((4, 5), dtype), tmp_path / "a.tif")
    for read in (read_image, read_photograph, conversion_of):
        with pytest.raises(DataError, match=rf"^{path}: the pixels are {kind}; save it with 8"):
            read(path)


def test_transparent_parts_become_white(tmp_path):
    on_white = np.rint(HALF[..., :3] * (128 / 255) + 255 * (127 / 255))
    luma = np.dstack([HALF[..., 0], HALF[..., 3]])
    gray_on_white = np.repeat(on_white[..., :1], 3, axis=2)
    files = {
        saved(HALF, tmp_path / "a.png"): on_white,
        saved(HALF, tmp_path / "a.tif"): on_white,
        saved(luma, tmp_path / "la.png"): gray_on_white,
    }
    for path, expected in files.items():
        np.testing.assert_allclose(pixels(path), expected, atol=1)
        np.testing.assert_array_equal(pixels(path), np.asarray(read_photograph(path)))
        assert conversion_of(path) == "transparency placed on white"


def test_opaque_pixels_of_an_image_with_transparency_are_unchanged(tmp_path):
    opaque = HALF.copy()
    opaque[..., 3] = 255
    np.testing.assert_array_equal(pixels(saved(opaque, tmp_path / "a.png")), COLORS)


def test_transparent_colors_of_palettes_and_of_rgb_become_white(tmp_path):
    palette = Image.fromarray(COLORS).quantize(16)
    shown = np.asarray(palette.convert("RGB")).copy()
    index = int(np.asarray(palette)[3, 3])
    shown[np.asarray(palette) == index] = 255
    palette.save(tmp_path / "p.png", transparency=index)
    palette.save(tmp_path / "p.gif", transparency=index)
    key = tuple(COLORS[2, 2].tolist())
    Image.fromarray(COLORS).save(tmp_path / "rgb.png", transparency=key)
    keyed = COLORS.copy()
    keyed[np.equal(COLORS, key).all(axis=2)] = 255
    for name, expected in {"p.png": shown, "p.gif": shown, "rgb.png": keyed}.items():
        np.testing.assert_array_equal(pixels(tmp_path / name), expected)
        assert conversion_of(tmp_path / name) == "transparency placed on white"


@pytest.mark.parametrize(
    ("color_type", "depth", "row", "key", "opaque"),
    [
        (0, 1, b"\x40", [0], 255),
        (0, 2, b"\x60", [1], 170),
        (0, 4, b"\x18", [1], 136),
        (0, 4, b"\x18", [0x71], 136),  # Only the bits of a value count.
        (0, 8, b"\x18\x80", [0x18], 128),
        (0, 16, b"\x12\x34\x12\x35", [0x1234], 0x12),
        (2, 8, b"\1\2\3\x80\x80\x80", [1, 2, 3], 128),
        (2, 16, b"\1\0\2\0\3\x07" + b"\x80\0" * 3, [0x100, 0x200, 0x307], 128),
    ],
)
def test_a_transparent_color_of_any_depth_becomes_white(
    tmp_path, color_type, depth, row, key, opaque
):
    """The first of two pixels is transparent."""
    chunk = (b"tRNS", struct.pack(f">{len(key)}H", *key))
    path = tmp_path / "a.png"
    path.write_bytes(png(chunk, size=(2, 1), rows=b"\0" + row, color_type=color_type, depth=depth))
    for read in (read_image, read_photograph):
        assert np.asarray(read(path)).tolist() == [[[255] * 3, [opaque] * 3]]
    assert conversion_of(path).endswith("transparency placed on white")


def test_cmyk_becomes_rgb(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (5, 3), (250, 0, 0)).convert("CMYK").save(path, quality=100)
    np.testing.assert_allclose(pixels(path), np.full((3, 5, 3), (250, 0, 0)), atol=3)
    assert conversion_of(path) == "CMYK converted to RGB"


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(suffix, mode) for suffix in ("png", "bmp", "gif", "tif") for mode in ("RGB", "L", "P", "1")]
    + [("jpg", "RGB"), ("jpg", "L")],
)
def test_plain_images_are_what_pillow_shows(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLORS).convert(mode).save(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels(path), np.asarray(image.convert("RGB")))
    assert conversion_of(path) is None


def test_pixels_are_read_as_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(COLORS, tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels(path), COLORS)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: no such image; is image_path set"):
        read_image(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        conversion_of(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(1, 170_000_000), (65_536, 1), (8001, 8001)])
def test_sizes_that_take_gigabytes_are_refused_before_decoding(tmp_path, size):
    path = tmp_path / "a.png"
    path.write_bytes(png(size=size, rows=b"\0" * 1000))
    with memory_within(50_000_000):
        for read in (read_image, read_photograph):
            with pytest.raises(DataError, match=rf"a\.png has {size[0]}×{size[1]} pixels"):
                read(path)
