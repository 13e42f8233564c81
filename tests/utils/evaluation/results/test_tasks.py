"""The tasks of an evaluation on splits."""

from data.loading.annotations import Referent, write_annotations
from data.preparation.manifest import Manifest, write_manifests
from utils.evaluation.published import published_scores
from utils.evaluation.results.tasks import SplitTasks

WEIGHTS = "data/weights/mcn_refcoco_darknet.h5"


def test_reviewed_sets_are_not_compared_with_published_figures(tmp_path):
    folder = tmp_path / "refcoco"
    folder.mkdir()
    referents = [Referent("a.png", (0, 0, 9, 9), 0, 1, ("dog",))]
    write_annotations(folder / "val.txt", referents)
    for division, dataset in (("unc", "refcoco"), ("unc, reviewed", "refcoco (reviewed)")):
        manifest = Manifest("refcoco", division, {}, masks=False)
        write_manifests(manifest, {"val": referents}, [folder])
        chosen = SplitTasks(folder / "val.txt", ["val"], tmp_path)
        assert chosen.dataset == dataset
        assert chosen.tasks[0].folder == tmp_path / "refcoco_val"
        compared = bool(published_scores(WEIGHTS, chosen.dataset, 0.5))
        assert compared == (division == "unc")
