"""What takes the place of a dump during an evaluation is kept, and so is the dump."""

import json

import pytest

from config.errors import UserError
from utils.evaluation.result_folder import ResultFolder
from utils.evaluation.results import writing
from utils.evaluation.results.writing import Task, write_results

SOURCE = {"settings": {}, "data_sha256": {}, "weights_sha256": "0" * 64}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_appears_while_another_process_holds_the_folder_is_kept(
    tmp_path, monkeypatch, overwrite
):
    dump = tmp_path / "dump.jsonl"
    write = ResultFolder.write

    def interrupted(self, *arguments):
        dump.write_text("mine")
        return write(self, *arguments)

    monkeypatch.setattr(ResultFolder, "write", interrupted)
    task = Task("val.txt", tmp_path / "result", dump)
    with pytest.raises(UserError, match=r"dump\.jsonl: exists .* is in .*dump\.jsonl\.2$"):
        write_results(task, SOURCE, SOURCE, {"result.txt": b"table"}, b"dumped", overwrite)
    assert dump.read_text() == "mine"
    assert (tmp_path / "dump.jsonl.2").read_bytes() == b"dumped"
    assert json.loads((tmp_path / "result" / "result.json").read_text())


def test_a_file_that_appears_at_the_last_moment_is_kept(tmp_path, monkeypatch):
    dump = tmp_path / "dump.jsonl"
    monkeypatch.setattr(writing, "check_dump", lambda *_: dump.write_text("mine"))
    task = Task("val.txt", tmp_path / "result", dump)
    with pytest.raises(UserError, match=r"dump\.jsonl\.2$"):
        write_results(task, SOURCE, SOURCE, {"result.txt": b"table"}, b"dumped", False)
    assert dump.read_text() == "mine"
