"""What several tests of data/ share."""

import json
import pickle
import shutil

import pytest

from tests.data.raw_set import FIXTURE


@pytest.fixture
def raw(tmp_path):
    """A function that changes the files of the raw set in the folder `raw.root`."""
    folder = tmp_path / "raw" / "refcoco"
    shutil.copytree(FIXTURE / "refcoco", folder)

    def change(change_refs=None, change_instances=None, dataset="refcoco", split="unc"):
        refs = pickle.loads((folder / "refs(unc).p").read_bytes())
        instances = json.loads((folder / "instances.json").read_text())
        if change_refs:
            change_refs(refs)
        if change_instances:
            change_instances(instances)
        other = folder.parent / dataset
        other.mkdir(exist_ok=True)
        (other / f"refs({split}).p").write_bytes(pickle.dumps(refs, 2))
        (other / "instances.json").write_text(json.dumps(instances))

    change.root = folder.parent
    return change
