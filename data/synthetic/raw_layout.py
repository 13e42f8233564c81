"""The raw RefCOCO layout of synthetic scenes: instances.json, refs(unc).p and statistics."""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.synthetic.expressions import EXPRESSION_TYPES, SceneReferent
from data.synthetic.scene import CURVED_KINDS, KINDS

SPLITS = ("train", "val", "testA", "testB")


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        split: one of `SPLITS`.
        image_id: id of its image in instances.json.
        file_name: name of its image file.
        objects: kind, colour, size, box_xywh_px, area_px and rle (COCO mask) of each object.
        referents: objects that expressions refer to.
    """

    split: str
    image_id: int
    file_name: str
    objects: list[dict[str, Any]]
    referents: list[SceneReferent]


def raw_tables(
    scenes: Sequence[Scene], size: int, info: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]], list[list[str]]]:
    """Builds the tables of a raw set from scenes of `size` × `size` pixels.

    Args:
        scenes: the scenes of all splits.
        size: side of a scene in pixels.
        info: what instances.json says about its origin.

    Returns:
        instances.json, the refs, and [image, expression, type] of each expression.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    refs: list[dict[str, Any]] = []
    types: list[list[str]] = []
    for scene in scenes:
        image = {"id": scene.image_id, "file_name": scene.file_name, "license": 0}
        images.append(image | {"height": size, "width": size})
        first = len(annotations)
        for entry in scene.objects:
            annotations.append(_annotation(entry, len(annotations) + 1, scene.image_id))
        for referent in scene.referents:
            annotation = annotations[first + referent.object_index]
            texts = [expression.text for expression in referent.expressions]
            sentences = [
                {"sent_id": sent_id, "sent": text, "raw": text, "tokens": text.split()}
                for sent_id, text in enumerate(texts, start=len(types))
            ]
            refs.append(_ref(scene, annotation, len(refs), sentences))
            types.extend([scene.file_name, e.text, e.type] for e in referent.expressions)
    instances = {
        "info": dict(info),
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {
                "id": category_id,
                "name": kind,
                "supercategory": "curved" if kind in CURVED_KINDS else "straight",
            }
            for category_id, kind in enumerate(KINDS, start=1)
        ],
    }
    return instances, refs, types


def _annotation(entry: dict[str, Any], annotation_id: int, image_id: int) -> dict[str, Any]:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": KINDS.index(entry["kind"]) + 1,
        "bbox": [float(value) for value in entry["box_xywh_px"]],
        "area": entry["area_px"],
        "iscrowd": 0,
        "segmentation": entry["rle"],
        "attributes": {"colour": entry["colour"], "size": entry["size"]},
    }


def _ref(
    scene: Scene, annotation: dict[str, Any], ref_id: int, sentences: list[dict[str, Any]]
) -> dict[str, Any]:
    stem = scene.file_name.removesuffix(".jpg")
    return {
        "ref_id": ref_id,
        "ann_id": annotation["id"],
        "image_id": scene.image_id,
        "category_id": annotation["category_id"],
        "split": scene.split,
        "file_name": f"{stem}_{annotation['id']}.jpg",
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "sentences": sentences,
    }


def training_sizes(instances: dict[str, Any], refs: Sequence[dict[str, Any]]) -> np.ndarray:
    """Width and height, float64 (N, 2), of all objects in the images of the training split."""
    images = {ref["image_id"] for ref in refs if ref["split"] == "train"}
    boxes = [a["bbox"][2:] for a in instances["annotations"] if a["image_id"] in images]
    return np.array(boxes, np.float64)


def pickled(refs: list[dict[str, Any]]) -> bytes:
    # A pickle records which equal strings are the same object, which depends on the workers. The
    # round trip through JSON makes the bytes depend on the contents alone.
    return pickle.dumps(json.loads(json.dumps(refs)), protocol=2)


def describe(scenes: Sequence[Scene]) -> dict[str, Any]:
    """Computes statistics of a demo set.

    Returns:
        For each split the number of scenes, objects, referents and expressions; `shares`, the
        share of each expression type; and the accuracy of two random guesses: `random_object`
        picks any object of the scene, `random_fitting_object` one of those that have the
        attributes named by the expression.
    """
    return {split: _describe_split([s for s in scenes if s.split == split]) for split in SPLITS}


def _describe_split(scenes: Sequence[Scene]) -> dict[str, Any]:
    expressions = [
        (expression, len(scene.objects))
        for scene in scenes
        for referent in scene.referents
        for expression in referent.expressions
    ]
    total = len(expressions)
    return {
        "scenes": len(scenes),
        "objects": sum(len(scene.objects) for scene in scenes),
        "referents": sum(len(scene.referents) for scene in scenes),
        "expressions": total,
        "shares": {
            name: round(sum(e.type == name for e, _ in expressions) / total, 3)
            for name in EXPRESSION_TYPES
        },
        "random_object": round(sum(1 / n_objects for _, n_objects in expressions) / total, 3),
        "random_fitting_object": round(sum(1 / e.n_fitting for e, _ in expressions) / total, 3),
    }
