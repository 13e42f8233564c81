"""data/data_process.py on the fixture that the published preparation was run on."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from data import data_process
from data.data_process import main
from data.loading.annotations import read_annotations
from data.loading.masks import open_masks
from data.preparation import referring_sets
from data.preparation.raw import categories
from data.preparation.raw.published import PUBLISHED, Counts
from data.preparation.referring_sets import Summary, add_to_image_list, to_xyxy
from data.preparation.segmentation import decode_segmentation
from tests.data.raw_set import FIXTURE, read_lines, run, state

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("train", "val", "testA", "testB")


def test_lines_equal_the_published_ones(raw, tmp_path, capsys):
    assert run(raw, tmp_path) == 0
    for split in SPLITS:
        expected = (FIXTURE / "expected" / f"{split}.txt").read_text()
        # There, a "~" among the words of an expression made two expressions of it.
        expected = expected.replace("red t-shirt ~ weird", "red t-shirt weird")
        assert (tmp_path / "out/anns/refcoco" / f"{split}.txt").read_text() == expected
    assert not (tmp_path / "out/masks/refcoco").exists()
    report = capsys.readouterr()
    published = "(published: 42,404 referents, 120,624 expressions, 16,994 images)"
    counts = f"3 referents, 6 expressions, 2 images {published}"
    assert f"train  {counts}" in report.out
    assert (
        "removed from expressions: 1 (referent 9014 on COCO_train2014_000000000022.jpg)"
        in report.out
    )
    assert "refcoco (unc)  100%  6/6  " in report.err


def test_complete_sets_are_recognized(raw, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PUBLISHED["refcoco", "unc"], "train", Counts(3, 6, 2))
    monkeypatch.setitem(PUBLISHED["refcoco", "unc"], "testA", Counts(1, 5, None))
    assert run(raw, tmp_path) == 0
    printed = capsys.readouterr().out
    assert "train  3 referents, 6 expressions, 2 images (as published) →" in printed
    assert "testA  1 referent, 1 expression, 1 image (published: 5 expressions) →" in printed


def test_published_counts_add_up_to_those_of_the_data_sets():
    totals = {
        key: tuple(sum(n or 0 for n in column) for column in zip(*splits.values(), strict=True))
        for key, splits in PUBLISHED.items()
    }
    assert totals["refcoco", "unc"] == (50_000, 142_210, 19_994)
    assert totals["refcoco+", "unc"] == (49_856, 141_564, 19_992)
    assert totals["refcocog", "umd"] == (49_822, 95_010, 25_799)
    # Other divisions of the same referents, which do not separate images.
    assert totals["refcocog", "google"][:2] == totals["refcocog", "umd"][:2]
    assert totals["refcoco", "google"][0] == totals["refcoco", "unc"][0]
    assert all(totals[name, "google"][2] > totals[name, by][2]
               for name, by in (("refcoco", "unc"), ("refcocog", "umd")))  # fmt: skip


def test_masks_are_the_union_of_the_published_parts(raw, tmp_path):
    assert run(raw, tmp_path, "--generate_mask") == 0
    folder = tmp_path / "out/masks/refcoco"
    assert sorted(os.listdir(folder)) == ["manifest.json", "masks.jsonl"]
    masks, referents = open_masks(folder), {r.mask_id: r for r in read_lines(tmp_path)}
    with np.load(FIXTURE / "expected" / "masks.npz") as expected:
        assert {int(name[1:]) for name in expected.files} == set(referents)
        for name in expected.files:
            height, width = expected[name].shape[:2]
            mask = masks.read(referents[int(name[1:])], width, height)
            np.testing.assert_array_equal(mask, np.minimum(expected[name], 1))


@pytest.mark.parametrize("form", ["polygons", "compressed", "plain", "parts"])
def test_masks_are_the_pixels_of_the_segmentation_in_all_its_forms(raw, tmp_path, form):
    rng = np.random.default_rng(0)
    noise = {}

    def encoded(annotation, width, height):
        mask = (rng.random((height, width)) < 0.1).astype(np.uint8)
        runs = coco_mask.encode(np.asfortranarray(mask))
        compressed = {"size": [height, width], "counts": runs["counts"].decode()}
        if form == "plain":
            flat = np.flatnonzero(np.diff(mask.T.ravel(), prepend=0)).tolist()
            lengths = np.diff([0, *flat, mask.size]).tolist()
            return {"size": [height, width], "counts": lengths}
        return [compressed, annotation["segmentation"][0]] if form == "parts" else compressed

    def change(instances):
        sizes = {i["id"]: (i["width"], i["height"]) for i in instances["images"]}
        for annotation in instances["annotations"]:
            size = sizes[annotation["image_id"]]
            if form != "polygons" and isinstance(annotation["segmentation"], list):
                annotation["segmentation"] = encoded(annotation, *size)
            noise[annotation["id"]] = decode_segmentation(annotation["segmentation"], *size)

    raw(change_instances=change)
    assert run(raw, tmp_path, "--generate_mask") == 0
    masks = open_masks(tmp_path / "out/masks/refcoco")
    refs = pickle.loads((raw.root / "refcoco/refs(unc).p").read_bytes())
    annotation_of = {ref["ref_id"]: ref["ann_id"] for ref in refs}
    referents = read_lines(tmp_path)
    assert len(referents) == len(refs)
    for referent in referents:
        expected = noise[annotation_of[referent.mask_id]]
        assert expected.any()
        actual = masks.read(referent, *expected.shape[::-1])
        np.testing.assert_array_equal(actual, expected)


def test_categories_are_coco_s_eighty(raw, tmp_path):
    run(raw, tmp_path)
    assert {r.mask_id: r.category for r in read_lines(tmp_path)}[9021] == 79  # COCO's 90
    assert sorted(categories._COCO_CATEGORY.values()) == list(range(80))

    raw(lambda refs: refs[0].update(category_id=12))
    before = state(tmp_path / "out")
    assert run(raw, tmp_path, "--overwrite") == 2
    assert state(tmp_path / "out") == before


def test_boxes_are_cut_to_whole_pixels():
    assert to_xyxy((10.9, 20.99, 60.6, 70.95)) == (10, 20, 70, 90)


def test_the_default_output_is_the_data_folder_of_the_project(raw, monkeypatch):
    folders = []

    def prepare(data_root, output_dir, *_):
        folders.append(Path(output_dir))
        return Summary({})

    monkeypatch.setattr(data_process, "prepare_set", prepare)
    assert main(["--data_root", str(raw.root)]) == 0
    assert folders == [ROOT / "data"]


def test_what_is_changed_or_left_out_is_reported(raw, tmp_path, capsys):
    def change_refs(refs):
        refs[0]["sentences"] = [{"sent": " "}, {"sent": "kept"}]
        refs[1]["sentences"] = [{"sent": "~"}]

    def change_instances(instances):
        boxes = {504: [-20, 0.4, 89, 300], 502: [160, 10, 30, 30], 506: [1, 1, 0.9, 5]}
        for annotation in instances["annotations"]:
            annotation["bbox"] = boxes.get(annotation["id"], annotation["bbox"])
            if annotation["id"] == 505:
                annotation["segmentation"] = {"size": [1, 2], "counts": [2]}
            if annotation["id"] == 504:
                annotation["segmentation"] = [[-9, -9, -5, -9, -5, -5]]

    raw(change_refs, change_instances)
    assert run(raw, tmp_path, "--generate_mask") == 0
    out = capsys.readouterr().out
    assert "boxes clipped to the image: 1 (referent 9021" in out
    assert "empty expressions dropped: 2 " in out
    assert "empty masks (kept): 1 (referent 9021" in out
    assert "skipped because it has no expression: 1 (referent 9000" in out
    assert "skipped because its box has no area inside the image: 2 (referent 9035" in out
    assert "skipped because annotation 505: the run lengths have the size [1, 2]" in out
    assert "train  no referents" in out
    assert not (tmp_path / "out/anns/refcoco/train.txt").exists()
    (referent,) = read_annotations(tmp_path / "out/anns/refcoco/testA.txt")
    assert referent.box_xyxy_px == (0, 0, 69, 100)
    assert referent.expressions == ("kept",)


def test_referit_leaves_three_images_out_and_keeps_its_categories(raw, tmp_path, capsys):
    def change_refs(refs):
        for ref in refs:
            ref["category_id"] = 137

    def change_instances(instances):
        for image, name in zip(instances["images"], ("19579", "17975", "116"), strict=True):
            image["file_name"] = f"{name}.jpg"

    raw(change_refs, change_instances, dataset="refclef")
    assert run(raw, tmp_path, "--dataset", "refclef") == 0
    assert "not part of the published ReferIt sets: 4" in capsys.readouterr().out
    folder = tmp_path / "out/anns/refclef"
    lines = [r for file in folder.glob("*.txt") for r in read_annotations(file)]
    assert {(r.image, r.category) for r in lines} == {("116.jpg", 137)}


def test_other_files_stay_and_other_lines_are_pointed_out(raw, tmp_path, capsys):
    anns, masks = tmp_path / "out/anns/refcoco", tmp_path / "out/masks/refcoco"
    kept = [anns / "notes.md", anns / "small.txt", anns / "words_1.npz", masks / "17.png"]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    for _ in range(2):
        assert run(raw, tmp_path, "--generate_mask") == 0
        out = capsys.readouterr().out
        assert out.count("warning: ") == 1
        assert f"warning: {anns / 'small.txt'} is not of this preparation" in out
        assert [path.read_text() for path in kept] == ["mine"] * 4


def test_evaluation_images_are_collected_over_runs(raw, tmp_path, capsys):
    path = tmp_path / "lists" / "eval.txt"
    assert run(raw, tmp_path, "--list_eval_images", str(path)) == 0
    assert path.read_text().split() == [f"COCO_train2014_0000000000{n}.jpg" for n in (22, 33)]
    assert "2 evaluation images" in capsys.readouterr().out
    assert add_to_image_list(path, ["A.jpg", "COCO_train2014_000000000022.jpg"]) == 3
    assert path.read_text().split()[0] == "A.jpg"


def test_listing_changes_no_lines(raw, tmp_path):
    assert run(raw, tmp_path, "--generate_mask") == 0
    before = state(tmp_path / "out")
    raw(lambda refs: refs[1].update(split="val"), split="google")
    path = tmp_path / "list.txt"
    for split, n_images in (("unc", 2), ("google", 3)):
        assert run(raw, tmp_path, "--split", split, "--list_eval_images", str(path)) == 0
        assert len(path.read_text().split()) == n_images
    assert state(tmp_path / "out") == before


def test_only_lists_of_images_are_added_to(raw, tmp_path, capsys):
    assert run(raw, tmp_path) == 0
    before = state(tmp_path / "out")
    path = tmp_path / "out/anns/refcoco/val.txt"
    assert run(raw, tmp_path, "--list_eval_images", str(path)) == 2
    assert "val.txt: contains " in capsys.readouterr().err
    assert state(tmp_path / "out") == before
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    assert run(raw, tmp_path, "--list_eval_images", str(tmp_path / "photo.jpg")) == 2
    assert "photo.jpg: not UTF-8 text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--dataset", "refcoco+", "--split", "umd"], "'refcoco+' has no split 'umd'; valid are"),
        (["--split", "google"], "refs(google).p: no such file"),
        (["--dataset", "refclef", "--list_eval_images", "x"], "are not from COCO"),
        (["--generate_mask", "--list_eval_images", "x"], "only lists images: run the command once"),
        (["--overwrite", "--list_eval_images", "x"], "only lists images: run the command once"),
    ],
)
def test_mistakes_end_with_a_sentence(raw, tmp_path, capsys, options, fault):
    assert run(raw, tmp_path, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert fault in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "output"),
    [("out", "out"), ("out", "out/sets"), ("out/anns", "out"), ("out/anns/refcoco", "out")],
)
def test_a_file_where_a_folder_is_needed_is_named(raw, tmp_path, capsys, file, output):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert main(["--data_root", str(raw.root), "--output_dir", str(tmp_path / output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path} is ")
    assert "choose another " in error
    assert error.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.name in ("train.txt", "masks")]


def test_an_interruption_leaves_no_lines(raw, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(referring_sets, "decode_segmentation", interrupt)
    assert run(raw, tmp_path, "--generate_mask") == 130
    assert "Run the same command again" in capsys.readouterr().err
    assert not (tmp_path / "out/anns/refcoco").exists()


@pytest.mark.parametrize(
    "how", [[str(ROOT / "data" / "data_process.py")], ["-m", "data.data_process"]]
)
def test_it_runs_from_any_folder(raw, tmp_path, how):
    folder = ROOT if how[0] == "-m" else tmp_path
    out = tmp_path / "out" if how[0] == "-m" else "out"
    command = [sys.executable, *how, "--data_root", str(raw.root), "--output_dir", str(out)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert (tmp_path / "out/anns/refcoco/testB.txt").is_file()
