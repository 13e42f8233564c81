"""Letterboxing: images, boxes and masks to the network's square input and back.

The image is scaled by s = min(S/w, S/h), its new size truncated to whole pixels, and centered on
gray 128 with integer division. Boxes are scaled by the same s, not by the ratio of the truncated
sizes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

GRAY = 128


@dataclass(frozen=True)
class Letterbox:
    """Placement of an image in the square input.

    Attributes:
        image_width, image_height: size of the original image in pixels.
        input_size: side of the square in pixels.
        new_width, new_height: size of the scaled image in pixels.
        left, top: position of its first pixel in the square.
    """

    image_width: int
    image_height: int
    input_size: int
    new_width: int
    new_height: int
    left: int
    top: int

    @classmethod
    def fit(cls, width: int, height: int, input_size: int) -> "Letterbox":
        """Placement of an image of `width` × `height` pixels, scaled to fit.

        Raises:
            ValueError: a size is not positive.
        """
        if min(width, height, input_size) <= 0:
            raise ValueError(f"no image of {width}×{height} pixels fits a square of {input_size}")
        scale = min(input_size / width, input_size / height)
        # The short side of an image with an aspect ratio above S would be truncated to zero.
        new_width = max(int(width * scale), 1)
        new_height = max(int(height * scale), 1)
        return cls.centered(width, height, input_size, new_width, new_height)

    @classmethod
    def centered(
        cls, width: int, height: int, input_size: int, new_width: int, new_height: int
    ) -> "Letterbox":
        """Placement of an image of `width` × `height`, scaled to `new_width` × `new_height`."""
        return cls(
            image_width=width,
            image_height=height,
            input_size=input_size,
            new_width=new_width,
            new_height=new_height,
            left=(input_size - new_width) // 2,
            top=(input_size - new_height) // 2,
        )

    @property
    def scale(self) -> float:
        """Input pixels per original pixel."""
        return min(self.input_size / self.image_width, self.input_size / self.image_height)


def letterbox_image(image: Image.Image, input_size: int) -> np.ndarray:
    """Scales an image with bicubic interpolation and centers it on gray.

    Args:
        image: in RGB, see `data.loading.images.to_rgb`.
        input_size: side S of the square in pixels.

    Returns:
        (S, S, 3) uint8, RGB.

    Raises:
        ValueError: the image is not in RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"an image in {image.mode} instead of RGB")
    geometry = Letterbox.fit(image.width, image.height, input_size)
    size = (geometry.new_width, geometry.new_height)
    # Width first, then height, as published. Recent versions of Pillow choose the order by the
    # image's shape, which changes the rounding between the two passes.
    for step in ((size[0], image.height), size):
        if image.size != step:
            image = image.resize(step, Image.Resampling.BICUBIC)
    canvas = np.full((input_size, input_size, 3), GRAY, np.uint8)
    canvas[_window(geometry)] = np.asarray(image)
    return canvas


def letterbox_box(box_xyxy_px: npt.ArrayLike, geometry: Letterbox) -> np.ndarray:
    """Converts boxes from pixels of the image to pixels of the square.

    Args:
        box_xyxy_px: (..., 4) left, top, right, bottom in the image.
        geometry: placement of the image.

    Returns:
        (..., 4) float64, in the same order, neither rounded nor clipped.
    """
    return np.asarray(box_xyxy_px, np.float64) * geometry.scale + _offset(geometry)


def unletterbox_box(box_xyxy_px: npt.ArrayLike, geometry: Letterbox) -> np.ndarray:
    """Converts boxes from pixels of the square to pixels of the image.

    Args:
        box_xyxy_px: (..., 4) left, top, right, bottom in the square.
        geometry: placement of the image.

    Returns:
        (..., 4) float64, in the same order, neither rounded nor clipped: a box that extends into
        the gray border extends outside the image.
    """
    return (np.asarray(box_xyxy_px, np.float64) - _offset(geometry)) / geometry.scale


def letterbox_mask(
    mask_hw: np.ndarray, geometry: Letterbox, stride: int, target: str = "corner"
) -> np.ndarray:
    """Converts a mask of the image to the training target at the network's output stride.

    Args:
        mask_hw: (h, w) or (h, w, 1) at the size of the image; values above 0 are the object.
        geometry: placement of the image.
        stride: stride of the target; must divide the input size S.
        target: "corner", as published: nearest neighbor into the square, then the top left pixel
            of each cell. "area": the fraction of each cell that the object covers. Upsampling
            "area" masks back causes no shift of half a cell, which matters for objects that are
            few cells wide.

    Returns:
        (S/stride, S/stride, 1) float32 in 0..1.

    Raises:
        ValueError: the mask has another size than the image, or the stride does not divide S.
    """
    mask_hw = np.asarray(mask_hw)
    if mask_hw.ndim == 3 and mask_hw.shape[2] == 1:
        mask_hw = mask_hw[:, :, 0]
    expected = (geometry.image_height, geometry.image_width)
    if mask_hw.shape != expected:
        raise ValueError(f"a mask of shape {mask_hw.shape} does not fit an image of {expected}")
    if stride <= 0 or geometry.input_size % stride:
        raise ValueError(f"stride {stride} does not divide the input size {geometry.input_size}")
    binary = Image.fromarray((mask_hw > 0).astype(np.uint8))
    size = (geometry.new_width, geometry.new_height)
    canvas = np.zeros((geometry.input_size, geometry.input_size), np.float32)
    canvas[_window(geometry)] = np.asarray(binary.resize(size, Image.Resampling.NEAREST))
    if target == "corner":
        return np.ascontiguousarray(canvas[::stride, ::stride, None])
    cells = geometry.input_size // stride
    return canvas.reshape(cells, stride, cells, stride).mean(axis=(1, 3))[..., None]


def unletterbox_map(map_ss: np.ndarray, geometry: Letterbox) -> np.ndarray:
    """Converts a map of the square to the image: crops the border and resizes bilinearly.

    Args:
        map_ss: (S, S) or (S, S, K) float32.
        geometry: placement of the image.

    Returns:
        (h, w) or (h, w, K) float32.

    Raises:
        ValueError: the map is not S × S.
    """
    map_ss = np.asarray(map_ss, np.float32)
    if map_ss.shape[:2] != (geometry.input_size, geometry.input_size) or map_ss.ndim > 3:
        raise ValueError(
            f"a map of shape {map_ss.shape} does not fit an input of {geometry.input_size} pixels"
        )
    inner = np.ascontiguousarray(map_ss[_window(geometry)])
    size = (geometry.image_width, geometry.image_height)
    resized = cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR)
    # OpenCV drops a last axis of length one.
    return resized.reshape(geometry.image_height, geometry.image_width, *map_ss.shape[2:])


def _window(geometry: Letterbox) -> tuple[slice, slice]:
    return (
        slice(geometry.top, geometry.top + geometry.new_height),
        slice(geometry.left, geometry.left + geometry.new_width),
    )


def _offset(geometry: Letterbox) -> np.ndarray:
    return np.array([geometry.left, geometry.top, geometry.left, geometry.top], np.float64)
