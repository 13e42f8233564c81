"""The demo network and its scenes, and what to say when it is used for anything else."""

import os
from collections.abc import Sequence
from pathlib import Path

from config.files import file_sha256
from config.schema import PROJECT_ROOT, Config

DEMO_WEIGHTS = PROJECT_ROOT / "data" / "demo_model" / "mcn.weights.h5"
SCENES = DEMO_WEIGHTS.parent / "scenes"
# Folders of data/ with synthetic scenes have this name, alone or followed by "_".
DEMO = "demo"
TRAINED_ON_SHAPES = (
    "the demo network was trained only on synthetic shapes; its answers about photographs mean "
    "nothing"
)
SCORE_MEANING = (
    "Each expression gets exactly one box. The score is the network's confidence in this box, not\n"
    "the probability that the object exists."
)
MOST_WORDS, LONGEST_WORD = 5, 20


def is_demo_network(config: Config, weights: str | os.PathLike | None) -> bool:
    """Whether a network was trained only on synthetic scenes.

    Args:
        config: the settings of its training.
        weights: the weight file; None for config.evaluate_model.
    """
    weights = config.evaluate_model if weights is None else weights
    return _is_demo_data(weights) or _is_demo_data(config.train_set)


def is_demo_scene(image: str | os.PathLike) -> bool:
    """Whether a picture is part of a synthetic set, or a copy of one of the shipped scenes."""
    if _is_demo_data(image):
        return True
    image = Path(image)
    if not image.is_file():
        return False
    size = image.stat().st_size
    same_size = [scene for scene in SCENES.iterdir() if scene.stat().st_size == size]
    return bool(same_size) and file_sha256(image) in map(file_sha256, same_size)


def demo_warning(image: str | os.PathLike, unknown_words: Sequence[str]) -> str | None:
    """What to say if the demo network answers about something that it does not know.

    Args:
        image: the picture.
        unknown_words: words of the expressions that have no vector.

    Returns:
        A clause without a full stop; None if the picture is a synthetic scene and all words are
        known.
    """
    reasons = [] if is_demo_scene(image) else ["this picture is not one of the network's scenes"]
    words = [word[:LONGEST_WORD] for word in dict.fromkeys(unknown_words)]
    if words:
        more = f" and {len(words) - MOST_WORDS} more" if len(words) > MOST_WORDS else ""
        noun = "word" if len(words) == 1 else "words"
        known = ", ".join(words[:MOST_WORDS])
        reasons.append(f"the network does not know the {noun} {known}{more}")
    return f"{' and '.join(reasons)}: {TRAINED_ON_SHAPES}" if reasons else None


def _is_demo_data(path: str | os.PathLike) -> bool:
    """Whether a path leads into data/demo, data/demo_model or another folder of such a name."""
    real, data = Path(os.path.realpath(path)), Path(os.path.realpath(PROJECT_ROOT / "data"))
    if not real.is_relative_to(data) or real == data:
        return False
    folder = real.relative_to(data).parts[0]
    return folder == DEMO or folder.startswith(f"{DEMO}_")
