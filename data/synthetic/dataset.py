"""Generation of the demo set: a synthetic referring data set in the raw RefCOCO layout.

`make_demo` composes and draws the scenes, chooses their expressions and writes all files.
"""

import functools
import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from config.errors import UserError
from config.files import file_sha256, is_unchanged, no_space_named, write_bytes, write_text
from data.loading.anchors import N_ANCHORS, kmeans_anchors, write_anchors
from data.support.sealing import is_listed, is_sealed, json_object, sealed
from data.support.staging import complete_interrupted, contents_without_traces, replaced_together
from data.synthetic.expressions import choose_referents
from data.synthetic.raw_layout import (
    SPLITS,
    Scene,
    describe,
    pickled,
    raw_tables,
    training_sizes,
)
from data.synthetic.scene import (
    CURVED_KINDS,
    KINDS,
    OBJECTS_PER_SCENE,
    STRAIGHT_KINDS,
    Rendering,
    SceneError,
    compose,
    mask_box_xywh_px,
    render,
    visible_objects,
)
from data.synthetic.semantics import SceneObject

# As in RefCOCO, where testA refers to people and testB to all other objects.
REFERENT_KINDS = {"train": KINDS, "val": KINDS, "testA": CURVED_KINDS, "testB": STRAIGHT_KINDS}
JPEG_QUALITY = 95
MAX_ATTEMPTS = 200
MARKER = "demo_set.json"
PARTS = ("refcoco", "images", "expression_kinds.json", "anchors.txt")  # All that is beside it.
OWN = "sha256_of_demo_set"


@dataclass(frozen=True)
class Settings:
    """Settings of a demo set; equal settings produce identical files.

    Attributes:
        scenes: number of training scenes.
        eval_scenes: number of scenes in each of val, testA and testB.
        size: side of a scene in pixels.
        seed: seed of all random choices.
    """

    scenes: int = 4000
    eval_scenes: int = 150
    size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name, minimum in (("scenes", 1), ("eval_scenes", 1), ("size", 64), ("seed", 0)):
            _check_minimum(name, getattr(self, name), minimum)


def make_demo(folder: str | os.PathLike, settings: Settings, workers: int = 1) -> dict[str, Any]:
    """Generates a demo set, or nothing at all; a complete one replaces an existing demo set.

    demo_set.json lists the files of the set with their checksums and ends with its own: what the
    next demo set may replace. Every other file is the user's.

    Args:
        folder: folder to write to; files that are not part of a demo set stay.
        settings: settings of the demo set.
        workers: number of processes.

    Returns:
        The statistics of each split, see `describe`.

    Raises:
        UserError: `folder` contains other files only, a file of its demo set was changed, another
            process is writing it, `workers` is below 1, or no scene was found.
        NoSpaceError: the disk is full.
    """
    _check_minimum("workers", workers, 1)
    folder = Path(folder)
    targets = [folder / name for name in (MARKER, *PARTS)]
    ours = _replaceable_files(folder, targets, settings)

    def is_ours(parent: Path, path: Path) -> bool:
        return is_listed(folder, (parent / path).relative_to(folder), ours)

    # An interrupted replacement has put the marker in place before anything else.
    with replaced_together(*targets, is_ours=is_ours, durable=False) as new:
        marker, annotation_folder, image_folder, types_path, anchors_path = new
        (image_folder / "train2014").mkdir(parents=True)
        scenes = _draw_all(image_folder / "train2014", settings, workers)
        info = {"description": "MCN demo set: synthetic scenes of shapes", **asdict(settings)}
        instances, refs, types = raw_tables(scenes, settings.size, info)
        _write_json(annotation_folder / "instances.json", instances)
        write_bytes(annotation_folder / "refs(unc).p", pickled(refs))
        _write_json(types_path, types)
        anchors = kmeans_anchors(training_sizes(instances, refs), N_ANCHORS, settings.seed)
        write_anchors(anchors_path, anchors)
        statistics = describe(scenes)
        files = _checksums(new[1:])
        write_text(
            marker, sealed(asdict(settings) | {"statistics": statistics, "files": files}, OWN)
        )
        # A file of a former version that is equal to the one that replaces it is not lost.
        ours = files | ours
    return statistics


def _draw_all(image_folder: Path, settings: Settings, workers: int) -> list[Scene]:
    """Makes the scenes of all splits, in parallel."""
    n_scenes = {split: settings.eval_scenes for split in SPLITS} | {"train": settings.scenes}
    places = [(split, index) for split in SPLITS for index in range(n_scenes[split])]
    jobs = [(*place, image_id) for image_id, place in enumerate(places, start=1)]
    draw = functools.partial(make_scene, settings, image_folder)
    if workers == 1:
        return [draw(*job) for job in jobs]
    # "fork" would be unsafe, because the calling process may run threads.
    with multiprocessing.get_context("spawn").Pool(workers, _prepare_worker) as pool:
        return pool.starmap(draw, jobs, chunksize=16)


def _check_minimum(name: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise UserError(f"--{name} {value} is too small: the minimum is {minimum}")


def _replaceable_files(folder: Path, targets: Sequence[Path], settings: Settings) -> dict[str, str]:
    """The files of the demo set in a folder, which a new one of these settings may replace.

    Args:
        folder: need not exist.
        targets: what will be written to it, of which the first one is the marker.
        settings: those of the new demo set.

    Returns:
        Path of each file in the folder → its SHA-256. Of a demo set of a former version, which has
        no checksums, it is the marker alone.

    Raises:
        UserError: the folder contains other files and no demo set, a file of its demo set was
            changed, or it has a demo set of a former version and of other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: --output must name a folder")
    marker = targets[0]
    complete_interrupted(marker)
    if not os.path.lexists(marker):
        if others := contents_without_traces(*targets):
            raise UserError(
                f"{folder} contains files that are not a demo set, such as {others[0].name} (there "
                f"is no {MARKER}): choose an empty or new folder"
            )
        return {}
    content = json_object(marker)
    if content.keys() == asdict(settings).keys() | {"statistics"}:  # Of a former version.
        if asdict(settings).items() <= content.items():
            return {MARKER: file_sha256(marker)}
        raise UserError(
            f"{folder} contains a demo set of a former version and of other settings, which does "
            f"not say which files are its own: choose another folder, or delete {folder}"
        )
    if not is_sealed(marker, OWN):
        raise UserError(
            f"{marker} was changed, or is not of a demo set: choose another folder, or move what "
            f"is in {folder} away"
        )
    ours: dict[str, str] = content["files"]
    for name, digest in ours.items():
        if os.path.lexists(folder / name) and not is_unchanged(folder / name, digest):
            raise UserError(
                f"{folder / name} was changed since the demo set was made, and would be replaced: "
                "move it away, or choose another folder"
            )
    return ours | {MARKER: file_sha256(marker)}


def _checksums(parts: Sequence[Path]) -> dict[str, str]:
    """Path of each file of the parts of a set, from their folder → its SHA-256."""
    return {
        file.relative_to(part.parent).as_posix(): file_sha256(file)
        for part in parts
        for file in sorted([part] if part.is_file() else part.rglob("*"))
        if file.is_file()
    }


def _prepare_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # On Ctrl-C, the parent terminates the workers.


def make_scene(
    settings: Settings, image_folder: Path, split: str, index: int, image_id: int
) -> Scene:
    """Composes a scene, chooses its expressions and saves its image.

    The scene depends only on the size and seed of the settings, the split and its index.

    Args:
        settings: settings of the demo set.
        image_folder: folder of the images.
        split: one of `SPLITS`.
        index: index of the scene in its split.
        image_id: id of its image in the whole demo set.

    Raises:
        SceneError: no scene was found in `MAX_ATTEMPTS` attempts.
    """
    key = [settings.seed, SPLITS.index(split), index]
    # Fixed over all attempts: scenes of many objects fail more often and would become rare.
    n_objects = int(np.random.default_rng(key).integers(*OBJECTS_PER_SCENE, endpoint=True))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        rng = np.random.default_rng([*key, attempt])
        shapes = compose(rng, n_objects, settings.size)
        if shapes is None:
            continue
        rendering = render(rng, shapes, settings.size)
        objects = visible_objects(shapes, rendering)
        if objects is None:
            continue
        referents = choose_referents(rng, objects, REFERENT_KINDS[split], settings.size)
        if referents:
            break
    else:
        raise SceneError(
            f"no scene was found for {split} {index} in {MAX_ATTEMPTS} attempts; try another --seed"
        )
    name = f"COCO_train2014_{image_id:012d}.jpg"
    _save_jpeg(image_folder / name, rendering.image_rgb)
    return Scene(split, image_id, name, _object_entries(objects, rendering), referents)


def _object_entries(objects: Sequence[SceneObject], rendering: Rendering) -> list[dict[str, Any]]:
    return [
        {
            "kind": scene_object.kind,
            "colour": scene_object.colour,
            "size": scene_object.size,
            "box_xywh_px": mask_box_xywh_px(mask),
            "area_px": int(mask.sum()),
            "rle": _rle(mask),
        }
        for scene_object, mask in zip(objects, rendering.masks, strict=True)
    ]


def _save_jpeg(path: Path, image_rgb: np.ndarray) -> None:
    # No chroma subsampling, which would blur the colors of small shapes.
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    _, encoded = cv2.imencode(".jpg", image_rgb[..., ::-1], options)
    with no_space_named(path):
        path.write_bytes(encoded.tobytes())


def _rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed run-length encoding of a mask uint8 (S, S), with counts as str."""
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {
        "size": [int(side) for side in encoded["size"]],
        "counts": encoded["counts"].decode("ascii"),
    }


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, separators=(",", ":")) + "\n")
