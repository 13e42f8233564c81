"""The files and the table that an evaluation writes."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from config.errors import NoSpaceError, UserError
from data.loading.errors import DataError
from data.loading.masks import write_masks
from model.weights import WeightsError, save_weights
from tests.tiny import NETWORK
from utils.evaluation import report as report_module
from utils.evaluation.evaluator import build_evaluator
from utils.evaluation.report import report
from utils.evaluation.result_folder import LOCK
from utils.evaluation.results.measurement import DUMPED, EARLIER

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def networks_of_equal_files_are_loaded_once():
    """Most of these tests are about files; building and tracing a network takes seconds."""
    load, loaded = report_module.load_grounder, {}

    def load_once(config):
        if not Path(config.evaluate_model).is_file():
            return load(config)
        files = (config.evaluate_model, config.anchors_file)
        key = (*files, *(Path(file).read_bytes() for file in files))
        key += tuple(str(getattr(config, name)) for name in (*NETWORK, "backbone", "rnn_cell"))
        if key not in loaded:
            loaded[key] = load(config)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_module, "load_grounder", load_once)
        yield


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    save_weights(network(), path)
    return str(path)


@pytest.fixture(scope="module")
def reported(tiny_set, weights, tmp_path_factory):
    """(config, folder of the results, table, dumped lines)."""
    root = tmp_path_factory.mktemp("reported")
    config = tiny_set.config(segment_thresh=0.4, det_acc_thresh=0.2)
    folder = root / "result" / "tiny"
    table = report(config, folder, weights, str(root / "out" / "dump.jsonl"), pictures=2)
    lines = (root / "out" / "dump.jsonl").read_text(encoding="utf-8").splitlines()
    return config, folder, table, [json.loads(line) for line in lines]


def test_results_are_those_of_the_evaluation(reported, grounder):
    config, folder, _, _ = reported
    evaluator = build_evaluator(config)
    expected = evaluator.evaluate(grounder, NETWORK["word_len"])
    written = json.loads((folder / "result.json").read_text())
    for key, value in expected.items():
        assert written[key] == pytest.approx(value, abs=1e-6), key


def test_results_are_written_with_the_settings_they_depend_on(reported, weights):
    config, folder, table, _ = reported
    written = json.loads((folder / "result.json").read_text())
    assert written["settings"]["segment_thresh"] == 0.4
    assert written["settings"]["evaluate_model"] == weights
    assert written["settings"]["anchors_file"] == config.anchors_file
    assert written["settings"]["aspp_dilations"] == config.aspp_dilations
    assert written["versions"]["tensorflow"]
    assert written["versions"]["device"]
    text = (folder / "result.txt").read_text(encoding="utf-8")
    assert text.startswith(table)
    assert "segment_thresh = 0.4\n" in text
    assert "Acc@0.2" in table
    assert "12 expressions" in table


def test_dump_has_one_line_per_expression_in_the_order_of_the_set(reported, tiny_set):
    lines = reported[3]
    expected = [(r.image, e) for r in tiny_set.val for e in r.expressions]
    assert [(line["image"], line["expression"]) for line in lines] == expected
    written = json.loads((reported[1] / "result.json").read_text())
    ious = [line["seg_iou"] for line in lines]
    assert np.mean(ious) == pytest.approx(written["seg_iou"])
    assert np.mean([line["det_iou"] > 0.2 for line in lines]) == pytest.approx(written["det_acc"])


def test_dump_has_the_truth_and_the_pixels_of_each_mask(reported, tiny_set):
    expected = [(r.mask_id, list(r.box_xyxy_px)) for r in tiny_set.val for _ in r.expressions]
    lines = reported[3]
    assert [(line["ref_id"], line["true_box_xyxy"]) for line in lines] == expected
    for line in lines:
        assert line["seg_iou"] == pytest.approx(line["intersection"] / line["union"], abs=1e-9)
        assert "mask" not in line


def test_masks_are_dumped_on_request(reported, tiny_set, weights, tmp_path):
    config, _, _, lines = reported
    dump = tmp_path / "dump.jsonl"
    report(config, tmp_path / "result", weights, dump, dump_masks=True)
    referents = [r for r in tiny_set.val for _ in r.expressions]
    for text, plain, referent in zip(dump.read_text().splitlines(), lines, referents, strict=True):
        line = json.loads(text)
        mask = coco_mask.decode(line.pop("mask"))
        assert line.keys() == plain.keys()
        truth = np.load(tiny_set.masks / f"{referent.mask_id}.npy")
        assert mask.shape == truth.shape
        assert (line["intersection"], line["union"]) == ((mask & truth).sum(), (mask | truth).sum())
    with pytest.raises(UserError, match=r"exists already; .*--overwrite"):
        report(config, tmp_path / "result", weights, dump)


def test_the_start_is_reported(tiny_set, weights, tmp_path, capsys):
    config, val = tiny_set.config(evaluate_model=weights), str(tiny_set.root / "val.txt")
    table = report(config, tmp_path)
    assert table.startswith(val)
    start = capsys.readouterr().out.split("\n" + val)[0].splitlines()
    device, data, loaded, *_, output = start
    assert device.startswith("device: ")
    assert data == (
        "data: 12 expressions in 4 images; 1 of 16 words has no vector, see data/check.py"
    )
    assert loaded.startswith(weights)
    [parameters] = [line for line in start if line.startswith("parameters")]
    assert re.fullmatch(r"parameters: [\d,]+ trained, [\d,]+ frozen", parameters)
    changed = "\n".join(start[start.index(parameters) + 1 : -1])
    assert changed.startswith("settings other than the defaults:")
    assert "input_size=96" in changed
    assert "batch_size" not in changed  # Without effect on an evaluation.
    assert output == f"output: {tmp_path}/"


def test_groups_and_intervals_are_written_and_on_request_printed(reported, weights, capsys):
    config, folder, table, lines = reported
    written = json.loads((folder / "result.json").read_text())
    low, high = written["intervals_95"]["seg_iou"]
    assert low < written["seg_iou"] < high
    sizes = written["breakdown"]["size"]
    assert sum(group["n_expressions"] for group in sizes.values()) == len(lines) == 12
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (row["true_box_xyxy"] for row in lines)]
    small = [row["seg_iou"] for row, area in zip(lines, areas, strict=True) if area < 32**2]
    assert sizes["small"]["n_expressions"] == len(small) > 0
    assert sizes["small"]["seg_iou"] == pytest.approx(np.mean(small))
    assert "size of the object" not in (folder / "result.txt").read_text()
    capsys.readouterr()
    assert report(config, folder, weights, breakdown=True) == table
    shown = capsys.readouterr().out.split(table)[1]
    assert "size of the object\n  small" in shown
    text = (folder / "result.txt").read_text()
    assert text.startswith(table + shown.rstrip())
    assert "segment_thresh = 0.4\n" in text


def test_pictures(reported):
    with Image.open(reported[1] / "pictures.png") as sheet:
        assert sheet.width > 200
        assert sheet.height > 200


def test_nothing_is_written_for_weights_that_do_not_fit(tiny_set, weights, tmp_path):
    other = tiny_set.config(evaluate_model=weights, rnn_cell="gru")
    with pytest.raises(WeightsError, match="rnn_cell=lstm"):
        report(other, tmp_path / "result")
    missing = tiny_set.config(evaluate_model=str(tmp_path / "none.weights.h5"))
    with pytest.raises((WeightsError, OSError), match=r"none\.weights\.h5"):
        report(missing, tmp_path / "result")
    assert not (tmp_path / "result").exists()


def test_nothing_is_written_for_a_set_that_cannot_be_read(tiny_set, weights, tmp_path):
    config = tiny_set.config(evaluate_model=weights, image_path=str(tmp_path))
    with pytest.raises(DataError, match=r"a\.png: no such image"):
        report(config, tmp_path / "result")
    assert not (tmp_path / "result").exists()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}


def test_the_same_evaluation_may_be_repeated(tiny_set, weights, tmp_path):
    folder, copy = tmp_path / "result", tmp_path / "copy.weights.h5"
    first = report(tiny_set.config(), folder, weights)
    shutil.copy(weights, copy)
    assert report(tiny_set.config(), folder, copy) == first


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"segment_thresh": 0.6, "use_nls": 0}, "other segment_thresh, use_nls; give"),
        ({"det_acc_thresh": 0.6}, "other det_acc_thresh; give"),
    ],
)
def test_results_of_other_settings_are_not_replaced(reported, weights, tiny_set, changes, what):
    config, folder, _, _ = reported
    before = contents(folder)
    with pytest.raises(UserError, match=rf"result\.json: holds the results of {what}.*--overwrite"):
        report(config.replace(**changes), folder, weights)
    assert contents(folder) == before


def test_results_of_other_weights_are_replaced_only_on_request(tiny_set, weights, tmp_path):
    folder, other = tmp_path / "result", tmp_path / "best.weights.h5"
    report(tiny_set.config(), folder, weights)
    before = contents(folder)
    # The same name and settings, but another network: trained further, for example.
    other.write_bytes(Path(weights).read_bytes() + b"more")
    with pytest.raises(UserError, match=r"the results of other weights; give .* by --name"):
        report(tiny_set.config(), folder, other)
    assert contents(folder) == before
    report(tiny_set.config(), folder, other, overwrite=True)
    assert contents(folder) != before


def test_old_pictures_and_dumps_never_stay_beside_new_figures(tiny_set, weights, tmp_path):
    folder, other = tmp_path / "result", tmp_path / "best.weights.h5"
    report(tiny_set.config(), folder, weights, folder / "dump.jsonl", pictures=1)
    (folder / "notes.txt").write_text("mine")
    report(tiny_set.config(), folder, weights)
    assert {*contents(folder)} == {
        "dump.jsonl", "index.html", "notes.txt", "pictures.png", "result.json", "result.txt",
    }  # fmt: skip
    other.write_bytes(Path(weights).read_bytes() + b"more")
    report(tiny_set.config(), folder, other, overwrite=True)
    assert {*contents(folder)} == {"notes.txt", "result.json", "result.txt"}


@pytest.mark.parametrize("fields", [DUMPED, EARLIER, (*DUMPED, "mask")])
def test_a_dump_is_replaced_only_on_request(tiny_set, weights, tmp_path, fields):
    dump = tmp_path / "dump.jsonl"
    dump.write_text(json.dumps(dict.fromkeys(fields, 0)) + "\n")
    before = dump.read_bytes()
    with pytest.raises(UserError, match=r"dump\.jsonl: exists already; .*--overwrite"):
        report(tiny_set.config(), tmp_path / "result", weights, dump)
    assert dump.read_bytes() == before
    assert list(tmp_path.iterdir()) == [dump]
    report(tiny_set.config(), tmp_path / "result", weights, dump, overwrite=True)
    assert len(dump.read_text().splitlines()) == 12


def test_a_dump_in_the_folder_of_the_result_is_not_replaced_once_it_was_changed(
    tiny_set, weights, tmp_path
):
    dump = tmp_path / "dump.jsonl"
    report(tiny_set.config(), tmp_path, weights, dump)
    report(tiny_set.config(), tmp_path, weights, dump, overwrite=True)
    changed = dump.read_bytes() + dump.read_bytes()
    dump.write_bytes(changed)
    with pytest.raises(UserError, match=r"dump\.jsonl: was not written by test\.py, or has"):
        report(tiny_set.config(), tmp_path, weights, dump, overwrite=True)
    assert dump.read_bytes() == changed


@pytest.mark.parametrize(
    "content", [b"no dump\n", b'{"image": "a.png"}\n', b"[1]\n", b"\x89HDF\r\n", None]
)
def test_a_dump_never_replaces_what_is_no_dump(tiny_set, weights, tmp_path, content):
    dump = tmp_path / "dump.jsonl"
    dump.mkdir() if content is None else dump.write_bytes(content)
    with pytest.raises(UserError, match=r"dump\.jsonl: exists and is not a dump of test\.py"):
        report(tiny_set.config(), tmp_path / "result", weights, dump, overwrite=True)
    assert list(tmp_path.iterdir()) == [dump]
    assert content is None or dump.read_bytes() == content


def test_a_dump_never_replaces_a_link(tiny_set, weights, tmp_path):
    (tmp_path / "dump.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"dump\.jsonl: exists and is not a dump of test\.py"):
        report(tiny_set.config(), tmp_path, weights, tmp_path / "dump.jsonl", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["dump.jsonl"]


@pytest.mark.parametrize("what", ["result", "file", "dump"])
def test_results_that_appear_during_the_evaluation_are_kept_and_so_are_its_own(
    tiny_set, weights, tmp_path, monkeypatch, what
):
    folder, dump, other = tmp_path / "result", tmp_path / "d.jsonl", tmp_path / "other.weights.h5"
    other.write_bytes(Path(weights).read_bytes() + b"more")
    evaluate, before = report_module.Evaluator.evaluate, {}

    def meanwhile(self, *arguments, **named):
        monkeypatch.undo()
        if what == "result":
            report(tiny_set.config(), folder, other, folder / "others.jsonl")
        elif what == "file":
            folder.mkdir()
            (folder / "result.txt").write_text("mine")
        else:
            dump.write_text("mine")
        before.update(everything())
        return evaluate(self, *arguments, **named)

    def everything():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    monkeypatch.setattr(report_module.Evaluator, "evaluate", meanwhile)
    with pytest.raises(UserError, match=r"; the results of this evaluation are in .*result\.2/$"):
        report(tiny_set.config(), folder, weights, dump, pictures=1)
    assert before.items() <= everything().items()
    kept = tmp_path / "result.2"
    assert {*contents(kept)} == {
        "result.json", "result.txt", "pictures.png", "index.html", "dump.jsonl",
    }  # fmt: skip
    assert len((kept / "dump.jsonl").read_text().splitlines()) == 12
    assert dump.exists() == (what == "dump")


@pytest.mark.parametrize("name", ["result.json", "result.txt", "pictures.png", "index.html", LOCK])
def test_a_dump_is_no_file_of_the_results(tiny_set, weights, tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}: is a file of the results"):
        report(tiny_set.config(), tmp_path, weights, tmp_path / name, overwrite=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["dump", "result"])
def test_folders_are_checked_before_the_evaluation(tiny_set, weights, tmp_path, what, capsys):
    (tmp_path / "file").write_text("mine")
    places = {"dump": tmp_path / "dump.jsonl", "result": tmp_path / "result"}
    places[what] = tmp_path / "file" / "sub" / "name"
    with pytest.raises(UserError, match="file is not a folder"):
        report(tiny_set.config(), places["result"], weights, places["dump"])
    assert "Acc@" not in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("change", ["seg_gt_path", "image_path", "evaluate_set", "masks.jsonl"])
def test_results_of_other_data_are_not_replaced(tiny_set, weights, tmp_path, change):
    masks, val = tmp_path / "masks", tmp_path / "val.txt"
    masks.mkdir()
    referents = tiny_set.val
    arrays = [(r.mask_id, np.load(tiny_set.masks / f"{r.mask_id}.npy")) for r in referents]
    write_masks(masks, arrays)
    shutil.copy(tiny_set.root / "val.txt", val)
    config = tiny_set.config(seg_gt_path=str(masks), evaluate_set=str(val))
    report(config, tmp_path / "result", weights)
    before, what = contents(tmp_path / "result"), change
    if change == "masks.jsonl":
        write_masks(masks, [(number, 1 - array) for number, array in arrays])
        what = "contents of masks.jsonl"
    elif change == "evaluate_set":
        val.write_text("".join(val.read_text().splitlines(keepends=True)[1:]))
        what = "contents of evaluate_set"
    else:
        folder = tmp_path / "other"
        shutil.copytree(getattr(config, change), folder)
        config = config.replace(**{change: str(folder)})
    with pytest.raises(UserError, match=rf"the results of other {what}; give"):
        report(config, tmp_path / "result", weights)
    assert contents(tmp_path / "result") == before


def test_results_of_other_word_vectors_are_not_replaced(tiny_set, weights, tmp_path, capsys):
    words = tmp_path / "words.txt"
    shutil.copy(tiny_set.config().word_embed, words)
    config = tiny_set.config(word_embed=str(words))
    report(config, tmp_path / "result", weights)
    before = contents(tmp_path / "result")
    lines = words.read_text().splitlines(keepends=True)
    words.write_text("".join(reversed(lines)))  # The same vectors.
    report(config, tmp_path / "result", weights)
    capsys.readouterr()
    words.write_text("".join(lines).replace(" 0.", " 0.1"))
    with pytest.raises(UserError, match=r"the results of other contents of word_embed; give"):
        report(config, tmp_path / "result", weights)
    assert "Acc@" not in capsys.readouterr().out
    assert contents(tmp_path / "result").keys() == before.keys()


def test_results_of_earlier_versions_do_not_say_which_data_they_are_of(tiny_set, weights, tmp_path):
    report(tiny_set.config(), tmp_path, weights)
    path = tmp_path / "result.json"
    written = json.loads(path.read_text())
    del written["data_sha256"], written["settings"]["seg_gt_path"]
    path.write_text(json.dumps(written))
    report(tiny_set.config(), tmp_path, weights)
    assert "data_sha256" in json.loads(path.read_text())


def test_a_full_disk_leaves_no_partial_file_and_the_table_is_printed(
    tiny_set, weights, tmp_path, small_disk, capsys
):
    disk = small_disk(4096)
    (disk / "filler").write_bytes(bytes(4096))
    with pytest.raises(NoSpaceError, match=r"dump\.jsonl: needs .*the disk is full"):
        report(tiny_set.config(), tmp_path / "result", weights, disk / "dump.jsonl")
    assert [path.name for path in disk.iterdir()] == ["filler"]
    assert "Acc@0.5" in capsys.readouterr().out
    with pytest.raises(NoSpaceError, match=r"result\.json: .*the disk is full"):
        report(tiny_set.config(), disk / "result", weights)
    assert contents(disk / "result") == {}


@pytest.mark.parametrize(
    ("name", "what"), [("best.weights.h5", "weights"), ("val.txt", "contents of evaluate_set")]
)
def test_files_that_are_replaced_while_they_are_loaded_are_refused(
    tiny_set, weights, tmp_path, monkeypatch, name, what
):
    for path in (weights, tiny_set.root / "val.txt"):
        shutil.copy(path, tmp_path / Path(path).name)
    (tmp_path / Path(weights).name).rename(tmp_path / "best.weights.h5")
    load = report_module.load_grounder

    def replaced_meanwhile(config):
        grounder = load(config)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
        return grounder

    monkeypatch.setattr(report_module, "load_grounder", replaced_meanwhile)
    config = tiny_set.config(evaluate_set=str(tmp_path / "val.txt"))
    with pytest.raises(UserError, match=rf"val\.txt .*: {what} changed while they were loaded"):
        report(config, tmp_path / "result", tmp_path / "best.weights.h5")
    assert not (tmp_path / "result").exists()


def test_skipped_images_are_listed(tiny_set, weights, tmp_path, capsys):
    shutil.copytree(tiny_set.images, tmp_path / "images")
    (tmp_path / "images/b.png").write_bytes(b"")
    config = tiny_set.config(image_path=str(tmp_path / "images"), on_bad_sample="skip")
    report(config, tmp_path / "result", weights, tmp_path / "dump.jsonl", pictures=3)
    written = json.loads((tmp_path / "result/result.json").read_text())
    [skipped] = written["skipped"]
    assert (skipped["image"], skipped["expressions"]) == ("b.png", 3)
    assert "images/b.png: not a readable image" in skipped["reason"]
    assert written["n_expressions"] == 9
    assert len((tmp_path / "dump.jsonl").read_text().splitlines()) == 9
    said = capsys.readouterr().err.splitlines()
    start = said.index("1 image with 3 expressions cannot be used and were skipped:")
    assert said[start + 1] == "  " + skipped["reason"]
    with Image.open(tmp_path / "result/pictures.png") as sheet:
        assert sheet.width > 200
