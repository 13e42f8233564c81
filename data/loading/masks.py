"""Reading the masks that data/data_process.py writes."""

import os
from pathlib import Path

import numpy as np

from data.loading.annotations import Referent
from data.loading.errors import DataError


def load_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads the mask of one referent.

    Returns:
        (height, width) uint8, 0 or 1.

    Raises:
        FileNotFoundError: no such file.
        DataError: the file is damaged or not an array (height, width) or (height, width, 1).
    """
    try:
        with open(path, "rb") as file:
            mask = np.load(file, allow_pickle=False)
        if not isinstance(mask, np.ndarray):
            raise ValueError("a .npz archive instead of a .npy file")
        rows, columns = mask.shape[:2]
        return (mask.reshape(rows, columns) > 0).astype(np.uint8)
    except FileNotFoundError:
        raise
    # A damaged header reaches Python's tokenizer and parser, which raise errors of many kinds.
    except Exception as error:
        raise DataError(f"{path}: not a readable mask ({error}); prepare it again") from None


def read_mask(folder: str | os.PathLike, referent: Referent, width: int, height: int) -> np.ndarray:
    """Reads the ground-truth mask of a referent whose image has `width` × `height` pixels.

    Returns:
        (height, width) uint8, 0 or 1.

    Raises:
        DataError: the file is missing, damaged, or of another size than the image.
    """
    path = Path(folder) / f"{referent.mask_id}.npy"
    try:
        mask = load_mask(path)
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such mask; is seg_gt_path set to its folder, and was data_process.py run "
            "with --generate_mask?"
        ) from None
    if mask.shape != (height, width):
        raise DataError(
            f"{path}: the mask has {mask.shape[1]}×{mask.shape[0]} pixels, but its image "
            f"{referent.image} has {width}×{height}"
        )
    return mask
