"""Opening images: every fault of a file is a `DataError` that names it."""

import io
import random

import pytest
from PIL import Image

from data.loading.errors import DataError
from data.loading.images import has_exif_orientation, opened_image, read_image


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize(("orientation", "expected"), [(None, False), (1, False), (3, True)])
def test_orientation(tmp_path, suffix, orientation, expected):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (9, 5)).save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert has_exif_orientation(image) == expected


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
        pytest.raises(DataError, match=rf"^{path}: not a readable image .*; replace the file$"),
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


@pytest.mark.filterwarnings("ignore")  # Pillow warns about odd metadata and large sizes.
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA"])
def test_damaged_images_of_any_format_are_named(tmp_path, format):
    buffer = io.BytesIO()
    Image.effect_noise((24, 20), 60).convert("RGB").save(buffer, format)
    path = tmp_path / "a.img"
    rng = random.Random(0)
    errors = 0
    for _ in range(200):
        damaged = bytearray(buffer.getvalue())
        for _ in range(5):
            damaged[rng.randrange(min(len(damaged), 60))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_image(path)
        except DataError:
            errors += 1
    assert errors > 50


def test_errors_that_name_the_file_already_pass(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 5)).save(path)
    with pytest.raises(DataError, match=r"^too small$"), opened_image(path):
        raise DataError("too small")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_images_of_any_mode_are_read_as_rgb(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.new("RGB", (5, 3), (255, 0, 0)).convert(mode).save(path)
    image = read_image(path)
    assert (image.mode, image.size) == ("RGB", (5, 3))


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: no such image; is image_path set"):
        read_image(tmp_path / "a.png")
