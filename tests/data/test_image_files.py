import pytest
from PIL import Image

from data.image_files import is_turned


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
