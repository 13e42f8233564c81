"""Small photographs of one's own, for tests of the import."""

import json

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from data.import_jsonl import main
from data.loading.annotations import Referent, read_annotations
from data.loading.masks import open_masks

WIDTH, HEIGHT = 60, 40
SQUARE = [10, 10, 30, 10, 30, 25, 10, 25]


def square_mask():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:25, 10:30] = 1
    return mask


def run_lengths(mask, compressed=True):
    encoded = coco_mask.encode(np.asfortranarray(mask))
    if compressed:
        return {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return {"size": [HEIGHT, WIDTH], "counts": runs.tolist()}


def thing(**changes):
    """An object that can be imported, with changes; None removes a key."""
    content = {
        "image": "a.jpg",
        "box": [9, 10, 31, 26],
        "polygon": [SQUARE],
        "expressions": ["red kite", "kite on the left"],
    }
    return {k: v for k, v in {**content, **changes}.items() if v is not None}


class Photos:
    """A folder of images with a mask, and the import of files that a test writes to it."""

    def __init__(self, folder):
        self.folder, self.out = folder / "photos", folder / "out"
        (self.folder / "more").mkdir(parents=True)
        rng = np.random.default_rng(0)
        for name in ("a.jpg", "b.png", "more/c d.jpg"):
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(self.folder / name)
        Image.fromarray(square_mask() * 255).save(self.folder / "mask.png")

    def write(self, *objects, name="objects.jsonl"):
        lines = [o if isinstance(o, str) else json.dumps(o) for o in objects]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.folder / name

    def run(self, *options, name="mine"):
        return main([*map(str, options), "--name", name, "--output", str(self.out)])

    def lines(self, split, name="mine"):
        return read_annotations(self.out / "anns" / name / f"{split}.txt")

    def mask(self, number, name="mine"):
        referent = Referent("", (0, 0, 1, 1), 0, number, ())
        return open_masks(self.out / "masks" / name).read(referent, WIDTH, HEIGHT)

    def files(self):
        """Content of all files written, except locks: relative path → bytes."""
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in self.out.rglob("*")
            if path.is_file() and path.suffix != ".lock"
        }
