"""RefCOCO in Parquet: the same lines and masks as from the original files."""

import json
import pickle

import pytest

pytest.importorskip("pyarrow", reason="pip install -r requirements-parquet.txt")

from tests.data.preparation.raw.parquet_fixtures import refcoco_rows, write_rows
from tests.data.raw_set import FIXTURE, run

# Which rows are in which file, and how their split is called there.
FILES = {"train": "train", "validation": "val", "test": "testA", "testB": "testB"}


@pytest.fixture
def in_parquet(raw):
    """Replaces the raw files by Parquet with rows that a function has changed; their folder."""
    folder = raw.root / "refcoco"
    refs = pickle.loads((FIXTURE / "refcoco/refs(unc).p").read_bytes())
    rows = refcoco_rows(refs, json.loads((FIXTURE / "refcoco/instances.json").read_text()))

    def write(change=lambda row: None):
        for path in folder.iterdir():
            path.unlink()
        for name, split in FILES.items():
            chosen = [dict(row) for row in rows if row["split"] == split]
            for row in chosen:
                change(row)
            write_rows(folder / "data" / f"{name}-00000-of-00001-0a1b.parquet", chosen)
        return folder

    return write


def prepared(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".txt", ".jsonl")
    }


@pytest.mark.parametrize("names", ["of the authors", "of the files"])
def test_lines_masks_and_ids_are_those_of_the_original_files(
    raw, in_parquet, tmp_path, names, capsys
):
    assert run(raw, tmp_path, "--generate_mask") == 0
    original = prepared(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "original")
    aliases = {"val": "validation", "testA": "test"}
    rename = (
        (lambda row: None)
        if names == "of the authors"
        else (lambda row: row.update(split=aliases.get(row["split"], row["split"])))
    )
    in_parquet(rename)
    capsys.readouterr()
    assert run(raw, tmp_path, "--generate_mask") == 0
    found = prepared(tmp_path / "out")
    lines = [path for path in found if path.suffix == ".txt"]
    assert len(lines) == 4
    assert found.keys() == original.keys()
    for path in lines:
        assert found[path] == original[path]
    for path in found.keys() - {*lines}:  # In the order of the splits.
        assert sorted(found[path].splitlines()) == sorted(original[path].splitlines())


def test_the_original_files_are_read_if_both_are_there(raw, in_parquet, tmp_path):
    kept = {path: path.read_bytes() for path in (raw.root / "refcoco").iterdir()}
    in_parquet()
    for path, content in kept.items():
        path.write_bytes(content)
    assert run(raw, tmp_path) == 0
    manifest = json.loads((tmp_path / "out/anns/refcoco/manifest.json").read_text())
    assert set(manifest["raw_files"]) == {"instances.json", "refs(unc).p"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda row: row.update(ref_id=9000), "key 'ref_id' 9000 is also that of an earlier row"),
        (lambda row: row.update(ann_id=5), "row 0: key 'ann_id' is 5, but must be the 'id' of"),
        (lambda row: row.update(image_id=5), "key 'image_id' is 5, but must be the 'id' of"),
        (lambda row: row.update(raw_anns="{"), "row 0: raw_anns:1: not valid JSON"),
        (lambda row: row.update(raw_anns="[]"), "row 0: key 'raw_anns' is"),
        (lambda row: row.update(raw_image_info=None), "key 'raw_image_info' is missing"),
        (lambda row: row.update(split=["val"]), "key 'split' is [\"val\"], but must be one of"),
        (lambda row: row.update(split=None), "key 'split' is missing"),
        (lambda row: row.update(ann_id=None, raw_anns="{}"), "key 'ann_id' is missing, but must"),
        (lambda row: row.update(ann_id=[5], raw_anns='{"id": [5]}'), "key 'ann_id' is [5], but"),
        (lambda row: row.update(image_id=None, raw_image_info="{}"), "key 'image_id' is missing"),
        (lambda row: row.update(split="testC"), "key 'split' is \"testC\""),
        (lambda row: row.update(sentences=None), "key 'sentences' is missing"),
        (lambda row: row.pop("raw_anns"), "has no column 'raw_anns'; its columns are "),
    ],
)
def test_rows_that_cannot_be_used_are_named(raw, in_parquet, tmp_path, capsys, change, fault):
    in_parquet(change)
    assert run(raw, tmp_path) == 2
    message = capsys.readouterr().err
    assert ".parquet: " in message
    assert fault in message
    assert not (tmp_path / "out/anns/refcoco/val.txt").exists()


def test_other_divisions_are_not_published_in_parquet(raw, in_parquet, tmp_path, capsys):
    in_parquet()
    assert run(raw, tmp_path, "--split", "google") == 2
    assert "published only for refcoco (unc), refcoco+ (unc), refcocog (umd)" in (
        capsys.readouterr().err
    )
