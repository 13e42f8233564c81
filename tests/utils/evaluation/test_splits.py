"""Several splits by one network, each with its own folder, and their table."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest

from config.errors import UserError
from config.run_files.released import SCORES
from config.schema import PROJECT_ROOT, load_config
from model.weights import save_weights
from tests.model.weights.weight_fixtures import fresh_pair, write_published
from tests.tiny import network_config
from utils.evaluation import report as report_module
from utils.evaluation import splits as splits_module
from utils.evaluation.published import is_splits_table, sealed, splits_table
from utils.evaluation.splits import report_splits
from utils.prediction.run_folder import settings_of_weights

RESULTS = {"val": {"det_acc": 0.8, "seg_iou": 0.6312}, "testA": {"det_acc": 0.5, "seg_iou": 0.25}}
CHECKPOINT = "data/weights/mcn_refcoco_darknet.h5"


def test_the_table_compares_with_the_published_figures():
    lines = splits_table(RESULTS, CHECKPOINT, "refcoco").splitlines()
    assert lines[0] == f"RefCOCO: {CHECKPOINT}"
    assert lines[1].split() == ["REC", "Acc@0.5", "RES", "mean", "IoU"]
    assert lines[2].split() == ["ours", "published", "difference"] * 2
    assert lines[3].split() == ["val", "80.00", "80.61", "-0.61", "63.12", "63.12", "+0.00"]
    assert lines[4].split() == ["testA", "50.00", "83.38", "-33.38", "25.00", "65.05", "-40.05"]
    assert len({len(line) for line in lines[2:5]}) == 1
    assert "the authors' README" in lines[5]


@pytest.mark.parametrize(
    ("weights", "dataset", "thresh"),
    [
        ("log/refcoco/best.weights.h5", "refcoco", 0.5),
        ("elsewhere/mcn_refcoco_darknet.h5", "refcoco", 0.5),
        (CHECKPOINT, "refcoco+", 0.5),
        (CHECKPOINT, "refcoco", 0.7),
    ],
)
def test_nothing_is_compared_that_was_not_published(weights, dataset, thresh):
    table = splits_table(RESULTS, weights, dataset, thresh)
    assert "published" not in table
    assert table.splitlines()[-1].split() == ["testA", "50.00", "25.00"]
    assert f"Acc@{thresh:g}" in table


def test_splits_without_published_figures_stand_beside_those_with():
    table = splits_table(RESULTS | {"mine": RESULTS["val"]}, CHECKPOINT, "refcoco")
    assert table.splitlines()[5].split() == ["mine", "80.00", "–", "–", "63.12", "–", "–"]


def test_the_readme_has_the_same_figures():
    text = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    figures = r"([\d.]+) / ([\d.]+)"
    rows = re.findall(rf"^\| (\S+) (\w+) \| {figures} \| {figures} \|$", text, re.MULTILINE)
    folders = {"RefCOCO": "refcoco", "RefCOCO+": "refcoco+", "RefCOCOg": "refcocog",
               "ReferIt": "refclef"}  # fmt: skip
    found: dict = {}
    for name, split, *numbers in rows:
        darknet, vgg = [tuple(map(float, numbers[i : i + 2])) for i in (0, 2)]
        found.setdefault((folders[name], "darknet"), {})[split] = darknet
        found.setdefault((folders[name], "vgg"), {})[split] = vgg
    assert found == SCORES


def test_the_shipped_configs_have_the_same_figures():
    for (dataset, backbone), scores in SCORES.items():
        stem = "config" if dataset == "refcoco" else dataset
        file = f"{stem}{'_vgg' if backbone == 'vgg' else ''}.json"
        about = load_config(PROJECT_ROOT / "config" / file).about[1]
        assert about.startswith(f"Released checkpoint, {' / '.join(scores)} in percent:")
        for index in (0, 1):
            assert " / ".join(f"{pair[index]:.2f}" for pair in scores.values()) in about


@pytest.fixture(scope="module")
def prepared(network, tiny_set, tmp_path_factory):
    """Weights under the name of a checkpoint, and a set with the splits val, testA and testB."""
    root = tmp_path_factory.mktemp("splits")
    anns = root / "anns" / "refcoco"
    anns.mkdir(parents=True)
    for split, source in {"val": "val", "testA": "train", "testB": "val"}.items():
        shutil.copy(tiny_set.root / f"{source}.txt", anns / f"{split}.txt")
    weights = root / "weights" / "tiny.weights.h5"
    save_weights(network(), weights)
    weights.rename(weights.with_name("mcn_refcoco_darknet.h5"))
    config = tiny_set.config(evaluate_set=str(anns / "val.txt"))
    return SimpleNamespace(
        root=root, config=config, weights=str(weights.with_name("mcn_refcoco_darknet.h5"))
    )


@pytest.mark.slow
def test_splits_are_evaluated_by_one_network(prepared, tmp_path, capsys, monkeypatch):
    loaded, load = [], report_module.load_grounder
    monkeypatch.setattr(
        report_module, "load_grounder", lambda config: loaded.append(load(config)) or loaded[-1]
    )
    dump = str(tmp_path / "dump.jsonl")
    arguments = (prepared.config, prepared.weights, ["val", "testA", "testB"], tmp_path)
    report_splits(*arguments, dump=dump)
    assert len(loaded) == 1
    printed = capsys.readouterr().out
    found = {
        split: json.loads((tmp_path / f"refcoco_{split}/result.json").read_text())
        for split in ("val", "testA", "testB")
    }
    assert [found[split]["n_expressions"] for split in found] == [12, 9, 12]
    for split, result in found.items():
        assert result["settings"]["evaluate_set"].endswith(f"refcoco/{split}.txt")
        assert result["settings"]["anchors_px"] == [[20, 24], [40, 40], [60, 50]]
        assert result["settings"]["aspp_dilations"] == [1, 2, 4]
        assert (tmp_path / f"dump_{split}.jsonl").is_file()
    assert found["testA"]["seg_iou"] != found["val"]["seg_iou"] == found["testB"]["seg_iou"]
    table = (tmp_path / "refcoco_splits.txt").read_text()
    assert f"\n{table.rpartition('SHA-256')[0]}" in printed
    assert f"{100 * found['testA']['seg_iou']:.2f}" in table.splitlines()[4]
    assert "83.38" in table.splitlines()[4]
    assert "anchors_px = [[20.0, 24.0]" in (tmp_path / "refcoco_val/result.txt").read_text()
    # The same results may be written again, others not.
    report_splits(*arguments[:2], ["testA"], tmp_path)
    changed = prepared.config.replace(segment_thresh=0.5)
    with pytest.raises(
        UserError, match=r"refcoco_val/result\.json: holds the results of other segm"
    ):
        report_splits(changed, *arguments[1:])


@pytest.mark.slow
def test_weights_that_were_replaced_since_their_settings_were_read_have_no_results(
    prepared, tmp_path
):
    weights = tmp_path / "best.weights.h5"
    shutil.copy(prepared.weights, weights)
    (tmp_path / "config.json").write_text(json.dumps(prepared.config.to_dict()))
    settings = settings_of_weights(weights)
    shutil.copy(prepared.weights, tmp_path / "new")
    (tmp_path / "new").replace(weights)
    output = tmp_path / "result"
    with pytest.raises(UserError, match="was replaced while it was loaded"):
        report_splits(
            settings.config, settings.weights, [], output, check_loaded=settings.check_unchanged
        )
    assert not [*output.rglob("result.*")]


@pytest.mark.slow
def test_a_single_set_keeps_its_folder(prepared, tmp_path, capsys):
    config = prepared.config.replace(evaluate_model=prepared.weights)
    other = prepared.root / "own.weights.h5"
    shutil.copy(prepared.weights, other)
    report_splits(config, str(other), [], tmp_path, "mine")
    assert (tmp_path / "mine/result.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert capsys.readouterr().out.endswith(f"Results are in {tmp_path}/mine/\n")
    report_splits(config, str(other), ["val"], tmp_path, "mine")
    assert (tmp_path / "mine_val/result.json").is_file()


@pytest.mark.slow
def test_a_checkpoint_needs_nothing_but_its_file_and_the_data(prepared, tiny_set, tmp_path, capsys):
    weights = tmp_path / "weights" / "mcn_refcoco_darknet.h5"
    weights.parent.mkdir()
    write_published(weights, fresh_pair("darknet").source)
    paths = tiny_set.paths | {"evaluate_set": prepared.config.evaluate_set}
    # What full-size checkpoints have in common, and what makes this test quick.
    small = ["backbone_blocks=[1,1,2,1,1]", "input_size=64", "word_len=4", "workers=2"]
    overrides = [*small, *(f"{key}={path}" for key, path in paths.items())]
    found = settings_of_weights(weights, None, overrides)
    report_splits(found.config, found.weights, ["val", "testB"], tmp_path / "result")
    table = (tmp_path / "result/refcoco_splits.txt").read_text().splitlines()
    assert [line.split()[2] for line in table[3:5]] == ["80.61", "75.51"]
    settings = json.loads((tmp_path / "result/refcoco_val/result.json").read_text())["settings"]
    assert (settings["backbone"], settings["rnn_cell"]) == ("darknet", "lstm")
    assert "published MCN checkpoint" in capsys.readouterr().out


def test_a_misspelled_split_is_named_with_those_that_exist(prepared, tmp_path):
    with pytest.raises(UserError, match=r"has no vall\.txt; its splits are testA, testB, val"):
        report_splits(prepared.config, prepared.weights, ["val", "vall"], tmp_path)


def test_missing_files_are_listed_once_with_their_commands(prepared, tmp_path):
    config = prepared.config.replace(
        evaluate_set=str(tmp_path / "anns/refcoco/val.txt"), word_embed=str(tmp_path / "none.txt")
    )
    with pytest.raises(UserError) as error:
        report_splits(config, prepared.weights, ["val", "testA"], tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0] == "3 files or folders of this run are missing:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "evaluate_set", "word_embed", "evaluate_set",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_table_of_other_weights_is_removed(prepared, tmp_path):
    own, other = tmp_path / "own.weights.h5", tmp_path / "other.weights.h5"
    shutil.copy(prepared.weights, own)
    other.write_bytes(own.read_bytes() + b"more")
    report_splits(prepared.config, str(own), ["val", "testA"], tmp_path)
    table = tmp_path / "refcoco_splits.txt"
    report_splits(prepared.config, str(own), ["val"], tmp_path)
    assert table.is_file()
    written = table.read_bytes()
    table.write_bytes(written + b"my notes\n")
    report_splits(prepared.config, str(other), ["val"], tmp_path, overwrite=True)
    assert table.read_bytes() == written + b"my notes\n"
    table.write_bytes(written)
    report_splits(prepared.config, str(own), ["val"], tmp_path, overwrite=True)
    assert not table.exists()


@pytest.mark.parametrize("content", [b"", b"my notes\n", b"a\nb\nc\n", b"\xff\n\xff\n"])
def test_a_table_replaces_no_other_file(prepared, tmp_path, content):
    table = tmp_path / "refcoco_splits.txt"
    table.write_bytes(content)
    with pytest.raises(UserError, match=r"refcoco_splits\.txt: exists and is not a table that te"):
        report_splits(prepared.config, prepared.weights, ["val", "testA"], tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [table.name]
    assert table.read_bytes() == content


@pytest.mark.parametrize(("weights", "thresh"), [(CHECKPOINT, 0.5), ("best.weights.h5", 0.75)])
def test_tables_are_recognized_until_they_are_changed(tmp_path, weights, thresh):
    table = tmp_path / "a.txt"
    content = sealed(splits_table(RESULTS, weights, "refcoco", thresh))
    table.write_bytes(content)
    assert is_splits_table(table)
    lines = content.splitlines(keepends=True)
    for changed in (content + b"mine\n", b"mine\n" + content, b"".join(lines[:-1]), lines[-1]):
        table.write_bytes(changed)
        assert not is_splits_table(table)
    assert not is_splits_table(tmp_path / "none.txt")
    assert not is_splits_table(tmp_path)
    table.write_bytes(content)
    (tmp_path / "link.txt").symlink_to(table)
    assert not is_splits_table(tmp_path / "link.txt")


def test_a_table_with_notes_is_neither_replaced_nor_removed(prepared, tmp_path, monkeypatch):
    """Also if the notes were added during the evaluation."""
    table = tmp_path / "refcoco_splits.txt"
    noted = sealed(splits_table(RESULTS, "own.h5", "refcoco")) + b"my notes\n"
    arguments = (prepared.config, prepared.weights, ["val", "testA"], tmp_path)
    table.write_bytes(noted)
    with pytest.raises(UserError, match=r"refcoco_splits\.txt: exists and is not a table that"):
        report_splits(*arguments, overwrite=True)
    table.unlink()
    monkeypatch.setattr(
        splits_module, "report_tasks", lambda *_: table.write_bytes(noted) and [*RESULTS.values()]
    )
    with pytest.raises(UserError, match=r"refcoco_splits\.txt: exists and is not a table that"):
        report_splits(*arguments)
    assert table.read_bytes() == noted


def test_a_dump_is_not_the_table_of_the_splits(tiny_set, tmp_path):
    table = tmp_path / "mine_splits.txt"
    with pytest.raises(UserError, match="is the file of the table of splits"):
        report_splits(
            tiny_set.config(), "w.h5", ["val"], tmp_path, "mine", dump=str(table), overwrite=True
        )
    assert list(tmp_path.iterdir()) == []


def test_masks_need_a_dump(tmp_path):
    with pytest.raises(UserError, match=r"--dump_masks .*; name its file with --dump"):
        report_splits(network_config(), "none.h5", ["val"], tmp_path, dump_masks=True)
