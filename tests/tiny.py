"""A scaled-down network and a prepared data set of four noise images.

Everything follows from fixed seeds. Images differ in size and shape, the referents of an
image are not consecutive, and expressions are longer than `word_len`, differ in number and
contain a word without a vector.
"""

import json
from types import SimpleNamespace

import numpy as np
from PIL import Image

NETWORK = {
    "backbone_width": 0.0625,
    "backbone_blocks": [1, 1, 1, 1, 1],
    "head_width": 0.0625,
    "jemb_dim": 64,
    "rnn_hidden_size": 8,
    "embed_dim": 8,
    "word_len": 4,
    "input_size": 96,
    "aspp_dilations": [1, 2, 4],
}
RUN = {
    "pretrained_weights": "",
    "free_body": 0,
    "batch_size": 2,
    "eval_batch_size": 2,
    "workers": 2,
    "epoches": 2,
    "log_images": 0,
    "steps": [30, 35, 40],
}
ANCHORS = np.array([(20, 24), (40, 40), (60, 50)], np.float32)
UNKNOWN_WORD = "zorblax"
IMAGES = {"a.png": (80, 60), "b.png": (60, 96), "c.png": (48, 48), "d.png": (200, 70)}

# Image, box, expressions; the place in the list is the mask's id.
REFERENTS = (
    ("a.png", (4, 6, 40, 50), ("red box", "the box on the left side")),
    ("b.png", (10, 50, 55, 90), ("lower thing",)),
    ("a.png", (45, 10, 78, 58), ("blue box", f"{UNKNOWN_WORD} box", "right one")),
    ("c.png", (0, 0, 48, 48), ("everything",)),
    ("d.png", (120, 5, 180, 66), ("round thing right", "red round thing")),
    ("b.png", (5, 4, 30, 40), ("upper left thing", "red thing")),
    ("c.png", (20, 25, 47, 46), ("small blue round thing below", "small one")),
)
TRAIN, VAL = range(5), (0, 4, 1, 2, 6, 5)


def network_config(**changes):
    """A `Config` of the tiny network, without data."""
    from config.schema import Config

    return Config(**(NETWORK | RUN | {"log_path": "/nonexistent"} | changes))


def random_batch(config, n=2, seed=0):
    """Network inputs: image (n, S, S, 3) in 0..1 and words (n, T, D), the last ones padding."""
    rng = np.random.default_rng(seed)
    side = config.input_size
    image = rng.uniform(size=(n, side, side, 3)).astype(np.float32)
    words = rng.normal(size=(n, config.word_len, config.embed_dim)).astype(np.float32)
    words[-1, config.word_len // 2 :] = 0
    return {"image": image, "words": words}


def scramble(model, seed=0):
    """Gives every weight a value of its own, BatchNorm statistics included.

    Scales are such that features keep their size through the network.
    """
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.rsplit("/", 1)[-1]
        if "seed" in name:
            continue
        if name in ("gamma", "moving_variance"):
            value = rng.uniform(0.7, 1.3, shape)
        elif len(shape) > 1:
            value = rng.normal(size=shape) * np.sqrt(1.5 / np.prod(shape[:-1]))
        else:
            value = rng.normal(size=shape) * 0.1
        variable.assign(value.astype(np.float32))
    return model


def weights_of(model):
    """Every weight by its path, copied."""
    return {variable.path: np.array(variable) for variable in model.weights}


def outputs_of(model, batch, training=False):
    """Outputs of a network as numpy arrays."""
    return {name: np.array(value) for name, value in model(batch, training=training).items()}


def write_prepared_set(root):
    """Writes images, masks, annotations, word vectors and anchors.

    Returns:
        SimpleNamespace of the folders, `words` {word: vector} and `config(**changes)`.
    """
    from data.loading.annotations import Referent, write_annotations

    rng = np.random.default_rng(7)
    images, masks = root / "images", root / "masks"
    images.mkdir()
    masks.mkdir()
    pixels = {
        name: rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for name, (width, height) in IMAGES.items()
    }
    referents = []
    for number, (name, box, expressions) in enumerate(REFERENTS):
        referents.append(Referent(name, box, number % 3, number, expressions))
        mask = _ellipse(box, *IMAGES[name])
        pixels[name][mask > 0] = rng.integers(0, 256, 3)
        np.save(masks / f"{number}.npy", mask)
    for name, array in pixels.items():
        Image.fromarray(array).save(images / name)
    write_annotations(root / "train.txt", [referents[i] for i in TRAIN])
    write_annotations(root / "val.txt", [referents[i] for i in VAL])
    words = {
        word: rng.normal(size=NETWORK["embed_dim"]).round(3)
        for word in sorted({w for r in referents for e in r.expressions for w in e.split()})
        if word != UNKNOWN_WORD
    }
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in words.items()]
    (root / "glove.txt").write_text("".join(lines))
    pairs = ",  ".join(f"{width:g},{height:g}" for width, height in ANCHORS)
    (root / "anchors.txt").write_text(pairs + "\n")
    paths = {
        "train_set": str(root / "train.txt"),
        "evaluate_set": str(root / "val.txt"),
        "image_path": str(images),
        "seg_gt_path": str(masks),
        "anchors_file": str(root / "anchors.txt"),
        "word_embed": str(root / "glove.txt"),
    }
    return SimpleNamespace(
        root=root,
        images=images,
        masks=masks,
        paths=paths,
        words=words,
        train=[referents[i] for i in TRAIN],
        val=[referents[i] for i in VAL],
        config=lambda **changes: network_config(**(paths | changes)),
    )


def write_instances(path):
    """Writes the same objects as a COCO-style instances.json, one of them with an attribute."""
    numbers = {name: number for number, name in enumerate(IMAGES, start=1)}
    annotations = []
    for number, (name, (x1, y1, x2, y2), _) in enumerate(REFERENTS):
        annotation = {
            "id": number + 1,
            "image_id": numbers[name],
            "category_id": (3, 5)[number % 2],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
        }
        if number % 3:
            annotation["attributes"] = {"colour": ("red", "blue")[number % 2]}
        annotations.append(annotation)
    content = {
        "images": [
            {"id": numbers[name], "file_name": name, "width": width, "height": height}
            for name, (width, height) in IMAGES.items()
        ],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "odd"}, {"id": 5, "name": "even"}],
    }
    path.write_text(json.dumps(content))
    return path


def _ellipse(box, width, height):
    x1, y1, x2, y2 = box
    y, x = np.mgrid[:height, :width] + 0.5
    inside = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1
    return inside.astype(np.uint8)


def write_run(root, **settings):
    """The folder of a finished run, as far as its settings and names go: the weights are empty.

    Args:
        root: receives the folder run/ and its anchors.txt.
        settings: those of config.json, beside its anchors_file.
    """
    folder, anchors = root / "run", root / "anchors.txt"
    folder.mkdir()
    anchors.write_text("10,10,  20,20,  30,30\n")
    text = json.dumps({**settings, "anchors_file": str(anchors)})
    (folder / "config.json").write_text(text)
    (folder / "best.weights.h5").touch()
    return folder
