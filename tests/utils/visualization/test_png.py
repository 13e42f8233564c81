"""PNG files are written atomically."""

import numpy as np
import pytest
from PIL import Image

from utils.visualization.png import is_sealed_png, png_bytes, save_png


@pytest.mark.parametrize("shape", [(7, 9, 3), (7, 9)])
def test_a_picture_is_read_back(shape, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    save_png(tmp_path / "new" / "picture.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new/picture.png")), image)


def test_a_failure_leaves_the_old_picture(tmp_path):
    save_png(tmp_path / "picture.png", np.zeros((2, 3), np.uint8))
    with pytest.raises((TypeError, KeyError)):
        save_png(tmp_path / "picture.png", np.zeros((2, 3, 7, 5)))
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    with Image.open(tmp_path / "picture.png") as image:
        assert image.size == (3, 2)


@pytest.mark.parametrize("shape", [(7, 9, 3), (7, 9)])
def test_a_sealed_picture_is_recognized_until_it_is_changed(shape, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "picture.png"
    path.write_bytes(png_bytes(image, sealed=True))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert is_sealed_png(path)
    (tmp_path / "link.png").symlink_to(path)
    assert not is_sealed_png(tmp_path / "link.png")
    path.write_bytes(png_bytes(image))
    assert not is_sealed_png(path)
    content = png_bytes(image, sealed=True)
    assert content[:-1] != content[:-1].replace(b"IDAT", b"IDOT")
    for changed in (
        b"",
        content[: len(content) // 2],
        content.replace(b"IDAT", b"IDOT"),
        content + b"a note",
        b"\n" + content,
    ):
        path.write_bytes(changed)
        assert not is_sealed_png(path)
    assert not is_sealed_png(tmp_path)
