"""What an image file says about itself before it is decoded."""

from PIL import Image

_EXIF_ORIENTATION = 0x0112


def is_turned(image: Image.Image) -> bool:
    """Whether programs show an opened image turned or mirrored, because its EXIF data say so.

    Training reads the pixels as they are stored. A PNG is not decoded to find EXIF data behind
    its pixels.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return False
    return image.getexif().get(_EXIF_ORIENTATION, 1) != 1
