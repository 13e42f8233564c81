"""The folder that training leaves behind: weight files and the settings that belong to them."""

import os
from pathlib import Path

SETTINGS_FILE = "config.json"


def check_weights_exist(weights: str | os.PathLike) -> None:
    """Raises FileNotFoundError if there is no such weight file."""
    if not Path(weights).exists():
        raise FileNotFoundError(
            f"{weights}: no such weight file; name another one, or train a network (`make demo` "
            "trains a small one)"
        )


def settings_beside(weights: str | os.PathLike) -> Path:
    """Finds the settings with which a network was trained.

    Args:
        weights: weight file of the network.

    Returns:
        Path of the config.json in the same folder.

    Raises:
        FileNotFoundError: there is no such weight file, or no config.json beside it.
    """
    check_weights_exist(weights)
    path = Path(weights).parent / SETTINGS_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file, which would hold the settings of {weights}; name a settings "
            "file with --config"
        )
    return path
