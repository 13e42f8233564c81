"""Weight files: a file is loaded completely, or refused with the reason.

Files are identified by their content, compared with the network layer by layer before anything is
assigned, and reported array by array. The functions below are the API; the command is

    python -m model.weights inspect FILE ...        identifies files
    python -m model.weights convert IN OUT          converts a file to a .weights.h5 of this project

Start with `hdf5`, which identifies files and lists their layers. `transfer.py` matches layers
and fills variables, and `layouts.py` describes the parts of the network and the order of layers in
files of other projects. There is one reader per format:

- `native.py`: files of this project, reading and writing
- `published.py`: MCN checkpoints of the authors
- `keras_backbone.py`: YOLOv3 and VGG-16 in Keras files
- `darknet.py`: YOLOv3 and its parts in Darknet `.weights` files
- `bert.py`: BERT checkpoints

`inspection.py` describes a file without building a network, `settings.py` compares the settings
of a file with those of a network, and `provenance.py` warns about weights that were trained on
images of the evaluation sets.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from config.errors import Hdf5Error, UserError
from model.weights.darknet import match_darknet, read_darknet
from model.weights.hdf5.content import WeightsError, content_of, is_name, open_hdf5
from model.weights.hdf5.layers import is_keras2, read_layers
from model.weights.inspection import describe
from model.weights.keras_backbone import match_keras_backbone
from model.weights.layouts import BACKBONE, FOREIGN_BACKBONES, NETWORK, part_of
from model.weights.native import contents_of, match_native, write_native
from model.weights.published import is_published, match_published
from model.weights.settings import differing_settings, model_settings
from model.weights.transfer import LoadReport, fill, unfilled

if TYPE_CHECKING:
    import keras

__all__ = [
    "LoadReport",
    "WeightsError",
    "load_pretrained",
    "load_text_encoder",
    "load_weights",
    "save_weights",
]


def load_weights(model: "keras.Model", path: str | os.PathLike) -> LoadReport:
    """Fills every weight of a network.

    Args:
        model: network of `build_mcn`.
        path: a whole network in a `.weights.h5` of this project, or a Keras 2 `.h5` of the
            published training or inference model.

    Returns:
        LoadReport; its `missing` is empty.

    Raises:
        WeightsError: the file cannot be read, holds another network, or does not fill every
            weight. The network is left unchanged then.
    """
    return _load(model, str(path), whole=True)


def load_pretrained(
    model: "keras.Model", weights: str | os.PathLike, *, ignore_rest: bool = False
) -> LoadReport:
    """Fills a network, or only its backbone, to start training from.

    Args:
        model: network of `build_mcn`.
        weights: any file that `load_weights` accepts; a backbone or trunk in a `.weights.h5` of
            this project; YOLOv3 or VGG-16 as Keras `.h5`, `.weights.h5`, `.keras` or Darknet
            `.weights`; or a name under which the backbone registers weights, such as "imagenet".
        ignore_rest: use the backbone of a Darknet file even if what follows it is unknown.

    Returns:
        LoadReport; its `missing` lists the layers that keep their initial values.

    Raises:
        WeightsError: the file cannot be read or does not fit, or there are no weights of this
            name. The network is left unchanged then.
    """
    if is_name(weights):
        return _load_named(model, str(weights))
    return _load(model, str(weights), whole=False, ignore_rest=ignore_rest)


def load_text_encoder(model: "keras.Model", path: str | os.PathLike) -> LoadReport | None:
    """Fills the text encoder of a network from a pretrained checkpoint, completely.

    Args:
        model: network of `build_mcn`.
        path: folder of a BERT checkpoint, see `config.bert.folder`.

    Returns:
        LoadReport, or None if there are no checkpoints for this text encoder.

    Raises:
        ConfigError: files of the checkpoint are missing.
        WeightsError: the checkpoint is damaged or does not fit. The network is left unchanged
            then.
    """
    # Inspecting a file must not load TensorFlow.
    from model.weights.bert import has_bert, load_bert

    return load_bert(model, path) if has_bert(model) else None


def save_weights(
    model: "keras.Model",
    path: str | os.PathLike,
    *,
    half: bool = False,
    trained_on: str | None = None,
) -> None:
    """Writes a `.weights.h5` file atomically.

    Args:
        model: network of `build_mcn`, or a part of it cut out by `visual_backbone` or
            `visual_trunk`.
        path: must end in `.weights.h5`; missing folders are created.
        half: store float16, which halves the size and rounds values to 11 bits.
        trained_on: what the weights were trained on, stored in the file; see
            `model.weights.provenance`.

    Raises:
        WeightsError: the path has another ending, or a value exceeds the range of float16.
    """
    write_native(model, path, half, trained_on)


def _load(model: "keras.Model", path: str, *, whole: bool, ignore_rest: bool = False) -> LoadReport:
    if content_of(path) == "darknet":
        darknet = read_darknet(path)
        _check_foreign(model, path, whole)
        with _misfit_listed(model, path):
            match = match_darknet(model, darknet, ignore_rest)
        return fill(match, path, model.layers)
    with open_hdf5(path) as file:
        contents = contents_of(file, path)
        if contents is not None:
            if whole and contents.part != NETWORK:
                raise _only_backbone(path)
            with _misfit_listed(model, path, named_layers=True):
                match = match_native(model, file, contents, path)
            return fill(match, path, model.layers)
        layers = read_layers(file, path)
        published = is_published(layers)
        if published and not is_keras2(file):
            raise WeightsError(
                f"{path}: holds a network with a recurrent layer but no attribute mcn_part; write "
                "networks of this project with model.weights.save_weights"
            )
        _check_foreign(model, path, whole and not published)
        with _misfit_listed(model, path):
            match = (match_published if published else match_keras_backbone)(model, layers, path)
        return fill(match, path, model.layers)


@contextlib.contextmanager
def _misfit_listed(
    model: "keras.Model", path: str, *, named_layers: bool = False
) -> Iterator[None]:
    """Replaces an error about one layer by all settings in which file and network differ."""
    try:
        yield
    except (WeightsError, Hdf5Error) as error:
        try:
            file = describe(path)
        except UserError:
            raise error from None
        ours = model_settings(model, file.part or BACKBONE)
        fitting, present = "", ""
        if file.settings:
            fitting, present = differing_settings(file.settings, ours, named_layers=named_layers)
        if not fitting:
            raise
        raise WeightsError(
            f"{path}: does not fit a network with {present}; settings that fit:\n  --set {fitting}"
        ) from None


def _load_named(model: "keras.Model", name: str) -> LoadReport:
    # Inspecting a file must not load TensorFlow.
    from model.backbones.registry import load_named_weights, weight_names

    backbone = part_of(model, BACKBONE)
    known = weight_names(model.backbone.name)
    if name not in known:
        raise WeightsError(
            f"{name}: is not a file, and the backbone {model.backbone.name} has no weights of this "
            f"name (available: {', '.join(known) or 'none'})"
        )
    try:
        load_named_weights(name, model.backbone.name, backbone)
    except Exception as error:  # Keras raises a plain Exception if a download fails.
        raise WeightsError(f"{name}: these weights cannot be loaded: {error}") from error
    entries = [
        (variable.path, layer.name, tuple(variable.shape))
        for layer in backbone.layers
        for variable in layer.weights
    ]
    kind = f"weights of {model.backbone.name}"
    return LoadReport(name, kind, entries, missing=unfilled(model.layers, backbone.weights))


def _check_foreign(model: "keras.Model", path: str, refuse_backbone: bool) -> None:
    """Checks that a file of another project can fill the network at all."""
    if refuse_backbone:
        raise _only_backbone(path)
    if model.backbone.name not in FOREIGN_BACKBONES:
        raise WeightsError(
            f"{path}: was not written by this project, and such files can fill only the backbones "
            f"{' and '.join(FOREIGN_BACKBONES)}, but the network has {model.backbone.name}"
        )


def _only_backbone(path: str) -> WeightsError:
    return WeightsError(
        f"{path}: holds only a backbone; the config key pretrained_weights starts a training from "
        "it"
    )
