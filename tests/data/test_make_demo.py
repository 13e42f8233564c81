"""The demo set: layout, exactness, unambiguity, words and repeatability."""

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from config.errors import UserError
from data.data_process import main as prepare_main
from data.loading.anchors import read_anchors
from data.loading.annotations import read_annotations
from data.loading.masks import open_masks
from data.make_demo import main
from data.preparation.raw.reading import read_raw_set
from data.synthetic import dataset
from data.synthetic.dataset import Settings, make_demo
from data.synthetic.expressions import EXPRESSION_TYPES, MAX_WORDS, vocabulary
from data.synthetic.scene import COLOURS_RGB, CURVED_KINDS, KINDS
from utils.evaluation.breakdown.categories import category_names

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(scenes=70, eval_scenes=25, seed=5)


class Demo:
    """A demo set, read from its files."""

    def __init__(self, folder, statistics):
        self.folder, self.statistics = folder, statistics
        self.instances = json.loads((folder / "refcoco" / "instances.json").read_text())
        self.refs = pickle.loads((folder / "refcoco" / "refs(unc).p").read_bytes())
        self.annotations = {a["id"]: a for a in self.instances["annotations"]}
        self.images = {image["id"]: image for image in self.instances["images"]}

    def objects_of(self, image_id):
        return [a for a in self.annotations.values() if a["image_id"] == image_id]

    def image_path(self, image_id):
        return self.folder / "images" / "train2014" / self.images[image_id]["file_name"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "raw"
    return Demo(folder, make_demo(folder, SETTINGS))


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_layout_is_that_of_refcoco(demo):
    assert len(demo.images) == 70 + 3 * 25
    assert {c["name"]: c["id"] for c in demo.instances["categories"]} == {
        kind: i for i, kind in enumerate(KINDS, start=1)
    }
    assert [ref["ref_id"] for ref in demo.refs] == list(range(len(demo.refs)))
    sent_ids = [i for ref in demo.refs for i in ref["sent_ids"]]
    assert sent_ids == list(range(len(sent_ids)))
    for ref in demo.refs:
        assert set(ref) == {
            *("ref_id", "ann_id", "image_id", "category_id", "split"),
            *("file_name", "sent_ids", "sentences"),
        }
        annotation = demo.annotations[ref["ann_id"]]
        assert annotation["image_id"] == ref["image_id"]
        assert annotation["category_id"] == ref["category_id"]
        assert re.fullmatch(rf"COCO_train2014_\d{{12}}_{ref['ann_id']}\.jpg", ref["file_name"])
        assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
        for sentence in ref["sentences"]:
            assert set(sentence) == {"sent_id", "sent", "raw", "tokens"}
            assert " ".join(sentence["tokens"]) == sentence["sent"]
    for path in demo.folder.rglob("*.jpg"):
        assert cv2.imread(str(path)).shape == (128, 128, 3)


def test_masks_boxes_and_colours_match_the_image(demo):
    for image_id in list(demo.images)[::5]:
        picture = cv2.imread(str(demo.image_path(image_id)))[..., ::-1].astype(float)
        for annotation in demo.objects_of(image_id):
            assert isinstance(annotation["segmentation"]["counts"], str)
            mask = coco_mask.decode(annotation["segmentation"])
            assert mask.shape == (128, 128)
            assert mask.sum() == annotation["area"]
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert (x, x + width) == (columns.min(), columns.max() + 1)
            assert (y, y + height) == (rows.min(), rows.max() + 1)
            core = cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)
            mean = picture[core].mean(axis=0)
            nearest = min(COLOURS_RGB, key=lambda c: np.linalg.norm(mean - COLOURS_RGB[c]))
            assert nearest == annotation["attributes"]["colour"]


def test_splits_share_no_scene_and_mirror_refcoco(demo):
    split_of_image = {}
    for ref in demo.refs:
        assert split_of_image.setdefault(ref["image_id"], ref["split"]) == ref["split"]
        curved = KINDS[ref["category_id"] - 1] in CURVED_KINDS
        assert ref["split"] in ("train", "val") or curved == (ref["split"] == "testA")
    assert set(split_of_image) == set(demo.images)
    pictures = {demo.image_path(image_id).read_bytes() for image_id in demo.images}
    assert len(pictures) == len(demo.images)


def test_expression_types_are_balanced_and_guessing_fails(demo):
    for split, row in demo.statistics.items():
        assert row["scenes"] == (70 if split == "train" else 25)
        assert sum(row["shares"].values()) == pytest.approx(1, abs=0.01)
        assert 0.15 < row["random_object"] < 0.30
        assert row["random_object"] < row["random_fitting_object"] < 0.8
    shares = demo.statistics["train"]["shares"]
    assert all(shares[name] > 0.06 for name in EXPRESSION_TYPES)
    per_scene = demo.statistics["train"]["expressions"] / 70
    assert 2.5 < per_scene < 3.5
    kinds = json.loads((demo.folder / "expression_kinds.json").read_text())
    expressions = [
        [demo.images[ref["image_id"]]["file_name"], sentence["sent"]]
        for ref in demo.refs
        for sentence in ref["sentences"]
    ]
    assert [entry[:2] for entry in kinds] == expressions
    assert {entry[2] for entry in kinds} == set(EXPRESSION_TYPES)
    stored = json.loads((demo.folder / "demo_set.json").read_text())
    assert stored["statistics"] == demo.statistics
    assert stored["seed"] == 5


def test_every_word_has_a_shipped_vector(demo):
    rows = (ROOT / "data" / "demo_glove.50d.txt").read_text(encoding="utf-8").splitlines()
    vectors = {row.split(" ")[0]: [float(x) for x in row.split(" ")[1:]] for row in rows}
    assert {len(vector) for vector in vectors.values()} == {50}
    assert list(vectors) == sorted(vectors)
    assert set(vocabulary()) <= set(vectors)
    assert {"huge", "donut", "violet", "leftmost", "grey"} <= set(vectors)
    words = {w for ref in demo.refs for s in ref["sentences"] for w in s["tokens"]}
    assert words <= set(vocabulary())
    assert max(len(s["tokens"]) for ref in demo.refs for s in ref["sentences"]) <= MAX_WORDS


NOUN_OF = {"disk": "circle", "crescent": "moon"} | {kind: kind for kind in KINDS}
COLOUR_OF = {"violet": "purple"} | {colour: colour for colour in COLOURS_RGB}
SIZE_OF = {"little": "small", "tiny": "small", "big": "large", "small": "small", "large": "large"}
SIDE_OF = {
    **{"leftmost": "left", "rightmost": "right", "left": "left", "right": "right", "lower": "down"},
    **{"topmost": "up", "highest": "up", "uppermost": "up", "top": "up", "upper": "up"},
    **{"lowest": "down", "bottom": "down", "down": "down"},
}
VECTOR = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
FILLERS = {
    *("the", "that", "is", "colored", "on", "at", "in", "of", "to", "side", "far", "furthest"),
    *("corner", "shape", "object", "thing", "one"),
}
RELATION = re.compile(
    r"(?P<what>.+?) (?:(?:to the )?(?P<side>left|right) of|(?P<over>above|over)|"
    r"(?P<under>below|under|beneath)) (?P<landmark>.+)"
)


def center(annotation):
    x, y, width, height = annotation["bbox"]
    return np.array([x + width / 2, y + height / 2])


def read_words(words, objects):
    """Returns the objects with the attributes that the words name, and the remaining words."""
    rest = []
    for word in words:
        if word in NOUN_OF:
            objects = [o for o in objects if KINDS[o["category_id"] - 1] == NOUN_OF[word]]
        elif word in COLOUR_OF:
            objects = [o for o in objects if o["attributes"]["colour"] == COLOUR_OF[word]]
        elif word in SIZE_OF:
            objects = [o for o in objects if o["attributes"]["size"] == SIZE_OF[word]]
        elif word not in FILLERS:
            rest.append(word)
    return objects, rest


def understand(sentence, objects):
    """Returns the id of the object that an independent listener would choose."""
    relation = RELATION.fullmatch(sentence)
    if relation:
        marks, rest = read_words(relation["landmark"].split(), objects)
        assert len(marks) == 1, sentence
        assert not rest, sentence
        direction = relation["side"] or ("up" if relation["over"] else "down")
        candidates, rest = read_words(relation["what"].split(), objects)
        assert not rest, sentence
        offsets = [center(o) - center(marks[0]) for o in candidates if o is not marks[0]]
        cosines = [o @ VECTOR[direction] / np.linalg.norm(o) for o in offsets]
        candidates = [o for o in candidates if o is not marks[0]]
        assert sum(cosine > 0.75 for cosine in cosines) == 1, sentence
        return candidates[int(np.argmax(cosines))]["id"]
    candidates, rest = read_words(sentence.split(), objects)
    if not rest:
        assert len(candidates) == 1, sentence
        return candidates[0]["id"]
    assert len(candidates) > 1, f"{sentence}: the qualifier is not needed"
    if rest[0] in ("largest", "biggest", "smallest"):
        sign = -1 if rest[0] == "smallest" else 1
        return max(candidates, key=lambda o: sign * o["bbox"][2] * o["bbox"][3])["id"]
    if rest[0] in ("middle", "center"):
        return min(candidates, key=lambda o: np.linalg.norm(center(o) - 64))["id"]
    # One direction, or two for a corner.
    direction = np.sum([VECTOR[SIDE_OF[word]] for word in rest], axis=0)
    return max(candidates, key=lambda o: center(o) @ direction)["id"]


def test_a_listener_finds_every_object_from_its_words_alone(demo):
    n_heard = 0
    for ref in demo.refs:
        objects = demo.objects_of(ref["image_id"])
        for sentence in ref["sentences"]:
            assert understand(sentence["sent"], objects) == ref["ann_id"], sentence["sent"]
            n_heard += 1
    assert n_heard > 300


def test_files_do_not_depend_on_workers_and_hash_seed(tmp_path):
    settings = Settings(scenes=9, eval_scenes=3, seed=11)
    make_demo(tmp_path / "one", settings, workers=1)
    options = {"output": "two", "scenes": 9, "eval_scenes": 3, "seed": 11, "workers": 2}
    subprocess.run(
        [sys.executable, str(ROOT / "data" / "make_demo.py")]
        + [f"--{name}={value}" for name, value in options.items()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "123"},
        check=True,
        capture_output=True,
    )
    first = digests(tmp_path / "one")
    assert first == digests(tmp_path / "two")
    assert len(first) == 9 + 3 * 3 + 5
    # More training scenes leave the evaluation scenes as they are.
    make_demo(tmp_path / "one", Settings(scenes=10, eval_scenes=3, seed=11))
    name = "images/train2014/COCO_train2014_{:012d}.jpg"
    assert digests(tmp_path / "one")[name.format(11)] == first[name.format(10)]
    make_demo(tmp_path / "one", Settings(scenes=9, eval_scenes=3, seed=12))
    other = digests(tmp_path / "one")
    assert not set(other.values()) & set(first.values())
    assert set(other) == set(first)  # the tenth image of the run before is gone


def test_data_process_prepares_it_unchanged(demo, tmp_path):
    raw = ["--data_root", str(demo.folder), "--output_dir", str(tmp_path), "--generate_mask"]
    assert prepare_main([*raw, "--dataset", "refcoco", "--split", "unc"]) == 0
    assert len(read_raw_set(demo.folder, "refcoco", "unc").referents) == len(demo.refs)
    masks = open_masks(tmp_path / "masks" / "refcoco")
    # Its images have names of COCO, but its categories are its own ones.
    names = category_names(tmp_path / "anns" / "refcoco" / "val.txt")
    assert {names[str(number)] for number in range(len(KINDS))} == {*KINDS}
    n_referents = 0
    for split in ("train", "val", "testA", "testB"):
        referents = read_annotations(tmp_path / "anns" / "refcoco" / f"{split}.txt")
        n_referents += len(referents)
        for referent in referents[::7]:
            ref = demo.refs[referent.mask_id]
            assert list(referent.expressions) == [s["sent"] for s in ref["sentences"]]
            annotation = demo.annotations[ref["ann_id"]]
            mask = masks.read(referent, 128, 128)
            np.testing.assert_array_equal(mask, coco_mask.decode(annotation["segmentation"]))
            x, y, width, height = annotation["bbox"]
            assert referent.box_xyxy_px == (x, y, x + width, y + height)
    assert n_referents == len(demo.refs)


def test_anchors_fit_the_training_boxes(demo):
    anchors = read_anchors(demo.folder / "anchors.txt")
    assert anchors.shape == (3, 2)
    assert anchors.min() > 15
    assert anchors.max() < 75


def test_command_line(tmp_path, capsys):
    out = tmp_path / "set"
    arguments = ["--output", str(out), "--scenes", "2", "--eval_scenes", "1", "--workers", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "train: 2 scenes" in printed
    assert "relation" in printed
    assert "accuracy by chance" in printed
    assert main(arguments) == 0  # replaces its own earlier result


def test_other_files_are_never_touched(tmp_path, capsys):
    out = tmp_path / "coco"
    (out / "images").mkdir(parents=True)
    photograph = out / "images" / "mine.jpg"
    photograph.write_bytes(b"precious")
    assert main(["--output", str(out), "--scenes", "1", "--eval_scenes", "1"]) == 2
    assert "not a demo set" in capsys.readouterr().err
    assert photograph.read_bytes() == b"precious"
    assert main(["--output", str(photograph), "--scenes", "1"]) == 2
    assert "is a file" in capsys.readouterr().err
    assert os.listdir(out) == ["images"]
    assert os.listdir(out / "images") == ["mine.jpg"]


SMALL = Settings(scenes=2, eval_scenes=1, seed=1)


def test_files_of_others_in_a_demo_set_stay(tmp_path):
    make_demo(tmp_path, SMALL)
    (tmp_path / "images").rename(tmp_path / "moved")
    (tmp_path / "images").write_text("precious")
    make_demo(tmp_path, SMALL)
    assert (tmp_path / "images.2").read_text() == "precious"
    names = ("notes.txt", "images/mine.jpg", "images/train2014/000.jpg", "refcoco/refs(mine).p")
    for name in names:
        (tmp_path / name).write_text("precious")
    make_demo(tmp_path, Settings(scenes=1, eval_scenes=1, seed=2))
    assert [(tmp_path / name).read_text() for name in names] == ["precious"] * 4
    assert len(list((tmp_path / "images").rglob("COCO*.jpg"))) == 4


def put_refcoco(folder):
    """Files of RefCOCO under the names of a demo set."""
    names = ("refcoco/instances.json", "refcoco/refs(unc).p", "anchors.txt")
    for name in (*names, "images/train2014/COCO_train2014_000000581921.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")


def test_a_data_set_that_was_put_beside_the_lock_of_a_demo_set_stays(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "kmeans_anchors", stop)
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path, SMALL)
    assert os.listdir(tmp_path) == [".demo_set.json.lock"]
    monkeypatch.undo()
    put_refcoco(tmp_path)
    before = digests(tmp_path)
    with pytest.raises(UserError, match="contains files that are not a demo set"):
        make_demo(tmp_path, SMALL)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("name", ["refcoco/instances.json", "anchors.txt", "demo_set.json"])
def test_a_file_of_a_demo_set_that_was_changed_is_not_replaced(tmp_path, name):
    make_demo(tmp_path, SMALL)
    (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
    before = digests(tmp_path)
    with pytest.raises(UserError, match=rf"^{tmp_path / name} was changed"):
        make_demo(tmp_path, SMALL)
    assert digests(tmp_path) == before


def test_an_image_that_only_has_a_name_of_the_demo_set_stays(tmp_path):
    make_demo(tmp_path, SMALL)
    images = tmp_path / "images" / "train2014"
    names = ("COCO_train2014_000000581921.jpg", "COCO_train2014_000000000006.jpg")
    for name in names:
        (images / name).write_text("precious")
    make_demo(tmp_path, Settings(scenes=3, eval_scenes=1, seed=1))  # Of six images.
    kept = [path.name for path in images.iterdir() if path.read_bytes() == b"precious"]
    assert sorted(kept) == sorted([names[0], names[1] + ".2"])


def test_a_demo_set_of_a_former_version_is_replaced_by_an_equal_one_only(tmp_path):
    make_demo(tmp_path, SMALL)
    new = digests(tmp_path)
    marker = tmp_path / dataset.MARKER
    content = json.loads(marker.read_text())
    del content["files"], content[dataset.OWN]
    marker.write_text(json.dumps(content))
    former = digests(tmp_path)
    with pytest.raises(UserError, match="a demo set of a former version and of other settings"):
        make_demo(tmp_path, Settings(scenes=1, eval_scenes=1, seed=2))
    assert digests(tmp_path) == former
    (tmp_path / "anchors.txt").write_text("precious")
    make_demo(tmp_path, SMALL)
    assert (tmp_path / "anchors.txt.2").read_text() == "precious"
    (tmp_path / "anchors.txt.2").unlink()
    assert digests(tmp_path) == new


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_generation_leaves_the_former_set(tmp_path, monkeypatch, error):
    make_demo(tmp_path, SMALL)
    before = digests(tmp_path)

    def fail(*_):
        raise error

    monkeypatch.setattr(dataset, "kmeans_anchors", fail)
    with pytest.raises(error):
        make_demo(tmp_path, Settings(scenes=1, eval_scenes=1, seed=2))
    assert digests(tmp_path) == before
    with pytest.raises(error):
        make_demo(tmp_path / "new", SMALL)
    assert digests(tmp_path / "new") == {}
    monkeypatch.undo()
    make_demo(tmp_path / "new", SMALL)
    assert digests(tmp_path / "new") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_a_sentence_and_leaves_the_former_set(small_disk, capsys, workers):
    out = small_disk(150_000) / "set"
    make_demo(out, SMALL)
    before = digests(out)
    arguments = ["--output", out, "--scenes", 40, "--eval_scenes", 1, "--workers", workers]
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(rf"error: {out}/images/train2014/COCO_\w+\.jpg: the disk is full", error)
    assert digests(out) == before
    assert sorted(os.listdir(out)) == sorted(
        [".demo_set.json.lock", dataset.MARKER, *dataset.PARTS]
    )


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[0] = {root!r}
from data.synthetic.dataset import Settings, make_demo

calls = 0
def killed(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
    setattr(os, name, killed(getattr(os, name)))
make_demo("set", Settings(scenes=1, eval_scenes=1, seed=2))
"""


@pytest.mark.slow
def test_after_a_kill_at_any_step_the_next_run_is_right(tmp_path):
    new = Settings(scenes=1, eval_scenes=1, seed=2)
    make_demo(tmp_path / "old", SMALL)
    make_demo(tmp_path / "new", new)
    at = 0
    while True:
        at += 1
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        if at % 2:  # An existing set, and none, in turns.
            shutil.copytree(tmp_path / "old", tmp_path / "set")
            (tmp_path / "set" / "images" / "mine.jpg").write_bytes(b"precious")
        code = KILLED.format(root=str(ROOT), at=at)
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        make_demo(tmp_path / "set", new)
        files = digests(tmp_path / "set")
        assert files.pop("images/mine.jpg", None) is None or at % 2
        assert files == digests(tmp_path / "new"), at
        assert not [
            f for f in os.listdir(tmp_path / "set") if f.endswith((".new", ".old", ".note"))
        ]
    assert at > 30


@pytest.mark.parametrize(
    ("option", "value"),
    [("scenes", 0), ("eval_scenes", 0), ("size", 32), ("seed", -1), ("workers", 0)],
)
def test_invalid_settings_name_the_option(tmp_path, capsys, option, value):
    assert main(["--output", str(tmp_path / "x"), f"--{option}", str(value)]) == 2
    assert f"--{option} {value}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
