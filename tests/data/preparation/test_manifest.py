"""Manifests: lines and masks of different preparations are never paired, and none is lost."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data.loading.errors import DataError
from data.preparation.manifest import (
    FILE_NAME,
    Manifest,
    check_pairing,
    is_as_written,
    read_manifest,
    write_manifests,
)
from tests.data.raw_set import read_lines, run, state


def google(raw):
    """Another division of the raw set."""
    raw(lambda refs: [ref.update(split="val") for ref in refs[3:]], split="google")


@pytest.fixture
def prepared(raw, tmp_path):
    """The folders of lines and masks of the division unc."""
    assert run(raw, tmp_path, "--generate_mask") == 0
    return tmp_path / "out/anns/refcoco", tmp_path / "out/masks/refcoco"


def refused(raw, tmp_path, capsys, *options):
    """Runs data_process.py, which must change nothing; returns its message."""
    before = state(tmp_path / "out")
    assert run(raw, tmp_path, *options) == 2
    assert state(tmp_path / "out") == before
    message = capsys.readouterr().err
    assert "--overwrite" in message
    return message


def test_both_folders_say_what_they_were_made_from(prepared):
    lines, masks = (read_manifest(folder) for folder in prepared)
    assert replace(lines, files=masks.files) == masks
    assert (lines.dataset, lines.division, lines.masks) == ("refcoco", "unc", True)
    assert set(lines.raw_files) == {"instances.json", "refs(unc).p"}
    assert lines.splits["train"] == {"referents": 3, "expressions": 6, "images": 2}
    assert set(lines.files) == {
        *(f"{s}.txt" for s in ("train", "val", "testA", "testB")),
        "ids.jsonl",
    }
    assert set(masks.files) == {"masks.jsonl"}
    assert json.loads((prepared[0] / FILE_NAME).read_text())["id"] == lines.id
    check_pairing(prepared[0] / "train.txt", prepared[1])


def test_the_same_preparation_again_changes_nothing(raw, tmp_path, prepared):
    before = {path: content for path, (content, _) in state(tmp_path / "out").items()}
    (prepared[1] / "masks.jsonl").unlink()
    assert run(raw, tmp_path, "--generate_mask") == 0
    after = {path: content for path, (content, _) in state(tmp_path / "out").items()}
    assert after == before


@pytest.mark.usefixtures("prepared")
def test_another_division_needs_overwrite_and_replaces_both(raw, tmp_path, capsys):
    google(raw)
    message = refused(raw, tmp_path, capsys, "--split", "google", "--generate_mask")
    assert "contains refcoco (unc) of raw files " in message
    assert "choose another --output_dir" in message
    assert run(raw, tmp_path, "--split", "google", "--overwrite") == 0
    assert not (tmp_path / "out/masks/refcoco").exists()
    assert {path.name for path in (tmp_path / "out/anns/refcoco").iterdir()} == {
        *("train.txt", "val.txt", "test.txt", "ids.jsonl"),
        FILE_NAME,
    }
    assert run(raw, tmp_path, "--split", "google", "--generate_mask") == 0
    assert len(read_lines(tmp_path)) == 6


@pytest.mark.usefixtures("prepared")
def test_other_raw_files_need_overwrite(raw, tmp_path, capsys):
    raw(lambda refs: refs[0].update(sentences=[{"sent": "new words"}]))
    refused(raw, tmp_path, capsys, "--generate_mask")
    assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
    assert "new words" in {text for r in read_lines(tmp_path) for text in r.expressions}


@pytest.mark.usefixtures("prepared")
def test_masks_are_not_removed_by_a_preparation_without(raw, tmp_path, capsys):
    assert "would be removed: add --generate_mask" in refused(raw, tmp_path, capsys)


def test_masks_can_be_added(raw, tmp_path):
    assert run(raw, tmp_path) == 0
    assert run(raw, tmp_path, "--generate_mask") == 0
    assert read_manifest(tmp_path / "out/masks/refcoco").masks


@pytest.mark.parametrize(("folder", "name"), [(0, "val.txt"), (1, "masks.jsonl")])
def test_changed_lines_and_masks_are_not_replaced(raw, tmp_path, capsys, prepared, folder, name):
    path = prepared[folder] / name
    edited = path.read_text().replace("1", "2")
    path.write_text(edited)
    message = refused(raw, tmp_path, capsys, "--generate_mask")
    assert f"{path} was changed after its preparation" in message
    assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
    assert f"kept with a number appended to their name: 1 ({path})" in capsys.readouterr().out
    assert path.with_name(f"{name}.2").read_text() == edited
    assert path.read_text() != edited
    check_pairing(prepared[0] / "val.txt", prepared[1])


def test_files_that_the_manifest_does_not_list_are_not_replaced(raw, tmp_path, capsys, prepared):
    path, manifest = prepared[1] / "masks.jsonl", prepared[1] / FILE_NAME
    content = path.read_bytes()
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"files": {}}))
    message = refused(raw, tmp_path, capsys, "--generate_mask")
    assert f"{path} is not listed in {manifest}: " in message
    assert "changed" not in message
    assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
    assert (prepared[1] / "masks.jsonl.2").read_bytes() == content


@pytest.mark.parametrize("edited", ["{", None])
def test_a_manifest_that_was_edited_is_kept_and_named(raw, tmp_path, capsys, prepared, edited):
    path = prepared[0] / FILE_NAME
    edited = edited or path.read_text().replace('"referents": 3', '"referents": 33')
    path.write_text(edited)
    assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
    assert path.with_name(f"{FILE_NAME}.2").read_text() == edited
    assert str(path) in capsys.readouterr().out
    assert read_manifest(prepared[0]).splits["train"]["referents"] == 3


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_only_files_in_the_manifest_of_their_folder_are_replaced(raw, tmp_path, prepared, options):
    lines, masks = prepared
    own = [lines / "test.txt", lines / "masks.jsonl", lines / "3.npy", masks / "7.npy"]
    own += [masks / "train.txt", masks / "sub/masks.jsonl"]
    (masks / "sub").mkdir()
    for path in own:
        path.write_text("mine")
    shutil.copy(lines / "val.txt", masks / "val.txt")
    own_ids = state(tmp_path / "out").keys()
    assert run(raw, tmp_path, "--generate_mask", *options) == 0
    assert [path.read_text() for path in own] == ["mine"] * len(own)
    assert state(tmp_path / "out").keys() == own_ids


@pytest.mark.parametrize("name", ["anns/refcoco/testA.txt", "masks/refcoco/17.npy"])
def test_sets_of_unknown_origin_are_not_replaced(raw, tmp_path, capsys, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    message = refused(raw, tmp_path, capsys, "--generate_mask")
    assert f"{path.parent} contains {path.name}, but " in message


@pytest.mark.parametrize("name", ["anns/refcoco", "masks/refcoco"])
def test_a_file_in_place_of_a_folder_is_not_replaced(raw, tmp_path, capsys, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 2
    assert f"{path} is a file, but must be a folder" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_masks_of_unknown_origin_are_not_replaced(raw, tmp_path, capsys):
    assert run(raw, tmp_path) == 0
    masks = tmp_path / "out/masks/refcoco"
    masks.mkdir()
    (masks / "3.npy").write_text("mine")
    for options in ((), ("--generate_mask",)):
        message = refused(raw, tmp_path, capsys, *options)
        assert "contains 3.npy, which was not prepared with" in message
    # Lines without masks would be paired with them.
    assert "contains 3.npy" in refused(raw, tmp_path, capsys, "--overwrite")
    assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
    assert (masks / "3.npy").read_text() == "mine"
    assert (masks / "masks.jsonl").is_file()


def test_lines_and_masks_of_two_divisions_are_refused(raw, tmp_path, prepared):
    google(raw)
    shutil.move(prepared[1], tmp_path / "masks_of_unc")
    assert run(raw, tmp_path, "--split", "google", "--generate_mask", "--overwrite") == 0
    lines = prepared[0] / "val.txt"
    check_pairing(lines, prepared[1])
    with pytest.raises(DataError, match=r"val\.txt: .* of refcoco \(google\) .* refcoco \(unc\)"):
        check_pairing(lines, tmp_path / "masks_of_unc")


def test_sets_without_a_manifest_are_accepted(prepared, tmp_path):
    lines, masks = prepared[0] / "val.txt", prepared[1]
    check_pairing(lines, tmp_path / "nowhere")
    (masks / FILE_NAME).unlink()
    check_pairing(lines, masks)
    check_pairing(tmp_path / "mine.txt", masks)
    check_pairing(lines / "no folder", masks)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "key 'dataset' is missing"),
        (b"{}", "key 'dataset' is missing"),
        (b'{"dataset": 5}', "key 'dataset' is missing or of another type"),
        (b'{"dataset": "a", "division": ""}', "key 'raw_files' is missing"),
    ],
)
def test_damaged_manifests_are_named(tmp_path, content, fault):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(DataError, match=rf"^{tmp_path / FILE_NAME}.*{fault}"):
        check_pairing(tmp_path / "train.txt", tmp_path / "masks")


def test_a_manifest_comes_back_and_its_id_follows_from_the_origin(tmp_path):
    manifest = Manifest("größe", "", {"b": "22", "a": "11"}, True)
    write_manifests(manifest, {"train": []}, [tmp_path])
    counts = {"referents": 0, "expressions": 0, "images": 0}
    assert read_manifest(tmp_path) == replace(manifest, splits={"train": counts})
    same = Manifest("größe", "", {"a": "11", "b": "22"}, False)
    assert same.id == manifest.id
    others = [
        Manifest("b", "", manifest.raw_files, True),
        Manifest("größe", "unc", manifest.raw_files, True),
        Manifest("größe", "", {"a": "11"}, True),
    ]
    assert len({manifest.id, *(other.id for other in others)}) == 4


def test_a_file_is_as_written_if_the_manifest_beside_it_lists_its_content(tmp_path):
    (tmp_path / "train.txt").write_text("a line")
    write_manifests(Manifest("mine", "", {}, True), {}, [tmp_path])
    (tmp_path / "sub").mkdir()
    for name in ("val.txt", "sub/train.txt"):
        (tmp_path / name).write_text("a line")
    names = ("manifest.json", "train.txt", "val.txt", "sub/train.txt", "nowhere.txt")
    assert [is_as_written(tmp_path, Path(name)) for name in names] == [True, True, *[False] * 3]
    (tmp_path / "train.txt").write_text("another line")
    assert not is_as_written(tmp_path, Path("train.txt"))
    (tmp_path / "train.txt").replace(tmp_path / "elsewhere.txt")
    (tmp_path / "elsewhere.txt").write_text("a line")
    (tmp_path / "train.txt").symlink_to("elsewhere.txt")
    assert not is_as_written(tmp_path, Path("train.txt"))
    for damaged in ("", "{}", (tmp_path / FILE_NAME).read_text().replace("mine", "yours")):
        (tmp_path / FILE_NAME).write_text(damaged)
        assert not is_as_written(tmp_path, Path(FILE_NAME))
