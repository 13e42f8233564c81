"""The files that predict.py writes and the text it prints, without a network."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from config.errors import NoSpaceError, UserError
from tests.utils.prediction.results import files, prediction, records_in
from utils.prediction import output as output_module
from utils.prediction.batch import format_records
from utils.prediction.jobs import Job
from utils.prediction.output import Output
from utils.prediction.photographs import source_of
from utils.visualization.gallery import gallery
from utils.visualization.palette import PREDICTED
from utils.visualization.results_page import results_page


def test_everything_is_written(tmp_path, photograph):
    job = Job(tmp_path / "photo.jpg", ("red", "the café"))
    folder = tmp_path / "new" / "out"
    output = Output(folder, [job], "a network")
    with output.opened():
        output.write(
            job.image,
            source_of(job.image),
            photograph,
            [prediction(text) for text in job.expressions],
        )
        records = output.records(job)
        # An interruption at this point leaves the records written so far.
        assert records_in(folder) == records
    first, second = records
    assert second["expression"] == "the café"
    assert first["box_xyxy"] == [20.12, 10, 70, 30.5]
    assert (first["width"], first["height"], first["mask_area"]) == (80, 60, 1000)
    np.testing.assert_array_equal(coco_mask.decode(first["mask_rle"]), prediction("").mask)
    mask = np.asarray(Image.open(folder / "photo_1_red_mask.png"))
    np.testing.assert_array_equal(mask, 255 * prediction("").mask.astype(np.uint8))
    assert first["picture"] == str(folder / "photo_1_red.png")
    with Image.open(first["picture"]) as picture:
        assert picture.width == 480
    assert files(folder) == [
        "photo_1_red.png", "photo_1_red_mask.png", "photo_2_the-café.png",
        "photo_2_the-café_mask.png", "predictions.jsonl",
    ]  # fmt: skip


def test_names_do_not_collide(tmp_path, predicted):
    for name in ("x", "y"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    names = ("x/a.jpg", "y/a.jpg", "a_1.jpg", "a.png", "a_1_mask.png")
    assert predicted(*[(name, ["red"]) for name in names]) == len(names)
    assert len({record["picture"] for record in records_in(tmp_path / "out")}) == len(names)
    assert len(files(tmp_path / "out")) == 2 * len(names) + 1


def test_numbers_go_on_in_later_runs(tmp_path, predicted):
    assert predicted(("a.jpg", ["red"])) == 1
    assert predicted(("a.jpg", ["red", "A box?", "?!"])) == 2
    names = [Path(record["picture"]).name for record in records_in(tmp_path / "out")]
    assert names == ["a_1_red.png", "a_2_a-box.png", "a_3.png"]


def test_nothing_is_written_before_it_is_opened(tmp_path):
    Output(tmp_path / "out", [Job(tmp_path / "a.jpg", ("red",))], "a network")
    assert list(tmp_path.iterdir()) == []


def test_the_same_command_continues(tmp_path, predicted):
    jobs = [("a.jpg", ["red", "blue"]), ("b.jpg", ["red"])]
    assert predicted(jobs[0]) == 2
    written = {path: path.read_bytes() for path in (tmp_path / "out").glob("a*")}
    assert predicted(*jobs) == 1
    assert predicted(*jobs) == 0
    assert predicted(("a.jpg", ["green", "red", "green"])) == 1
    assert len(records_in(tmp_path / "out")) == 4
    assert {path: path.read_bytes() for path in written} == written


def test_results_of_other_jobs_are_counted(tmp_path, predicted):
    predicted(("a.jpg", ["red", "blue"]), ("b.jpg", ["red"]))
    jobs = [Job(tmp_path / "photos" / "a.jpg", ("red", "red"))]
    output = Output(tmp_path / "out", jobs, "a network")
    with output.opened():
        assert output.count_others(jobs) == 2
        assert output.count_others([]) == 3


def test_results_of_two_networks_are_not_mixed(tmp_path, predicted):
    job = ("a.jpg", ["red", "blue"])
    assert predicted(job) == 2
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UserError, match=r"out holds results of other weights.*--overwrite"):
        predicted(job, network="another")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "out" / "notes_1.png").write_text("of the user")
    assert predicted(("b.jpg", ["red"]), network="another", overwrite=True) == 1
    assert files(tmp_path / "out") == [
        "b_1_red.png", "b_1_red_mask.png", "notes_1.png", "predictions.jsonl",
    ]  # fmt: skip


def test_records_of_former_versions_count_as_another_network(tmp_path, predicted):
    folder = tmp_path / "out"
    folder.mkdir()
    record = {"image": "a.jpg", "expression": "x", "picture": "o/a_1.png", "mask": "o/a_1_mask.png"}
    (folder / "predictions.jsonl").write_text(json.dumps(record) + "\n")
    for name in ("a_1.png", "a_1_mask.png", "a_2.png"):
        (folder / name).touch()
    with pytest.raises(UserError, match="other weights or settings"):
        predicted(("a.jpg", ["red"]))
    assert predicted(("a.jpg", ["red"]), overwrite=True) == 1
    # Nothing tells whether the former files were changed since.
    assert files(folder) == [
        "a_1.png", "a_1_mask.png", "a_2.png", "a_3_red.png", "a_3_red_mask.png",
        "predictions.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        "earlier\n",
        "[]\n",
        '{"id": 1}\n',
        '{"image": "a", "expression": "x", "picture": "../a.txt", "mask": "/etc/passwd"}\n',
        '{"expression": "x", "picture": "a_1.png", "mask": "a_1_mask.png", "network": "n"}\n',
        '{"expression": "x", "picture": "a_1.png", "mask": "a_1_mask.png", "source": 1}\n',
        "[" * 100_000 + "\n",
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_another_kind_is_refused(tmp_path, predicted, content, overwrite):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "predictions.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"predictions\.jsonl:1: not a result of predict\.py"):
        predicted(("a.jpg", ["red"]), overwrite=overwrite)
    assert (folder / "predictions.jsonl").read_text() == content


def test_overwriting_removes_files_of_the_folder_only(tmp_path, predicted):
    assert predicted(("a.jpg", ["red"])) == 1
    (tmp_path / "b_1.png").touch()
    path = tmp_path / "out" / "predictions.jsonl"
    path.write_text(path.read_text().replace("a_1_red.png", "../b_1.png"))
    assert predicted(("a.jpg", ["red"]), overwrite=True) == 1
    assert (tmp_path / "b_1.png").exists()


def test_files_of_others_are_never_replaced(tmp_path, predicted):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a_1.png").write_text("of the user")
    (folder / "a_2_mask.png").symlink_to(tmp_path / "nowhere")
    assert predicted(("a.jpg", ["red"])) == 1
    assert (folder / "a_1.png").read_text() == "of the user"
    assert records_in(folder)[0]["picture"] == str(folder / "a_3_red.png")
    assert not (tmp_path / "nowhere").exists()


def test_the_record_of_a_killed_process_is_dropped(tmp_path, predicted):
    assert predicted(("a.jpg", ["red", "blue"])) == 2
    path = tmp_path / "out" / "predictions.jsonl"
    content = path.read_bytes()
    for length in (content.index(b"\n") + 2, len(content) - 2):
        path.write_bytes(content[:length])
        for file in (tmp_path / "out").glob("a_[3-9]*"):
            file.unlink()
        assert predicted(("a.jpg", ["red", "blue"])) == 1
        assert [r["expression"] for r in records_in(tmp_path / "out")] == ["red", "blue"]
    path.write_bytes(content[:-1])  # Complete except for its line end.
    assert predicted(("a.jpg", ["red", "blue"])) == 0


def test_a_result_whose_photograph_or_picture_changed_is_replaced(tmp_path, predicted):
    job = ("a.jpg", ["red", "blue"])
    assert predicted(job) == 2
    (tmp_path / "out" / "a_1_red_mask.png").unlink()
    assert predicted(job) == 1
    assert len(records_in(tmp_path / "out")) == 2
    (tmp_path / "photos" / "a.jpg").write_bytes(b"another photograph")
    assert predicted(job) == 2
    assert len(files(tmp_path / "out")) == 5
    (tmp_path / "photos" / "a.jpg").unlink()
    assert predicted(("b.jpg", ["red"])) == 1
    assert len(records_in(tmp_path / "out")) == 3


def test_a_photograph_counts_by_its_content_and_not_by_size_and_time(tmp_path, predicted):
    job, photo = ("a.jpg", ["red", "blue"]), tmp_path / "photos" / "a.jpg"
    assert predicted(job) == 2
    before = photo.stat()
    photo.write_bytes(photo.read_bytes()[::-1])
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert predicted(job) == 2
    os.utime(photo, (0, 0))
    assert predicted(job) == 0


def test_photographs_of_other_runs_are_not_read(tmp_path, predicted, monkeypatch):
    """A loop over photographs would read all earlier ones each time."""
    photos, read = tmp_path / "photos", []
    assert predicted(("a.jpg", ["red"]), ("b.jpg", ["red"])) == 2

    def reading(image):
        read.append(image.name)
        return source_of(image)

    monkeypatch.setattr(output_module, "source_of", reading)
    (photos / "a.jpg").write_bytes(b"another photograph")
    assert predicted(("b.jpg", ["red", "blue"]), ("c.jpg", ["red"])) == 2
    assert read == ["b.jpg"]
    assert len(records_in(tmp_path / "out")) == 4
    assert predicted(("a.jpg", ["red"])) == 1  # It has changed since.
    assert read == ["b.jpg", "a.jpg"]


def test_records_of_former_versions_without_the_checksum_of_the_photograph_are_replaced(
    tmp_path, predicted
):
    job, photo = ("a.jpg", ["red"]), tmp_path / "photos" / "a.jpg"
    assert predicted(job) == 1
    (record,) = records_in(tmp_path / "out")
    stat = photo.stat()
    del record["source"]["sha256"]
    record["source"] |= {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
    (tmp_path / "out" / "predictions.jsonl").write_text(json.dumps(record) + "\n")
    assert predicted(job) == 1
    assert files(tmp_path / "out") == ["a_1_red.png", "a_1_red_mask.png", "predictions.jsonl"]


@pytest.mark.parametrize("cause", ["photograph", "mask", "overwrite"])
def test_a_listed_file_that_the_user_has_changed_is_never_replaced(tmp_path, predicted, cause):
    job, folder = ("a.jpg", ["red"]), tmp_path / "out"
    assert predicted(job) == 1
    (folder / "a_1_red.png").write_text("mine")
    if cause == "photograph":
        (tmp_path / "photos" / "a.jpg").write_bytes(b"another photograph")
    elif cause == "mask":
        (folder / "a_1_red_mask.png").unlink()
    assert predicted(job, overwrite=cause == "overwrite") == 1
    assert (folder / "a_1_red.png").read_text() == "mine"
    assert files(folder) == [
        "a_1_red.png", "a_2_red.png", "a_2_red_mask.png", "predictions.jsonl",
    ]  # fmt: skip
    assert predicted(job) == 0


def test_a_folder_can_be_moved(tmp_path, predicted):
    assert predicted(("a.jpg", ["red"])) == 1
    (tmp_path / "out").rename(tmp_path / "moved")
    assert predicted(("a.jpg", ["red"]), folder=tmp_path / "moved") == 0


def test_the_same_relative_path_elsewhere_is_another_photograph(tmp_path, photograph, monkeypatch):
    job = Job(Path("a.jpg"), ("red",))
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(b"photograph")
        monkeypatch.chdir(tmp_path / folder)
        output = Output(tmp_path / "out", [job], "a network")
        with output.opened():
            assert output.missing(job) == ["red"]
            output.write(job.image, source_of(job.image), photograph, [prediction("red")])
    assert len(records_in(tmp_path / "out")) == 2


def test_a_path_that_leaves_a_linked_folder_is_that_of_the_system(tmp_path, predicted):
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere" / "folder").mkdir(parents=True)
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere" / "folder")
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"another photograph")
    jobs = [("a.jpg", ["red"]), ("link/../a.jpg", ["red"])]
    assert predicted(*jobs) == 2
    assert predicted(*jobs) == 0
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"a third photograph")
    assert predicted(*jobs) == 1
    assert len(records_in(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    "name", [b"\xe9.jpg", b"caf\xe9.jpg", b"x" * 251 + b".jpg", "\u00e9".encode() * 124]
)
def test_photographs_of_any_name(tmp_path, predicted, name):
    job = (os.fsdecode(name), ["red"])
    assert predicted(job) == 1
    assert predicted(job) == 0
    assert len(files(tmp_path / "out")) == 3


def test_a_name_without_any_text_is_readable(tmp_path, predicted, monkeypatch):
    job = (os.fsdecode(b"\xe9.jpg"), ["red"])
    monkeypatch.setattr(output_module, "NAMELESS", "")  # As earlier revisions named the pictures.
    assert predicted(job, folder=tmp_path / "old") == 1
    assert files(tmp_path / "old")[0] == "_1_red.png"
    monkeypatch.undo()
    assert predicted(job, folder=tmp_path / "old") == 0
    predicted(job, folder=tmp_path / "old", overwrite=True)
    assert files(tmp_path / "old")[0] == "photograph_1_red.png"


def test_two_processes_do_not_share_a_folder(tmp_path, predicted):
    output = Output(tmp_path / "out", [], "a network")
    with output.opened(), pytest.raises(UserError, match=r"another predict\.py is writing to"):
        predicted(("a.jpg", ["red"]))
    assert predicted(("a.jpg", ["red"])) == 1


@pytest.mark.parametrize("failing", ["png_bytes", "to_record"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_no_file_without_a_record(
    tmp_path, predicted, monkeypatch, failing, error
):
    assert predicted(("a.jpg", ["red"])) == 1
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    function, calls = getattr(output_module, failing), []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise error
        return function(*arguments)

    monkeypatch.setattr(output_module, failing, interrupted)
    with pytest.raises(error):
        predicted(("a.jpg", ["red"]), ("b.jpg", ["red", "blue"]))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    monkeypatch.undo()
    assert predicted(("a.jpg", ["red"]), ("b.jpg", ["red", "blue"])) == 2


def test_a_full_disk_keeps_what_is_finished(tmp_path, predicted, small_disk):
    folder = small_disk(100_000)
    jobs = [(f"{number}.jpg", ["red", "blue"]) for number in range(100)]
    with pytest.raises(NoSpaceError, match=r"\.png: the disk is full .*free\); free some space"):
        predicted(*jobs, folder=folder)
    records = records_in(folder)
    assert 0 < len(records) < 200
    listed = {Path(record[key]).name for record in records for key in ("picture", "mask")}
    assert {p.name for p in folder.iterdir()} == listed | {
        "predictions.jsonl", ".predictions.lock",
    }  # fmt: skip
    for name in listed:
        with Image.open(folder / name) as picture:
            picture.load()


def test_a_disk_that_is_full_for_records_keeps_them_complete(tmp_path, predicted, small_disk):
    folder = small_disk(200_000)
    assert predicted(("a.jpg", ["red"]), folder=folder) == 1
    output = Output(folder, [], "a network")
    before = (folder / "predictions.jsonl").read_bytes()
    with output.opened():
        with pytest.raises(NoSpaceError, match=r"predictions\.jsonl: needs .* the disk is full"):
            output._append([{"expression": "x" * 300_000}])
        assert (folder / "predictions.jsonl").read_bytes() == before


def test_photographs_are_not_mixed_with_results(tmp_path):
    with pytest.raises(UserError, match="holds the photographs"):
        Output(tmp_path, [Job(tmp_path / name, ("red",)) for name in ("a.jpg", "b.jpg")], "n")
    Output(tmp_path, [Job(tmp_path / "a.png", ("red",))], "n")


def pictures_of(folder):
    """Expression → picture of the page in a folder of results."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="([^"]*)".*?<li>(.*?)</li>', page)
    return {expression: picture for picture, expression in pictures}


def test_the_page_shows_all_results_of_the_folder(tmp_path, predicted):
    folder = tmp_path / "out"
    predicted(("a b.jpg", ["red"]))
    predicted(("b.jpg", ["<blue>", "green"]))
    assert pictures_of(folder) == {
        "red": "./a%20b_1_red.png",
        "&lt;blue&gt;": "./b_1_blue.png",
        "green": "./b_2_green.png",
    }
    written = (folder / "index.html").stat().st_mtime_ns
    assert predicted(("b.jpg", ["green"])) == 0
    assert (folder / "index.html").stat().st_mtime_ns == written
    predicted(("c.jpg", ["white"]), network="another", overwrite=True)
    assert pictures_of(folder) == {"white": "./c_1_white.png"}
    (folder / "c_1_white.png").write_text("mine")
    predicted(("d.jpg", ["red"]), network="another")
    assert list(pictures_of(folder)) == ["red"]  # The other has no picture any more.
    with Output(folder, [], "a third", overwrite=True).opened():
        pass
    assert not (folder / "index.html").exists()


def test_a_page_that_predict_did_not_write_is_never_replaced(tmp_path, predicted):
    folder = tmp_path / "out"
    predicted(("a.jpg", ["red"]))
    page = (folder / "index.html").read_bytes()
    other = bytes(gallery("data/view.py", "a set", [], []))
    for content in (other, page.replace(b"red", b"big"), b"<p>mine</p>", b""):
        (folder / "index.html").write_bytes(content)
        for overwrite in (False, True):
            with pytest.raises(UserError, match=r"index\.html: was not written by predict\.py"):
                predicted(("b.jpg", ["red"]), overwrite=overwrite)
        assert (folder / "index.html").read_bytes() == content
    assert files(folder) == ["a_1_red.png", "a_1_red_mask.png", "predictions.jsonl"]
    (folder / "index.html").unlink()
    output = Output(folder, [], "a network")
    refusal = pytest.raises(UserError, match=r"index\.html: was not written by predict\.py")
    with refusal, output.opened():
        (folder / "index.html").write_text("put there meanwhile")
    assert (folder / "index.html").read_text() == "put there meanwhile"


def test_a_page_that_appears_while_ours_is_made_is_kept(tmp_path, predicted, monkeypatch):
    folder = tmp_path / "out"

    def slow_page(*arguments):
        (folder / "index.html").write_text("put there meanwhile")
        return results_page(*arguments)

    monkeypatch.setattr(output_module, "results_page", slow_page)
    with pytest.raises(UserError, match=r"index\.html: was not written by predict\.py"):
        predicted(("a.jpg", ["red"]))
    assert (folder / "index.html").read_text() == "put there meanwhile"


def test_a_long_expression_is_drawn_and_recorded(tmp_path, predicted):
    assert predicted(("a.jpg", ["x" * 100_000])) == 1
    assert len(records_in(tmp_path / "out")[0]["expression"]) == 100_000


def test_a_box_below_the_smallest_score_is_nothing_found(tmp_path, photograph):
    job = Job(tmp_path / "photo.jpg", ("red", "blue"))
    output = Output(tmp_path / "out", [job], "a network")
    refused = prediction("red", score=0.49996, min_score=0.5)
    kept = prediction("blue", score=0.5, min_score=0.5)
    with output.opened():
        output.write(job.image, source_of(job.image), photograph, [refused, kept])
        records = output.records(job)
    assert [record["found"] for record in records] == [False, True]
    assert {record["min_score"] for record in records} == {0.5}
    nothing, found = records
    assert nothing["box_xyxy"] is None
    assert nothing["mask_area"] == 0
    assert nothing["score"] == 0.4999  # Rounded down, so that it stays below the threshold.
    assert not coco_mask.decode(nothing["mask_rle"]).any()
    assert found["box_xyxy"] == [20.12, 10, 70, 30.5]
    assert not np.asarray(Image.open(nothing["mask"])).any()
    orange = [
        np.abs(np.asarray(Image.open(record["picture"])).astype(int) - PREDICTED).max(axis=-1) < 12
        for record in records
    ]
    assert not orange[0].any()
    assert orange[1].any()
    text = format_records(records, 0.25, as_json=False)
    assert "  red\n    nothing found: score 0.4999 is below 0.5   0.50 s\n" in text
    assert text.count("box 20.1") == 1


def test_records_of_former_versions_that_found_everything_are_printed(tmp_path, photograph):
    job = Job(tmp_path / "photo.jpg", ("red",))
    output = Output(tmp_path / "out", [job], "a network")
    with output.opened():
        output.write(job.image, source_of(job.image), photograph, [prediction("red")])
        (record,) = output.records(job)
    former = {key: record[key] for key in record if key not in ("found", "min_score")}
    assert format_records([former], None, False) == format_records([record], None, False)


def test_text_and_json(tmp_path, photograph):
    job = Job(tmp_path / "photo.jpg", ("red zorblax",))
    ignoring = prediction("red zorblax", unknown_words=("zorblax",), unread_words=("far", "off"))
    output = Output(tmp_path / "out", [job], "a network")
    with output.opened():
        output.write(job.image, source_of(job.image), photograph, [ignoring])
        records = output.records(job)
    text = format_records(records, 0.25, as_json=False)
    for part in (
        "photo.jpg   80×60 px   0.25 s",
        "box 20.1, 10.0, 70.0, 30.5   score 0.75   mask 1,000 px (20.8 %)   0.50 s",
        "unknown words: zorblax",
        "words beyond the limit, ignored: far, off",
    ):
        assert part in text
    assert "photo.jpg   80×60 px   of an earlier run" in format_records(records, None, False)
    assert json.loads(format_records(records, 0.25, as_json=True)) == records[0]
