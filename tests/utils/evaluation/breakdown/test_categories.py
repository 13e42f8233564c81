"""The names of categories are those that the preparation has recorded."""

import json

from data.preparation.manifest import Manifest, write_manifests
from utils.evaluation.breakdown.categories import category_names


def names_of(folder, **manifest):
    made = {"dataset": "refcoco", "division": "unc", "raw_files": {}, "masks": False}
    write_manifests(Manifest(**(made | manifest)), {}, [folder])
    return category_names(folder / "val.txt")


def test_names_are_those_of_the_manifest(tmp_path):
    names = {"0": "person", "7": "ring"}
    assert names_of(tmp_path, categories=names) == names


def test_sets_without_recorded_names_have_numbers(tmp_path):
    """Those of earlier versions, own data, and lines without a manifest."""
    lines, manifest = tmp_path / "val.txt", tmp_path / "manifest.json"
    assert category_names(lines) == {}
    assert names_of(tmp_path) == {}
    content = json.loads(manifest.read_text())
    assert content.pop("categories") == {}
    manifest.write_text(json.dumps(content))
    assert category_names(lines) == {}
    manifest.write_text(json.dumps(content | {"categories": {"0": [1]}}))
    assert category_names(lines) == {}
