"""Locates the objects that expressions refer to, with numpy, pillow and onnxruntime alone.

    python ground.py photo.jpg "woman on the left" "the dog" --masks masks

prints one JSON line per expression; `ground("photo.jpg", ["the dog"])` returns them. There is one
box each, even if nothing matches. Pillow reads pictures of any size, and misses some damage.
"""

import functools
import hashlib
import io
import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession, get_available_providers
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent


def ground(image: object, expressions: str | list, threshold: float | None = None) -> list[dict]:
    """Locates one object per expression; raises ValueError, OSError or SyntaxError for bad input.

    Args:
        image: path of a picture, a PIL.Image, or a uint8 array (h, w, 3) in RGB.
        expressions: one or a list, in the spelling of words.txt: lower case, no punctuation.
        threshold: in 0..1, which mask_score exceeds inside the mask; None for that of the settings.

    Returns:
        One dict per expression: "expression"; "box_xyxy", (4,) float32 left, top, right, bottom in
        pixels of the upright picture, clipped to it; its "score" in 0..1; "mask", (h, w) bool;
        "unknown_words" and "unread_words" (too many), neither of which the network sees.
    """
    session, default, index, vectors = _network()
    threshold = default if threshold is None else threshold
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold {threshold} is not in 0..1")
    shape = next(value.shape for value in session.get_inputs() if value.name == "words")
    pixels, results = _rgb(image), []
    for expression in [expressions] if isinstance(expressions, str) else expressions:
        words = str.split(expression)
        rows = [index.get(word, index.get(word.lower(), 0)) for word in words[: shape[0]]]
        feed = {"image": pixels, "words": vectors[rows + [0] * (shape[0] - len(rows))]}
        box, score, mask = session.run(["box_xyxy_px", "score", "mask_score"], feed)
        if not all(np.isfinite(output).all() for output in (box, score, mask)):
            raise ValueError(f"{expression!r}: the network computes NaN or infinite values")
        result = {"expression": expression, "box_xyxy": box, "score": float(score)}
        result["unknown_words"] = [word for word, row in zip(words, rows, strict=False) if not row]
        results.append(result | {"unread_words": words[shape[0] :], "mask": mask > threshold})
    return results


@functools.cache
def _network():
    """(session, threshold of masks, word → row, vectors (V + 1, D) float32 with zeros in row 0)."""
    name, files = "whole.onnx.json", {}
    try:
        description = json.loads((FOLDER / name).read_bytes())
        digest = description.pop("sha256_of_description", None)
        text = json.dumps(description, indent=2, ensure_ascii=False)
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise ValueError("damaged or changed")
        threshold = float(description["settings"]["segment_thresh"])
        for name in ("whole.onnx", "words.txt", "vectors.npy"):
            files[name] = (FOLDER / name).read_bytes()
            if hashlib.sha256(files[name]).hexdigest() != description["sha256"][name]:
                raise ValueError("damaged, or not of this bundle")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{FOLDER / name}: {error}; export the bundle again") from None
    session = InferenceSession(files["whole.onnx"], providers=get_available_providers())
    index = {word: row for row, word in enumerate(files["words.txt"].decode().split("\n")[:-1], 1)}
    return session, threshold, index, np.load(io.BytesIO(files["vectors.npy"]))


def _rgb(image):
    if not isinstance(image, (np.ndarray, Image.Image)):
        with Image.open(image) as opened:
            return _rgb(opened)
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise ValueError("pictures with more than 8 bits per channel are not supported")
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:  # on white, as in training
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = np.asarray(image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"expected a uint8 array (h, w, 3), not {image.dtype} {image.shape}")
    return image


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("expressions", nargs="+", metavar="expression")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="write masks as PNG files to DIR")
    parser.add_argument("--threshold", type=float, metavar="X", help="of masks, in 0..1")
    given = parser.parse_args()
    try:
        for number, result in enumerate(ground(given.image, given.expressions, given.threshold), 1):
            mask = result.pop("mask")
            if given.masks:
                given.masks.mkdir(parents=True, exist_ok=True)
                path = given.masks / f"{Path(given.image).stem}_{number}.png"
                with ExitStack() as undo, path.open("xb") as file:  # fails rather than replace one
                    undo.callback(path.unlink)
                    Image.fromarray(mask).save(file, "PNG")
                    undo.pop_all()
                result["mask"] = str(path)
            print(json.dumps(result, ensure_ascii=False, default=np.ndarray.tolist))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SystemExit(f"error: {given.image}: {error}") from None


if __name__ == "__main__":
    main()
