"""Locates the objects that expressions refer to, with numpy, pillow and onnxruntime alone.

    python ground.py photo.jpg "woman on the left" "the dog" --masks masks

prints one JSON line per expression. From Python:

    from ground import ground
    for result in ground("photo.jpg", ["woman on the left", "the dog"]):
        print(result["box_xyxy"], result["score"], result["mask"].sum())

The network always returns one box, also if nothing in the picture matches the expression. Pictures
are read as Pillow reads them, which does not report every damage, and are not limited in size.
"""

import argparse
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent
OUTPUTS = ["box_xyxy_px", "score", "mask_score"]


def ground(
    image: str | os.PathLike | Image.Image | np.ndarray, expressions: str | Sequence[str]
) -> list[dict[str, Any]]:
    """Locates one object per expression.

    Args:
        image: path of a picture, a PIL.Image, or a uint8 array (h, w, 3) in RGB.
        expressions: one expression or a list of them, in the spelling of words.txt: lower case,
            without punctuation.

    Returns:
        One dict per expression: "expression"; "box_xyxy", (4,) float32 left, top, right, bottom in
        pixels of the upright picture, clipped to it; "score" of the box in 0..1; "mask", (h, w)
        bool; "unknown_words", which the network does not see; "unread_words", beyond the number
        of words that it reads.
    """
    session, settings, index, vectors = _network()
    pixels = _rgb(image)
    results = []
    for expression in [expressions] if isinstance(expressions, str) else expressions:
        words = expression.split()
        read, unread = words[: settings["word_len"]], words[settings["word_len"] :]
        rows = [index.get(word, index.get(word.lower(), 0)) for word in read]
        inputs = np.zeros((settings["word_len"], vectors.shape[1]), np.float32)
        inputs[: len(rows)] = vectors[rows]
        box, score, mask = session.run(OUTPUTS, {"image": pixels, "words": inputs})
        result = {"expression": expression, "box_xyxy": box, "score": float(score)}
        result["mask"] = mask > settings["segment_thresh"]
        unknown = [word for word, row in zip(read, rows, strict=True) if row == 0]
        results.append(result | {"unknown_words": unknown, "unread_words": unread})
    return results


@functools.cache
def _network():
    """(session, settings, word → row, vectors (V + 1, D) float32 with zeros in row 0)."""
    session = onnxruntime.InferenceSession(
        str(FOLDER / "whole.onnx"), providers=onnxruntime.get_available_providers()
    )
    settings = json.loads((FOLDER / "whole.onnx.json").read_text(encoding="utf-8"))["settings"]
    words = (FOLDER / "words.txt").read_text(encoding="utf-8").split("\n")[:-1]
    vectors = np.load(FOLDER / "vectors.npy")
    return session, settings, {word: row for row, word in enumerate(words, 1)}, vectors


def _rgb(image):
    if not isinstance(image, (np.ndarray, Image.Image)):
        with Image.open(image) as opened:
            opened.load()
            image = opened
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise ValueError("pictures with more than 8 bits per channel are not supported")
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:  # on white, as in training
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = np.asarray(image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected a uint8 array (h, w, 3), not {image.dtype} {image.shape}")
    return image


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("image")
    parser.add_argument("expressions", nargs="+", metavar="expression")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="write masks as PNG files to DIR")
    arguments = parser.parse_args()
    try:
        picture = _rgb(arguments.image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SystemExit(f"error: {arguments.image}: {error}") from None
    for number, result in enumerate(ground(picture, arguments.expressions), 1):
        mask = result.pop("mask")
        if arguments.masks:
            arguments.masks.mkdir(parents=True, exist_ok=True)
            path = arguments.masks / f"{Path(arguments.image).stem}_{number}.png"
            with path.open("xb") as file:  # fails rather than replace a file
                Image.fromarray(mask).save(file, "PNG")
            result["mask"] = str(path)
        print(json.dumps(result | {"box_xyxy": result["box_xyxy"].tolist()}, ensure_ascii=False))


if __name__ == "__main__":
    main()
