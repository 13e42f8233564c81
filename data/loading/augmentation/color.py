"""Changes of brightness, contrast and saturation; the hue stays, since expressions name colors."""

from PIL import Image, ImageEnhance


def recolored(
    image: Image.Image, brightness: float, contrast: float, saturation: float
) -> Image.Image:
    """Changes an RGB image, in this order and by Pillow's `ImageEnhance`.

    Args:
        image: in RGB.
        brightness: factor on all values.
        contrast: factor on the differences from the image's mean luminance.
        saturation: factor on the differences of a pixel's values from its own luminance.

    Returns:
        The changed image, rounded to whole values 0..255 after each change.
    """
    image = ImageEnhance.Brightness(image).enhance(brightness)
    image = ImageEnhance.Contrast(image).enhance(contrast)
    return ImageEnhance.Color(image).enhance(saturation)
