"""The check of prepared sets, sound and broken ones."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.check import main
from data.loading.anchors import read_anchors
from data.loading.annotations import Referent, write_annotations
from data.loading.masks import open_masks, write_masks
from data.preparation import check_report, inspection
from data.preparation.check_report import Report
from data.preparation.inspection import (
    expression_lengths,
    input_box_sizes,
    inspect_set,
    propose_anchors,
)
from data.preparation.manifest import Manifest, write_manifests
from data.preparation.sidecars.no_target import NoTarget, write_no_target
from tests.limits import memory_within
from tests.model.text_encoders.bert_fixtures import write_original

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 60, 40


class Prepared:
    """A prepared set of a few images with its config, which tests break in one place."""

    def __init__(self, folder):
        self.folder = folder
        self.referents = {"train": [], "val": []}
        self._next_id = 1
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        for k in range(6):
            box = (5 + k, 5, 20 + 3 * k, 20 + k)
            self.add("train", f"{k}.png", box, ("red kite", "kite on the left"))
        self.add("val", "v.png", (10, 10, 30, 30), ("the red kite",))
        (folder / "words.txt").write_text("red 1 0\nkite 0 1\non 1 1\nthe 2 1\n")
        (folder / "anchors.txt").write_text("16,16,  22,18,  30,20\n")
        self.settings = {
            "train_set": str(folder / "anns/train.txt"),
            "evaluate_set": str(folder / "anns/val.txt"),
            "seg_gt_path": str(folder / "masks"),
            "image_path": str(folder / "images"),
            "word_embed": str(folder / "words.txt"),
            "anchors_file": str(folder / "anchors.txt"),
            "embed_dim": 2,
            "word_len": 3,
            "input_size": 64,
            "workers": 2,
            "pretrained_weights": "",
        }

    def add(self, split, image, box, expressions, mask_box=None):
        """Adds a referent with its image and a mask that fills `mask_box`; returns its mask-id."""
        if not (self.folder / "images" / image).exists():
            pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(self.folder / "images" / image)
        number, self._next_id = self._next_id, self._next_id + 1
        x1, y1, x2, y2 = mask_box or box
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[max(y1, 0) : y2, max(x1, 0) : x2] = 1
        np.save(self.folder / "masks" / f"{number}.npy", mask)
        self.referents[split].append(Referent(image, box, 0, number, expressions))
        return number

    def check(self, *options):
        for split, referents in self.referents.items():
            write_annotations(self.folder / "anns" / f"{split}.txt", referents)
        path = self.folder / "config.json"
        path.write_text(json.dumps(self.settings))
        return main(["--config", str(path), *map(str, options)])


@pytest.fixture
def prepared(tmp_path):
    return Prepared(tmp_path)


def test_a_sound_set(prepared, capsys):
    assert prepared.check() == 0
    output = capsys.readouterr().out
    assert "PROBLEM" not in output
    assert "train_set    6 referents, 12 expressions, 6 images: " in output
    assert "all 6 images and 6 masks could be read" in output
    assert "mean IoU of box and bounding box of the mask: 1.000" in output
    assert f"{prepared.folder}/anns/val.txt: none" in output
    assert "truncated: 6 of 12 expressions (50.0 %); dropped: 16.7 % of all words" in output
    # "left" is the fourth word and truncated; "the" has a vector.
    assert "train_set    0.0 % of all words within word_len, 0.0 % of 4 distinct words" in output
    assert output.endswith("\n0 problems of data and files that would stop a run, 0 notes\n")


def test_images_of_expressions_without_a_target_are_opened(prepared, capsys):
    images = {90: "none.png", 91: "v.png"}
    entries = [NoTarget(number, ("val",), name, ("dog",)) for number, name in images.items()]
    (prepared.folder / "anns").mkdir()
    write_no_target(prepared.folder / "anns", entries)
    assert prepared.check() == 1
    assert "PROBLEM  missing images: 1 (none.png)" in capsys.readouterr().out
    Image.new("RGB", (WIDTH, HEIGHT)).save(prepared.folder / "images/none.png")
    assert prepared.check() == 0
    assert "all 2 images and 1 masks could be read" in capsys.readouterr().out
    (prepared.folder / "anns/no_target.jsonl").write_text("{")
    assert prepared.check() == 1
    assert "no_target.jsonl:1: " in capsys.readouterr().out


def test_histograms_count_every_expression_and_box(prepared, capsys):
    prepared.add("train", "0.png", (0, 0, 60, 40), ("a b c d e f g h",))
    assert prepared.check() == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("words per expression in train"))
    shown = [line.split()[:-1] for line in lines[at + 1 : at + 7] if "█" in line or "#" in line]
    assert shown == [
        ["2", "46.2", "%"],
        ["4", "46.2", "%"],
        ["6+", "7.7", "%"],
    ]
    assert lines[at + 3].split() == ["word_len", "3", "0.0", "%"]
    at = next(i for i, line in enumerate(lines) if line.startswith("box sizes in train_set"))
    shares = [float(line.split()[1]) for line in lines[at + 1 : at + 9]]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert shares[6] == pytest.approx(14.3)  # √(64·42.7) = 52.3 px


def break_image(p):
    path = p.folder / "images/0.png"
    path.write_bytes(path.read_bytes()[:-400])


def mix_divisions(p):
    for folder, division in (("anns", "unc"), ("masks", "google")):
        (p.folder / folder).mkdir(exist_ok=True)
        write_manifests(Manifest("refcoco", division, {}, True), {}, [p.folder / folder])
    p.settings["evaluate_set"] = str(p.folder / "val.txt")
    write_annotations(p.folder / "val.txt", p.referents["val"])


def save_integers(p):
    pixels = np.zeros((HEIGHT, WIDTH), np.int32)
    Image.fromarray(pixels).save(p.folder / "images/0.tiff")
    p.add("train", "0.tiff", (0, 0, 9, 9), ("x",))


LARGE = [(10_000, 8_000), (70_000, 100)]


def save_large(size):
    return lambda p: Image.new("1", size).save(p.folder / "images/0.png")


def save_mask(content):
    return lambda p: np.save(p.folder / "masks/1.npy", content)


@pytest.mark.parametrize(
    ("breaking", "problem"),
    [
        (lambda p: os.remove(p.folder / "images/0.png"), "missing images: 1 (0.png)"),
        (break_image, "unreadable images: 1 ({folder}/images/0.png: not"),
        (
            lambda p: (p.folder / "images/0.png").write_text("<html>"),
            "/images/0.png: not a readable image (unknown format)",
        ),
        *[(save_large(size), f"/images/0.png has {size[0]}×{size[1]} pix") for size in LARGE],
        (lambda p: os.remove(p.folder / "masks/2.npy"), "missing masks: 1 (mask-id 2 on "),
        (
            lambda p: (p.folder / "masks/1.npy").write_bytes(b"\x93NUMPY"),
            "unreadable masks: 1 ({folder}/masks/1.npy: not",
        ),
        (save_mask(np.array([{}])), "1.npy: not a readable mask (Array can"),
        (
            save_mask(np.zeros((WIDTH, HEIGHT), np.uint8)),
            "masks whose size differs from their image: 1 ({folder}/masks/1.npy: the mask has",
        ),
        (
            lambda p: p.add("train", "0.png", (55, 5, 70, 20), ("x",)),
            "boxes whose center lies outside the image: 1 (mask-id 8 on 0.png)",
        ),
        (
            lambda p: p.settings.update(train_set="none.txt"),
            "none.txt: no such file or folder; data/README.md says how to",
        ),
        (
            lambda p: p.settings.update(word_embed="words/none.txt"),
            "words/none.txt: no such file or folder; data/README.md lists sources of word vectors",
        ),
        (lambda p: p.settings.update(embed_dim=5), "the config key embed_dim is 5"),
        (lambda p: p.settings.update(anchors_file="none.txt"), "none.txt"),
        (
            lambda p: p.settings.update(pretrained_weights=str(p.folder / "none.weights.h5")),
            "pretrained_weights: {folder}/none.weights.h5: no such file or folder; docs/weights.md",
        ),
        (
            lambda p: (
                p.settings.update(pretrained_weights=str(p.folder / "empty.weights.h5"))
                or (p.folder / "empty.weights.h5").touch()
            ),
            "empty.weights.h5: an empty file; docs/weights.md says",
        ),
        (mix_divisions, "train.txt: the lines are of refcoco (unc) of raw files"),
        (save_integers, "the pixels are signed integers; save it with 8 bits per channel"),
        (
            lambda p: (p.folder / "anchors.txt").write_text("1,2,  3,4"),
            "anchors.txt: found 4 numbers; expected one line",
        ),
    ],
)
def test_what_would_stop_a_run_gives_exit_code_1(prepared, capsys, breaking, problem):
    breaking(prepared)
    problem = problem.format(folder=prepared.folder)
    assert prepared.check() == 1
    output = capsys.readouterr().out
    assert "PROBLEM  " in output
    assert problem in output
    assert "\n1 problem of data and files that would stop a run, " in output


def empty_mask(p):
    np.save(p.folder / "masks/1.npy", np.zeros((HEIGHT, WIDTH, 1), np.uint8))


def save_sixteen_bits(p):
    pixels = np.random.default_rng(0).integers(0, 2**16, (HEIGHT, WIDTH), np.uint16)
    Image.fromarray(pixels).save(p.folder / "images/0.png")


def save_transparent(p):
    Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 99)).save(p.folder / "images/0.png")


def turn_image(p):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(p.folder / "images/0.png", exif=exif)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (empty_mask, "empty masks: 1 (mask-id 1 on 0.png)"),
        (
            save_sixteen_bits,
            "images that training converts as it reads them: 16-bit grayscale scaled to 8 bits: 1 "
            "(0.png)",
        ),
        (save_transparent, "converts as it reads them: transparency placed on white: 1 (0.png)"),
        (turn_image, "EXIF orientation: viewers rotate them, training does not: 1 (0.png)"),
        (
            lambda p: p.add("train", "0.png", (40, 5, 70, 20), ("x",)),
            "boxes that extend beyond the image: 1 (mask-id 8 on 0.png)",
        ),
        (
            lambda p: p.add("train", "0.png", (0, 0, 20, 20), ("x",), mask_box=(0, 0, 5, 5)),
            "of their mask is below 0.5: 1 (mask-id 8 on 0.png: 0.06)",
        ),
        (
            lambda p: p.add("train", "v.png", (0, 0, 20, 20), ("x",)),
            "val.txt shares images, which inflates its scores: 1 (v.png)",
        ),
        (
            lambda p: p.settings.update(evaluate_set=p.settings["train_set"]),
            "evaluate_set is the same file as train_set: scores on",
        ),
        (
            lambda p: (p.folder / "words.txt").write_text("unheard 1 0\n"),
            "no word has a vector",
        ),
        (
            lambda p: (p.folder / "anchors.txt").write_text("1,2,  3,4,  5,6"),
            "the proposed anchors fit clearly better",
        ),
        (
            lambda p: (
                (p.folder / "anns").mkdir() or (p.folder / "anns/notes.txt").write_text("no line\n")
            ),
            "notes.txt cannot be read",
        ),
    ],
)
def test_oddities_are_noted_and_stop_nothing(prepared, capsys, change, note):
    change(prepared)
    assert prepared.check() == 0
    output = capsys.readouterr().out
    assert "note     " in output
    assert note in output
    assert not output.endswith(" 0 notes\n")


def test_unknown_words_are_counted_by_occurrence_and_by_word(prepared, capsys):
    prepared.add("val", "v.png", (0, 0, 20, 20), ("Zzz zzz", "zzz kite"))
    assert prepared.check() == 0
    output = capsys.readouterr().out
    assert "evaluate_set 42.9 % of all words within word_len, 40.0 % of 5 distinct words" in output
    assert "most frequent: zzz (2), Zzz (1)" in output


def test_many_names_are_shortened(prepared, capsys):
    for k in range(6):
        os.remove(prepared.folder / f"images/{k}.png")
    assert prepared.check() == 1
    output = capsys.readouterr().out
    assert "missing images: 6 (0.png; 1.png; 2.png and 3 more)" in output
    assert f"image_path is {prepared.folder}/images" in output


def test_the_weights_to_start_from_are_named(prepared, capsys):
    (prepared.folder / "a.weights.h5").write_bytes(b"x")
    for value, line in (
        ("", "pretrained_weights is empty: trained from scratch"),
        ("imagenet", "pretrained_weights: imagenet, a name that train.py --dry-run looks up"),
        (str(prepared.folder / "a.weights.h5"), f"weights: {prepared.folder}/a.weights.h5"),
    ):
        prepared.settings["pretrained_weights"] = value
        assert prepared.check() == 0
        assert line in capsys.readouterr().out


def test_unusable_masks_do_not_hide_what_else_is_wrong(prepared, capsys):
    (prepared.folder / "masks/masks.jsonl").write_text("{}\n")
    os.remove(prepared.folder / "images/3.png")
    assert prepared.check() == 1
    output = capsys.readouterr().out
    assert output.count("masks.jsonl:1: expected a line like") == 2  # In both sets.
    assert "missing images: 1 (3.png)" in output


def test_quick_does_not_decode_images(prepared, capsys):
    break_image(prepared)
    assert prepared.check("--quick") == 0
    assert "all 6 images and 6 masks could be opened" in capsys.readouterr().out


def test_bert_needs_its_folder_and_no_word_vectors(prepared, capsys):
    prepared.settings["word_embed"] = "words/none.txt"
    prepared.settings["bert_path"] = str(prepared.folder / "bert")
    assert prepared.check("--set", "text_encoder=bert") == 1
    output = capsys.readouterr().out
    assert "PROBLEM  bert_path: " in output
    assert "\n1 problem of data and files that would stop a run" in output
    write_original(prepared.folder / "bert")
    assert prepared.check("--set", "text_encoder=bert") == 0
    assert "text_encoder=bert counts word pieces" in capsys.readouterr().out


def test_proposed_anchors_can_be_written_and_used(prepared, capsys):
    path = prepared.folder / "own_anchors.txt"
    assert prepared.check("--write_anchors", path) == 0
    assert f"--set anchors_file={path}" in capsys.readouterr().out
    assert len(read_anchors(path)) == 3
    assert prepared.check("--set", f"anchors_file={path}") == 0
    lines = capsys.readouterr().out.splitlines()
    present, proposed = (line for line in lines if "×" in line and "mean IoU" in line)
    assert present.split(": ")[:2] == proposed.split(": ")[:2]


@pytest.mark.parametrize("name", ["yolo_anchors.txt", "README.md"])
def test_proposed_anchors_never_replace_other_files(prepared, capsys, name):
    path = ROOT / "data" / name
    content = path.read_bytes()
    assert prepared.check("--write_anchors", path) == 2
    printed = capsys.readouterr()
    assert "choose another file" in printed.err
    assert printed.out == ""  # Said before the check, which takes long.
    assert path.read_bytes() == content


def test_too_few_boxes_give_no_anchors(prepared, capsys):
    del prepared.referents["train"][2:]
    assert prepared.check("--write_anchors", prepared.folder / "own.txt") == 2
    assert "too few boxes" in capsys.readouterr().err
    assert not (prepared.folder / "own.txt").exists()


def test_invalid_settings_are_reported_in_one_sentence(prepared, capsys):
    assert prepared.check("--set", "batch_sise=3") == 2
    assert "did you mean 'batch_size'?" in capsys.readouterr().err
    assert main(["--config", str(prepared.folder / "none.json")]) == 2


def test_an_interruption_ends_it(prepared, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection.Findings, "add", interrupted)
    assert prepared.check() == 130
    assert "Nothing was changed" in capsys.readouterr().err


def test_paths_in_the_project_are_shown_short():
    assert check_report._short(ROOT / "data/anns/a.txt") == "data/anns/a.txt"


def test_bars_stay_plain_where_the_output_cannot_show_blocks(capsys, monkeypatch):
    report = Report()
    report._block = "#"
    report.bars(["a", "bb"], [3, 0])
    assert capsys.readouterr().out == f"   a  100.0 %  {'#' * 40}\n  bb    0.0 %\n"


def test_inspect_set_reports_its_progress(prepared):
    seen = []
    folder = prepared.folder
    referents = prepared.referents["train"]
    masks = open_masks(folder / "masks")
    findings = inspect_set(referents, folder / "images", masks, 3, on_image=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert findings.sizes == {f"{k}.png": (WIDTH, HEIGHT) for k in range(6)}
    assert findings.mask_ious == [1.0] * 6
    assert expression_lengths(referents).tolist() == [2, 4] * 6
    sizes = input_box_sizes(referents, {"1.png": (120, 40)}, 60)
    np.testing.assert_allclose(sizes, [[8.5, 8]])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(prepared):
    rows = np.zeros((2000, 2000), np.uint8)
    referents = []
    for number in range(30):
        Image.fromarray(rows).save(prepared.folder / f"images/large{number}.png")
        referents.append(Referent(f"large{number}.png", (0, 0, 9, 9), 0, number, ("x",)))
    write_masks(prepared.folder / "masks", ((r.mask_id, rows) for r in referents))
    masks = open_masks(prepared.folder / "masks")
    with memory_within(10 * rows.nbytes):  # Two images and masks at once, and copies of them.
        findings = inspect_set(referents, prepared.folder / "images", masks, workers=2)
    assert len(findings.sizes) == 30


def test_very_many_boxes_are_subsampled(monkeypatch):
    monkeypatch.setattr(inspection, "MAX_KMEANS_BOXES", 50)
    boxes = np.random.default_rng(0).uniform(10, 100, (5000, 2))
    anchors = propose_anchors(boxes, 3, seed=1)
    assert anchors.shape == (3, 2)
    np.testing.assert_array_equal(anchors, propose_anchors(boxes, 3, seed=1))
    assert propose_anchors(boxes[:2], 3, seed=1) is None


def test_help_is_complete_and_quick():
    begin = time.monotonic()
    command = [sys.executable, str(ROOT / "data" / "check.py"), "--help"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
    assert time.monotonic() - begin < 3  # well below one second on an idle machine
    assert "python data/check.py --config config/config.json" in shown
    assert "Exit code" in shown


def test_several_sets_are_inspected_with_masks_of_their_own(prepared, capsys):
    """The second set has a mask for the first of two referents, and a test split with 0.png."""
    folder, own = prepared.folder, prepared.referents["train"]
    second = [dataclasses.replace(own[0], mask_id=90), dataclasses.replace(own[5], mask_id=91)]
    write_annotations(folder / "plus" / "train.txt", second)
    write_annotations(folder / "plus" / "testA.txt", second[:1])
    write_masks(folder / "plus", [(90, np.ones((HEIGHT, WIDTH), np.uint8))])
    prepared.settings["train_set"] = [
        str(folder / "anns/train.txt"), str(folder / "plus/train.txt")
    ]  # fmt: skip
    assert prepared.check() == 1
    output = capsys.readouterr().out
    assert "train_set 2  2 referents, 4 expressions, 2 images: " in output
    assert "images and masks of train_set 2\n  PROBLEM  missing masks: 1 (" in output
    assert f"seg_gt_path is {folder}/plus" in output
    assert "plus/testA.txt: 1, which training leaves out" in output
    prepared.settings["leave_out_eval_images"] = 0
    prepared.check()
    assert "plus/testA.txt shares images, which inflates its scores: 1 (0.png)" in (
        capsys.readouterr().out
    )
