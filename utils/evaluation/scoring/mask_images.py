"""The files that predictions name as their masks: what results record about them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from config.errors import UserError
from config.files import file_sha256
from utils.evaluation.scoring.rows import Row

RECORDED = "mask_images"  # Key in data_sha256 of result.json.


class MaskImages:
    """The mask images of the predictions for a set, with a hash of their contents at first.

    Args:
        rows: the prediction for each expression, or None.

    Attributes:
        sha256: `RECORDED` → hash of all contents; empty if there are no mask images. Their names
            do not count, so predictions may be moved together with them.
    """

    def __init__(self, rows: Sequence[Row | None]) -> None:
        self._files = sorted({row.mask for row in rows if row and isinstance(row.mask, Path)})
        self.sha256 = self._hashed()

    def check_unchanged(self) -> None:
        """Raises `UserError` if one of them is not as it was at first."""
        if self._hashed() != self.sha256:
            raise UserError(
                f"{self._files[0].parent}: mask images of the predictions changed while they were "
                "read; run the same command again"
            )

    def _hashed(self) -> dict[str, str]:
        if not self._files:
            return {}
        # Those that are missing are refused, with their lines, once they are read.
        hashes = [file_sha256(file) if file.is_file() else "" for file in self._files]
        return {RECORDED: hashlib.sha256("\n".join(hashes).encode()).hexdigest()}
