"""Ref-L4's reviews: expressions that were judged wrong are left out of evaluation splits."""

import json
import pickle

import pytest

from data.preparation.manifest import read_manifest
from data.preparation.raw.published import REVIEWED
from data.preparation.sidecars.ids import read_ids
from tests.data.raw_set import FIXTURE, read_lines, run, state

SPLITS = ("val", "testA", "testB")


@pytest.fixture
def reviews(raw):
    """Writes reviews of the raw set in which expressions of some texts are wrong; the folder."""
    folder = raw.root / "refcocos_annotation_reviewed"
    folder.mkdir()
    refs = pickle.loads((FIXTURE / "refcoco/refs(unc).p").read_bytes())

    def write(wrong=(), change=lambda split, content: None):
        for split in SPLITS:
            images, annotations = [], []
            for ref in (ref for ref in refs if ref["split"] == split):
                for sentence in ref["sentences"]:
                    number = len(images) + 1
                    images.append(
                        {"id": number, "original_id": ref["image_id"], "caption": sentence["sent"]}
                    )
                    annotations.append(
                        {
                            "id": 100 + number,
                            "image_id": number,
                            "original_id": ref["ann_id"],
                            "bbox": [0, 0, 1, 1],
                            "caption_quality": int(sentence["sent"] not in wrong),
                        }
                    )
            content = {"images": images, "annotations": annotations, "info": {}}
            change(split, content)
            (folder / f"refcoco_{split}_reviewed.json").write_text(json.dumps(content))
        return folder

    return write


def texts(tmp_path):
    return {text for referent in read_lines(tmp_path) for text in referent.expressions}


@pytest.fixture
def evaluated(raw):
    """The referents of the evaluation splits, from the one with the most expressions on."""
    refs = pickle.loads((raw.root / "refcoco/refs(unc).p").read_bytes())
    chosen = [ref for ref in refs if ref["split"] != "train"]
    return sorted(chosen, key=lambda ref: -len(ref["sentences"]))


def test_expressions_that_were_judged_wrong_are_left_out(
    raw, reviews, evaluated, tmp_path, capsys, monkeypatch
):
    assert run(raw, tmp_path) == 0
    complete = texts(tmp_path)
    wrong = evaluated[0]["sentences"][-1]["sent"]
    judged = sum(len(ref["sentences"]) for ref in evaluated)
    reviews({wrong})
    before = state(tmp_path / "out")
    assert run(raw, tmp_path, "--only_reviewed") == 2  # Another set, which replaces none by itself.
    assert state(tmp_path / "out") == before
    monkeypatch.setitem(REVIEWED, "refcoco", (judged, 1))
    capsys.readouterr()
    assert run(raw, tmp_path, "--only_reviewed", "--overwrite") == 0
    printed = capsys.readouterr().out
    assert f"review: 1 of {judged} expressions judged wrong (as published)" in printed
    assert "published: " not in printed.replace("(as published)", "")
    assert complete - texts(tmp_path) == {wrong}
    manifest = read_manifest(tmp_path / "out/anns/refcoco")
    assert "refcoco_val_reviewed.json" in manifest.raw_files
    assert manifest.division == "unc, reviewed"  # Not the set of published results.
    ids = read_ids(tmp_path / "out/anns/refcoco")
    assert wrong not in {text for one in ids.values() for _, text in one.sentences}
    kept = [sentence["sent_id"] for sentence in evaluated[0]["sentences"][:-1]]
    found = ids[evaluated[0]["ref_id"]].sentences if kept else ()
    assert [number for number, _ in found] == kept


def test_a_referent_without_any_right_expression_is_skipped(
    raw, reviews, evaluated, tmp_path, capsys
):
    ref = evaluated[0]
    folder = reviews({sentence["sent"] for sentence in ref["sentences"]})
    moved = folder.rename(tmp_path / "elsewhere")
    assert run(raw, tmp_path, "--only_reviewed", str(moved)) == 0
    assert "skipped because it has no expression: 1" in capsys.readouterr().out
    assert ref["ref_id"] not in {referent.mask_id for referent in read_lines(tmp_path)}


def test_expressions_without_a_review_are_kept_and_named(raw, reviews, evaluated, tmp_path, capsys):
    ref, text = evaluated[0], evaluated[0]["sentences"][0]["sent"]

    def other_words(split, content):
        for image in content["images"]:
            if image["caption"] == text:
                image["caption"] = "other words"

    reviews({text}, other_words)
    assert run(raw, tmp_path, "--only_reviewed") == 0
    kept = f'without a review, which are kept: 1 ("{text}" of referent {ref["ref_id"]})'
    assert kept in capsys.readouterr().out
    assert text in texts(tmp_path)


def test_equal_expressions_are_judged_in_order(raw, reviews, evaluated, tmp_path):
    ref = evaluated[0]
    twice = [{"sent": "same", "sent_id": 800}, {"sent": "Same ", "sent_id": 801}]

    def add(refs):
        next(r for r in refs if r["ref_id"] == ref["ref_id"])["sentences"] += twice

    def review(split, content):
        if split != ref["split"]:
            return
        for quality in (0, 1):
            number = 500 + quality
            content["images"].append({"id": number, "caption": "same"})
            content["annotations"].append(
                {"id": number, "image_id": number, "original_id": ref["ann_id"],
                 "caption_quality": quality}
            )  # fmt: skip

    raw(add)
    reviews(change=review)
    assert run(raw, tmp_path, "--only_reviewed") == 0
    sentences = read_ids(tmp_path / "out/anns/refcoco")[ref["ref_id"]].sentences
    assert sentences[-1] == (801, "Same")
    assert 800 not in [number for number, _ in sentences]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda a: a.pop("caption_quality"), "key 'caption_quality' is missing"),
        (lambda a: a.update(original_id="x"), "key 'original_id' is \"x\""),
        (lambda a: a.update(image_id=999), "key 'image_id' is 999"),
    ],
)
def test_damaged_reviews_are_refused(raw, reviews, tmp_path, capsys, change, fault):
    reviews(change=lambda split, content: change(content["annotations"][0]))
    assert run(raw, tmp_path, "--only_reviewed") == 2
    message = capsys.readouterr().err
    assert "refcoco_val_reviewed.json: annotation 101: " in message
    assert fault in message
    assert not (tmp_path / "out/anns/refcoco/val.txt").exists()


def test_reviews_that_are_missing_or_of_another_set_are_refused(raw, reviews, tmp_path, capsys):
    assert run(raw, tmp_path, "--only_reviewed") == 2
    assert "refcoco_val_reviewed.json: no such file; put the reviews" in capsys.readouterr().err

    def others(split, content):
        for image in content["images"]:
            image["caption"] += " of another set"

    reviews(change=others)
    assert run(raw, tmp_path, "--only_reviewed") == 2
    assert "contain no expression of refcoco" in capsys.readouterr().err
    raw(split="google", change_refs=lambda refs: [ref.update(split="val") for ref in refs])
    assert run(raw, tmp_path, "--only_reviewed", "--split", "google") == 2
    assert "refcoco (google) was not reviewed" in capsys.readouterr().err
