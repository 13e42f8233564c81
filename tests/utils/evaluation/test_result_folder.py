"""Which files of a result folder are replaced, removed and kept."""

import json
import os
import threading

import pytest

from config.errors import UserError
from config.files import file_sha256, locked
from utils.evaluation.result_folder import LOCK, ResultFolder, changes

SOURCE = {
    "settings": {"evaluate_model": "a.h5", "use_nls": 1},
    "weights_sha256": "0" * 64,
    "data_sha256": {"evaluate_set": "1"},
}
OTHER = SOURCE | {"weights_sha256": "f" * 64}
TEXT, PICTURES = {"result.txt": b"figures"}, {"pictures.png": b"pixels"}


def write(folder, files, source=SOURCE, overwrite=False, stale=()):
    result = ResultFolder(folder, source)
    result.check(files, overwrite)
    result.write({"det_acc": 0.5, **source}, files, overwrite, stale)


def contents(folder):
    files = [path for path in folder.iterdir() if path.name not in ("result.json", LOCK)]
    return {path.name: path.read_bytes() for path in files}


def recorded(folder):
    return sorted(json.loads((folder / "result.json").read_text())["files"])


def test_old_files_never_stay_beside_results_of_other_weights(tmp_path):
    write(tmp_path, TEXT | PICTURES | {"dump.jsonl": b"{}"})
    assert recorded(tmp_path) == ["dump.jsonl", "pictures.png", "result.txt"]
    (tmp_path / "notes.txt").write_text("mine")
    table = tmp_path / "splits_table.txt"
    table.write_text("table")
    write(tmp_path, {"result.txt": b"new"}, OTHER, overwrite=True, stale=[table])
    assert contents(tmp_path) == {"result.txt": b"new", "notes.txt": b"mine"}
    assert recorded(tmp_path) == ["result.txt"]


def test_files_of_the_same_evaluation_stay(tmp_path):
    write(tmp_path, TEXT | PICTURES)
    table = tmp_path / "splits_table.txt"
    table.write_text("table")
    write(tmp_path, TEXT, stale=[table])
    assert contents(tmp_path) == TEXT | PICTURES | {"splits_table.txt": b"table"}
    assert recorded(tmp_path) == ["pictures.png", "result.txt"]


@pytest.mark.parametrize("name", ["pictures.png", "result.txt"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_are_never_replaced(tmp_path, name, overwrite):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(UserError, match=rf"{name}: was not written by test\.py, or has changed"):
        write(tmp_path, TEXT | PICTURES, overwrite=overwrite)
    assert contents(tmp_path) == {name: b"mine"}
    assert not (tmp_path / "result.json").exists()


def test_files_that_were_changed_are_neither_replaced_nor_removed(tmp_path):
    write(tmp_path, TEXT | PICTURES)
    (tmp_path / "pictures.png").write_bytes(b"cropped")
    with pytest.raises(UserError, match=r"pictures\.png: was not written by test\.py, or has"):
        write(tmp_path, TEXT | PICTURES)
    write(tmp_path, TEXT, OTHER, overwrite=True)
    assert contents(tmp_path) == TEXT | {"pictures.png": b"cropped"}
    assert recorded(tmp_path) == ["result.txt"]


@pytest.mark.parametrize("what", ["result", "file"])
def test_what_appears_after_the_check_is_not_replaced(tmp_path, what):
    slow = ResultFolder(tmp_path, SOURCE)
    slow.check(TEXT, overwrite=False)
    if what == "result":
        write(tmp_path, TEXT | PICTURES, OTHER)
    else:
        (tmp_path / "result.txt").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"results of other weights|was not written by"):
        slow.write(SOURCE, {"result.txt": b"new"}, overwrite=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path in before} == before
    assert not (tmp_path / "result.json").exists() or what == "result"


def test_a_second_process_waits_until_results_are_written(tmp_path, capsys):
    refused = []

    def write_others():
        try:
            write(tmp_path, TEXT, OTHER)
        except UserError as error:
            refused.append(error)

    write(tmp_path, PICTURES, OTHER)
    other = threading.Thread(target=write_others)
    with locked(tmp_path / LOCK, "locked"):
        other.start()
        other.join(0.5)
        assert other.is_alive()
    other.join()
    assert not refused
    assert capsys.readouterr().out == f"another test.py is writing to {tmp_path}; waiting for it\n"
    assert contents(tmp_path) == TEXT | PICTURES


def test_what_killed_processes_left_is_removed(tmp_path):
    for name in ("result.json", "result.txt"):
        (tmp_path / f".{name}.{'0' * 32}.tmp").touch()
    (tmp_path / ".notes.txt.tmp").touch()
    write(tmp_path, TEXT)
    assert contents(tmp_path) == TEXT | {".notes.txt.tmp": b""}


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_link_or_pipe_in_the_place_of_a_result_is_refused(tmp_path, kind):
    path = tmp_path / "result.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"result\.json is (a link|no regular file|a folder), in"):
        write(tmp_path, TEXT, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("found", [b"{", b"[]", b'{"settings": 3}', b"\xff", b"{}"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_another_kind_is_never_replaced(tmp_path, found, overwrite):
    (tmp_path / "result.json").write_bytes(found)
    with pytest.raises(UserError, match=r"result\.json: is not a result of test\.py"):
        write(tmp_path, TEXT, overwrite=overwrite)
    assert (tmp_path / "result.json").read_bytes() == found


def test_files_that_no_result_lists_are_those_of_others(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(SOURCE))
    (tmp_path / "result.txt").write_bytes(b"with notes")
    with pytest.raises(UserError, match=r"result\.txt: was not written by test\.py, or has"):
        write(tmp_path, TEXT, OTHER, overwrite=True)
    assert contents(tmp_path) == {"result.txt": b"with notes"}


def test_records_lead_out_of_the_folder_to_no_file(tmp_path):
    folder, outside = tmp_path / "result", tmp_path / "outside.txt"
    write(folder, TEXT)
    outside.write_bytes(b"mine")
    record = json.loads((folder / "result.json").read_text())
    names = ("../outside.txt", str(outside), "..", "result.json")
    record["files"] |= dict.fromkeys(names, file_sha256(outside))
    (folder / "result.json").write_text(json.dumps(record))
    write(folder, TEXT, OTHER, overwrite=True)
    assert outside.read_bytes() == b"mine"


def test_an_interruption_leaves_no_old_file_beside_new_results(tmp_path, monkeypatch):
    from utils.evaluation import result_folder

    write(tmp_path, TEXT | PICTURES)
    real, calls = result_folder.write_bytes, []

    def interrupted(path, content):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(result_folder, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, TEXT | PICTURES, OTHER, overwrite=True)
    assert contents(tmp_path) == {}
    monkeypatch.undo()
    write(tmp_path, TEXT | PICTURES, OTHER)
    assert contents(tmp_path) == TEXT | PICTURES


def test_results_that_name_no_engine_are_those_of_tensorflow():
    found = {"settings": {"seed": 1}, "weights_sha256": "0"}
    for engine, expected in {"tensorflow": [], "openvino": ["engine"]}.items():
        settings = {"seed": 1, "engine": engine}
        source = {"settings": settings, "data_sha256": {}, "weights_sha256": "0"}
        assert changes(found, source) == expected
