"""What predict.py does with the results of earlier runs, of killed ones and of others meanwhile."""

import hashlib
import io
import itertools
import json
import os
import shutil
import sys

import pytest
from PIL import Image

from config.errors import UserError
from tests.utils.prediction.results import files, prediction, records_in
from utils.prediction.batch import format_records
from utils.prediction.jobs import Job
from utils.prediction.output import Output
from utils.prediction.photographs import source_of


def test_results_that_another_network_wrote_meanwhile_are_refused(tmp_path, predicted):
    folder, job = tmp_path / "out", Job(tmp_path / "photos" / "a.jpg", ("red",))
    slow = Output(folder, [job], "another")
    assert predicted(("a.jpg", ["red"])) == 1
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=r"out holds results of other weights"), slow.opened():
        pass
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_names_that_differ_in_encoding_only_are_two_photographs(tmp_path, predicted):
    names = [os.fsdecode(b"\xff\xfe.png"), "\\xff\\xfe.png", "%FF%FE.png", "\u00ff\u00fe.png"]
    jobs = [(name, ["red"]) for name in names]
    assert predicted(*jobs) == len(names)
    assert predicted(*jobs) == 0
    sources = {record["source"]["path"] for record in records_in(tmp_path / "out")}
    assert len(sources) == len(names)
    for name in names:
        (tmp_path / "photos" / name).write_bytes(b"another photograph")
        assert predicted(*jobs) == 1


@pytest.mark.parametrize("name", ["predictions.jsonl", ".predictions.lock"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_links_and_pipes_in_place_of_files_are_refused(tmp_path, predicted, name, kind):
    folder, target = tmp_path / "out", tmp_path / "others.txt"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to(target)
    if kind == "link":
        target.touch()
    with pytest.raises(UserError, match=rf"{name} is (a link|no regular file|a folder), in the"):
        predicted(("a.jpg", ["red"]))
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_bytes() == b""


DELETED = object()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(
            ["image", "width", "box_xyxy", "score", "mask_area", "seconds", "unknown_words",
             "unread_words"],
            [DELETED, None, {}],
        ),
        ("height", 0), ("box_xyxy", [1, 2, 3]), ("box_xyxy", ["a"] * 4), ("unknown_words", [5]),
        ("found", False), ("seconds", 10**400), ("mask_area", 10**400), ("box_xyxy", [10**400] * 4),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_printed_is_refused(tmp_path, predicted, key, value):
    assert predicted(("a.jpg", ["red"])) == 1
    path = tmp_path / "out" / "predictions.jsonl"
    record = json.loads(path.read_text()) | {"min_score": None}
    path.write_text(json.dumps(record) + "\n")
    assert predicted(("a.jpg", ["red"])) == 0  # So far it can be printed.
    record[key] = value
    if value is DELETED:
        del record[key]
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(UserError, match=r"predictions\.jsonl:1: not a result of predict\.py"):
        predicted(("a.jpg", ["red"]))


def test_records_without_the_fields_of_later_versions_are_kept(tmp_path, predicted):
    assert predicted(("a.jpg", ["red"])) == 1
    path = tmp_path / "out" / "predictions.jsonl"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({k: record[k] for k in record.keys() - {"found", "min_score"}}))
    assert predicted(("a.jpg", ["red"])) == 0
    assert "box 20.1" in format_records(records_in(tmp_path / "out"), None, False)


def _kill_at(moment, folder, jobs, photograph):
    """Runs jobs in a process that is killed at its moment-th change of the disk.

    That is before a file is opened, renamed, removed or truncated, and before and after a write.

    Returns:
        Whether it was killed; otherwise it has finished.
    """
    calls = itertools.count(1)

    def count():
        if next(calls) == moment:
            os.kill(os.getpid(), 9)

    def killing(event, _):
        if event in ("open", "os.rename", "os.remove", "os.truncate"):
            count()

    def killing_writes(_, event, called):
        files = (io.FileIO, io.BufferedWriter, io.BufferedRandom)
        is_write = event in ("c_call", "c_return") and called.__name__ == "write"
        if is_write and isinstance(called.__self__, files):
            count()

    child = os.fork()
    if not child:
        try:
            output = Output(folder, jobs, "a network")
            sys.addaudithook(killing)
            sys.setprofile(killing_writes)
            with output.opened():
                for job in jobs:
                    missing = output.missing(job)
                    output.write(
                        job.image,
                        source_of(job.image),
                        photograph,
                        [prediction(text) for text in missing],
                    )
            sys.setprofile(None)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -9)
    return code == -9


def _current_lines(folder):
    """The complete records that are not out of date."""
    lines = (folder / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    old = hashlib.sha256(b"photograph").hexdigest()
    return [
        line for line in lines
        if line.endswith(b"\n")
        and (b"b.jpg" not in line or json.loads(line)["source"]["sha256"] != old)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_kill_at_any_change_of_the_disk_leaves_no_file_that_is_not_listed(
    tmp_path, predicted, photograph
):
    """Among earlier results, of which those for one photograph are out of date."""
    names = {"a.jpg": ["red", "blue"], "b.jpg": ["red"]}
    jobs = [Job(tmp_path / "photos" / name, tuple(texts)) for name, texts in names.items()]
    predicted(("c.jpg", ["red"]), ("a.jpg", ["green"]), ("b.jpg", ["red", "blue"]))
    shutil.copytree(tmp_path / "out", tmp_path / "earlier")
    (tmp_path / "photos" / "b.jpg").write_bytes(b"another photograph")
    assert predicted(*names.items()) == 3
    whole = files(tmp_path / "out")
    for moment in itertools.count(1):
        folder = tmp_path / str(moment)
        shutil.copytree(tmp_path / "earlier", folder)
        if not _kill_at(moment, folder, jobs, photograph):
            break
        finished = _current_lines(folder)
        predicted(*names.items(), folder=folder)
        assert _current_lines(folder)[: len(finished)] == finished
        assert files(folder) == whole, moment
        assert not list(folder.glob(".*.tmp"))
        assert predicted(*names.items(), folder=folder) == 0
        for record in records_in(folder):
            with Image.open(folder / os.path.basename(record["mask"])) as mask:
                assert (mask.width, mask.height) == (record["width"], record["height"])
    assert moment > 30
