import numpy as np
import pytest
from PIL import Image

from data.loading.images import DataError, is_turned, load_mask, opened_image


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize(("orientation", "turned"), [(None, False), (1, False), (3, True)])
def test_orientation(tmp_path, suffix, orientation, turned):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (9, 5)).save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert is_turned(image) == turned


def test_a_png_that_breaks_off_is_not_decoded(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((90, 90), 50).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with Image.open(path) as image:
        assert not is_turned(image)


def test_an_image_is_decoded_only_where_pixels_are_asked_for(tmp_path):
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


def test_what_is_no_image_is_named(tmp_path):
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
        pytest.raises(DataError, match=rf"^{path}: too large to be opened \(.*2400.*smaller$"),
        opened_image(path),
    ):
        pass


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_a_mask_is_zero_or_one(tmp_path, shape):
    values = np.zeros(shape, np.int64)
    values[1, 2] = 256
    np.save(tmp_path / "7.npy", values)
    mask = load_mask(tmp_path / "7.npy")
    assert (mask.shape, mask.dtype, mask.sum(), mask[1, 2]) == ((4, 6), np.uint8, 1, 1)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((4, 6, 3)), np.array([{}])])
def test_what_is_no_mask_is_named(tmp_path, array):
    path = tmp_path / "7.npy"
    with pytest.raises(FileNotFoundError):
        load_mask(path)
    np.save(path, array)
    with pytest.raises(DataError, match=rf"^{path}: not a readable mask .*; prepare it again$"):
        load_mask(path)
