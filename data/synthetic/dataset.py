"""The demo set on disk: a synthetic referring data set in the raw RefCOCO layout.

`make_demo` composes, checks and draws the scenes and writes their files.
"""

import json
import multiprocessing
import pickle
import shutil
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from config.errors import UserError
from data.loading.anchors import kmeans_anchors, write_anchors
from data.synthetic.expressions import SORTS, choose_referents
from data.synthetic.scene import (
    CURVED_KINDS,
    KINDS,
    OBJECTS_PER_SCENE,
    STRAIGHT_KINDS,
    SceneError,
    compose,
    mask_box_xywh_px,
    render,
    seen_objects,
)

SPLITS = ("train", "val", "testA", "testB")
# As in RefCOCO, where testA holds people and testB all other things.
REFERENT_KINDS = {"train": KINDS, "val": KINDS, "testA": CURVED_KINDS, "testB": STRAIGHT_KINDS}
N_ANCHORS = 3
JPEG_QUALITY = 95
MAX_ATTEMPTS = 200
MARKER = "demo_set.json"


@dataclass(frozen=True)
class Settings:
    """What the demo set follows from."""

    scenes: int = 4000
    eval_scenes: int = 150
    size: int = 128
    seed: int = 0

    def __post_init__(self):
        for name, low in (("scenes", 1), ("eval_scenes", 1), ("size", 64), ("seed", 0)):
            if getattr(self, name) < low:
                raise UserError(f"--{name} {getattr(self, name)} is too small: at least {low}")


def make_demo(out: str | Path, settings: Settings, workers: int = 1) -> dict:
    """Write the demo set of `settings` into the folder `out` and return its statistics.

    A demo set that is already there is replaced. Raises UserError if `out` holds anything else
    or `workers` is below 1.
    """
    if workers < 1:
        raise UserError(f"--workers {workers} is too small: at least 1")
    out = Path(out)
    _clear(out)
    image_folder = out / "images" / "train2014"
    image_folder.mkdir(parents=True)
    (out / "refcoco").mkdir()
    (out / MARKER).write_text(json.dumps(asdict(settings)) + "\n", encoding="utf-8")
    jobs = []
    for split in SPLITS:
        for index in range(settings.scenes if split == "train" else settings.eval_scenes):
            jobs.append((settings, split, index, len(jobs) + 1, str(image_folder)))
    if workers > 1:
        # Not "fork": the caller may have threads of its own.
        with multiprocessing.get_context("spawn").Pool(workers, _prepare_worker) as pool:
            scenes = pool.map(make_scene, jobs, chunksize=16)
    else:
        scenes = [make_scene(job) for job in jobs]
    instances, refs, kinds = _assemble(scenes, settings)
    _write_json(out / "refcoco" / "instances.json", instances)
    _write_json(out / "expression_kinds.json", kinds)
    (out / "refcoco" / "refs(unc).p").write_bytes(_pickled(refs))
    anchors = kmeans_anchors(_training_sizes(instances, refs), N_ANCHORS, settings.seed)
    write_anchors(out / "anchors.txt", anchors)
    statistics = describe(scenes)
    _write_json(out / MARKER, asdict(settings) | {"statistics": statistics})
    return statistics


def _clear(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --output must name a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / MARKER).is_file():
        raise UserError(
            f"{out} holds files that are not a demo set (it has no {MARKER}): "
            "choose an empty or new folder"
        )
    for folder in ("refcoco", "images"):
        if (out / folder).exists():
            shutil.rmtree(out / folder)


def _prepare_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent ends the workers.


def make_scene(job: tuple[Settings, str, int, int, str]) -> dict:
    """Compose, check, draw and save one scene; (settings, split, index in it, image id, folder).

    Returns its image name, objects (attributes, box, RLE mask) and referents (object, expressions
    and their sorts). It follows from settings, split and index alone.
    """
    settings, split, index, image_id, folder = job
    key = [settings.seed, SPLITS.index(split), index]
    # Drawn once, or scenes of many objects, which fail more often, would become rare.
    n_objects = int(np.random.default_rng(key).integers(*OBJECTS_PER_SCENE, endpoint=True))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        rng = np.random.default_rng([*key, attempt])
        shapes = compose(rng, n_objects, settings.size)
        if shapes is None:
            continue
        rendering = render(rng, shapes, settings.size)
        objects = seen_objects(shapes, rendering)
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
    _save_jpeg(Path(folder) / name, rendering.image_rgb)
    return {
        "split": split,
        "image_id": image_id,
        "file_name": name,
        "referents": referents,
        "objects": [
            {
                "kind": seen.kind,
                "colour": seen.colour,
                "size": seen.size,
                "box_xywh_px": mask_box_xywh_px(mask),
                "area_px": int(mask.sum()),
                "rle": _rle(mask),
            }
            for seen, mask in zip(objects, rendering.masks, strict=True)
        ],
    }


def _save_jpeg(path: Path, image_rgb: np.ndarray) -> None:
    # Full colour resolution: small coloured shapes would bleed otherwise.
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    if not cv2.imwrite(str(path), image_rgb[..., ::-1], options):
        raise OSError(f"{path}: the image could not be written")


def _rle(mask: np.ndarray) -> dict:
    """COCO's compressed run-length encoding of a mask uint8 (S, S), counts as str."""
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {
        "size": [int(side) for side in encoded["size"]],
        "counts": encoded["counts"].decode("ascii"),
    }


def _assemble(scenes: list[dict], settings: Settings) -> tuple[dict, list[dict], list[list[str]]]:
    """instances.json, the refs, and [image, expression, sort] of every expression."""
    images, annotations, refs, kinds = [], [], [], []
    n_sentences = 0
    for scene in scenes:
        image = {"id": scene["image_id"], "file_name": scene["file_name"], "license": 0}
        images.append(image | {"height": settings.size, "width": settings.size})
        first_id = len(annotations) + 1
        for thing in scene["objects"]:
            annotations.append(_annotation(thing, len(annotations) + 1, scene["image_id"]))
        for referent in scene["referents"]:
            annotation = annotations[first_id - 1 + referent["object"]]
            sentences = [
                {"sent_id": n_sentences + i, "sent": text, "raw": text, "tokens": text.split()}
                for i, text in enumerate(referent["expressions"])
            ]
            n_sentences += len(sentences)
            refs.append(_ref(scene, annotation, len(refs), sentences))
            for text, sort in zip(referent["expressions"], referent["sorts"], strict=True):
                kinds.append([scene["file_name"], text, sort])
    instances = {
        "info": {"description": "MCN demo set: synthetic scenes of shapes", **asdict(settings)},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": i, "name": kind, "supercategory": _supercategory(kind)}
            for i, kind in enumerate(KINDS, start=1)
        ],
    }
    return instances, refs, kinds


def _training_sizes(instances: dict, refs: list[dict]) -> np.ndarray:
    """Width and height (N, 2) of all objects in the images of the training split."""
    images = {ref["image_id"] for ref in refs if ref["split"] == "train"}
    boxes = [a["bbox"][2:] for a in instances["annotations"] if a["image_id"] in images]
    return np.array(boxes, np.float64)


def _supercategory(kind: str) -> str:
    return "curved" if kind in CURVED_KINDS else "straight"


def _annotation(thing: dict, annotation_id: int, image_id: int) -> dict:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": KINDS.index(thing["kind"]) + 1,
        "bbox": [float(value) for value in thing["box_xywh_px"]],
        "area": thing["area_px"],
        "iscrowd": 0,
        "segmentation": thing["rle"],
        "attributes": {"colour": thing["colour"], "size": thing["size"]},
    }


def _ref(scene: dict, annotation: dict, ref_id: int, sentences: list[dict]) -> dict:
    stem = scene["file_name"].removesuffix(".jpg")
    return {
        "ref_id": ref_id,
        "ann_id": annotation["id"],
        "image_id": scene["image_id"],
        "category_id": annotation["category_id"],
        "split": scene["split"],
        "file_name": f"{stem}_{annotation['id']}.jpg",
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "sentences": sentences,
    }


def _pickled(refs: list[dict]) -> bytes:
    # A pickle shows which strings are one object, and that depends on how scenes travelled from
    # the workers. After a detour by JSON it depends on the contents alone.
    return pickle.dumps(json.loads(json.dumps(refs)), protocol=2)


def _write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")


def describe(scenes: list[dict]) -> dict:
    """Per split: counts, the share of each sort of expression, and what guessing would score.

    random_object is the share of expressions that an object of the scene picked at random would
    answer; random_fitting_object that of one picked among those with the attributes it names.
    """
    statistics = {}
    for split in SPLITS:
        of_split = [scene for scene in scenes if scene["split"] == split]
        said = [
            (sort, len(scene["objects"]), fitting)
            for scene in of_split
            for referent in scene["referents"]
            for sort, fitting in zip(referent["sorts"], referent["fitting"], strict=True)
        ]
        statistics[split] = {
            "scenes": len(of_split),
            "objects": sum(len(scene["objects"]) for scene in of_split),
            "referents": sum(len(scene["referents"]) for scene in of_split),
            "expressions": len(said),
            "shares": {
                sort: round(sum(s == sort for s, _, _ in said) / len(said), 3) for sort in SORTS
            },
            "random_object": round(sum(1 / n for _, n, _ in said) / len(said), 3),
            "random_fitting_object": round(sum(1 / n for _, _, n in said) / len(said), 3),
        }
    return statistics
