"""The JSON description of an export: for its users, and to tell its files from those of others."""

import os
from dataclasses import dataclass
from pathlib import Path

from config.files import file_sha256
from config.schema import Config
from data.support.sealing import is_listed, is_sealed, json_object, sealed
from utils.export.graph import Exportable

# The settings that users of an exported file need to know.
SETTINGS = ("input_size", "word_len", "word_embed", "embed_dim", "text_encoder", "segment_thresh",
            "use_nls")  # fmt: skip
FILES, OWN = "sha256", "sha256_of_description"
_KEYS = {"inputs", "outputs", "settings", "weights", FILES}


@dataclass(frozen=True)
class Description:
    """What an export says that it wrote.

    Attributes:
        files: name of the exported file, or path of each file in the exported folder → SHA-256.
        unchanged: whether the description is as it was written.
    """

    files: dict[str, str]
    unchanged: bool

    def is_as_written(self, folder: Path, path: Path) -> bool:
        """Whether a file is one of the export and has not been changed since.

        Args:
            folder: the exported folder, or the one that contains the exported file.
            path: relative to the folder.
        """
        return is_listed(folder, path, self.files)


def described(
    config: Config, weights: str | os.PathLike, exportable: Exportable, exported: Path
) -> str:
    """The JSON text that describes inputs, outputs and settings, and what was exported.

    Args:
        config: `config.schema.Config` of the network.
        weights: its weight file.
        exportable: the part that was exported.
        exported: a file, or a folder that contains the exported files and no others.
    """

    def specified(specs):
        return {
            name: {
                "shape": spec.shape.as_list(),
                "dtype": spec.dtype.name,
                "about": exportable.about[name],
            }
            for name, spec in specs.items()
        }

    function = exportable.function
    if exported.is_file():
        files = {exported.name: exported}
    else:
        found = sorted(file for file in exported.rglob("*") if file.is_file())
        files = {file.relative_to(exported).as_posix(): file for file in found}
    return sealed(
        {
            "inputs": specified({spec.name: spec for spec in function.input_signature}),
            "outputs": specified(function.get_concrete_function().structured_outputs),
            "settings": {key: getattr(config, key) for key in SETTINGS},
            "weights": Path(weights).name,
            FILES: {name: file_sha256(file) for name, file in files.items()},
        },
        OWN,
    )


def read_description(path: Path) -> Description | None:
    """Reads a description; None if there is none, or a file that is no description."""
    try:
        content = json_object(path)
        if not content.keys() >= _KEYS or not isinstance(content[FILES], dict):
            return None
        return Description(content[FILES], is_sealed(path, OWN))
    except OSError:
        return None
