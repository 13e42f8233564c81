"""Random damage to image files of every format that Pillow writes: a sentence or RGB."""

import functools
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from config.errors import UserError
from data.loading.images import conversion_of, has_exif_orientation, opened_image, read_image
from tests.limits import memory_within
from utils.prediction.photographs import read_photograph

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns about odd metadata.

# Formats that Pillow both reads and writes, and those modes of each that it accepts.
Image.init()
FORMATS = sorted((set(Image.SAVE) & set(Image.OPEN)) - {"HDF5", "GRIB", "BUFR", "WMF"})
MODES = ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "I", "F", "YCbCr"]
# Damaged headers may claim up to this, and conversions hold a few copies.
PIXELS, MEMORY = 4_000_000, 200_000_000


@functools.cache
def samples():
    """(format, mode) → bytes of an image file, for all that Pillow can write."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    found = {}
    for kind in FORMATS:
        for mode in MODES:
            buffer = io.BytesIO()
            image = Image.fromarray(noise)
            image = (
                image.convert("L").convert("I").convert(mode)
                if "I" in mode
                else (image.convert(mode))
            )
            try:
                image.save(buffer, kind, exif=exif)
            except Exception:  # Pillow says in many ways that it cannot.
                continue
            found[kind, mode] = buffer.getvalue()
    return found


def test_the_samples_cover_the_usual_formats():
    kinds = {kind for kind, _ in samples()}
    assert kinds >= {"PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX"}
    assert {mode for _, mode in samples()} >= {"RGB", "RGBA", "P", "CMYK", "I;16", "F"}


edits = st.lists(
    st.tuples(
        # Headers are at the beginning; most of a file is pixels.
        st.integers(0, 150) | st.integers(0, 4000),
        st.binary(min_size=1, max_size=4) | st.sampled_from([b"\0" * 4, b"\xff" * 4, b""]),
        st.integers(0, 4),
    ),
    max_size=5,
)


def edited(content, changes):
    for place, inserted, removed in changes:
        place %= len(content) or 1
        content = content[:place] + inserted + content[place + removed :]
    return content


def read_in_every_way(path):
    for read in (read_image, read_photograph):
        try:
            image = read(path)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert image.mode == "RGB"
            assert np.asarray(image).shape == (image.height, image.width, 3)
    try:
        conversion_of(path)
        with opened_image(path) as image:
            has_exif_orientation(image)
    except UserError:
        pass


@pytest.fixture(autouse=True)
def bounded_memory():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", PIXELS // 2)  # Twice as many are an error.
        samples()
        with memory_within(MEMORY):
            yield


@given(st.sampled_from(sorted(samples())), edits, st.none() | st.integers(0, 3000))
def test_damaged_files(tmp_path, kind, changes, length):
    content = edited(samples()[kind], changes)
    path = tmp_path / "image"
    path.write_bytes(content[:length])
    read_in_every_way(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_at_every_place_of_the_header(tmp_path, kind):
    path = tmp_path / "image"
    content = next(content for (name, _), content in samples().items() if name == kind)
    for place in range(0, min(len(content), 64), 3):
        for value in (b"\0", b"\xff"):
            path.write_bytes(content[:place] + value + content[place + 1 :])
            read_in_every_way(path)


@given(st.sampled_from(sorted(samples())), st.binary(max_size=200))
def test_any_bytes_after_a_signature(tmp_path, kind, content):
    path = tmp_path / "image"
    path.write_bytes(samples()[kind][:12] + content)
    read_in_every_way(path)
