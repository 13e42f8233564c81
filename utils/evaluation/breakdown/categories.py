"""The names of categories, as the preparation of a set has recorded them."""

import os
from collections.abc import Mapping
from pathlib import Path

from data.preparation.manifest import read_manifest


def category_names(annotation_file: str | os.PathLike) -> Mapping[str, str]:
    """The names of the categories of a set.

    Args:
        annotation_file: annotation file of a split.

    Returns:
        Number of a category, as text → its name; empty for own data, sets of earlier versions and
        those without a manifest.

    Raises:
        DataError: the manifest is damaged.
    """
    manifest = read_manifest(Path(annotation_file).parent)
    names = {} if manifest is None else manifest.categories
    return {number: name for number, name in names.items() if isinstance(name, str)}
