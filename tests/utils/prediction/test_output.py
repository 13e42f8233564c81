"""The files that predict.py writes and the text it prints, without a network."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from data.loading.letterbox import Letterbox
from utils.prediction.jobs import Job
from utils.prediction.output import Output, format_records
from utils.prediction.prediction import Prediction

SIZE = (60, 80)


def prediction(expression, **changes):
    mask = np.zeros(SIZE, bool)
    mask[10:30, 20:70] = True
    values = {
        "expression": expression,
        "box_xyxy": np.array([20.123, 10.0, 70.0, 30.5]),
        "score": 0.75321,
        "mask": mask,
        "seconds": 0.5,
        "unknown_words": (),
        "unread_words": (),
        "segment_thresh": 0.35,
        "use_nls": True,
        "geometry": Letterbox.fit(80, 60, 96),
        "box_xyxy_input": np.zeros(4, np.int32),
        "probability_input": np.zeros((12, 12), np.float32),
    }
    return Prediction(**(values | changes))


@pytest.fixture
def photograph():
    return np.full((*SIZE, 3), 120, np.uint8)


def test_everything_is_written(tmp_path, photograph):
    job = Job(tmp_path / "photo.jpg", ("red", "the café"))
    folder = tmp_path / "new" / "out"
    with Output(folder, [job]) as output:
        records = output.write(job, photograph, [prediction(text) for text in job.expressions])
        # An interruption at this point leaves the records written so far.
        lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records
    first, second = records
    assert second["expression"] == "the café"
    assert first["box_xyxy"] == [20.12, 10, 70, 30.5]
    assert (first["width"], first["height"], first["mask_area"]) == (80, 60, 1000)
    np.testing.assert_array_equal(coco_mask.decode(first["mask_rle"]), prediction("").mask)
    mask = np.asarray(Image.open(folder / "photo_1_mask.png"))
    np.testing.assert_array_equal(mask, 255 * prediction("").mask.astype(np.uint8))
    assert first["picture"] == str(folder / "photo_1.png")
    with Image.open(first["picture"]) as picture:
        assert picture.width == 480
    assert sorted(path.name for path in folder.iterdir()) == [
        "photo_1.png", "photo_1_mask.png", "photo_2.png", "photo_2_mask.png", "predictions.jsonl",
    ]  # fmt: skip


def test_names_do_not_collide(tmp_path, photograph):
    jobs = [Job(tmp_path / name, ("red",)) for name in ("x/a.jpg", "y/a.jpg", "a-2.jpg", "a.png")]
    with Output(tmp_path / "out", jobs) as output:
        records = [output.write(job, photograph, [prediction("red")])[0] for job in jobs]
    assert len({record["picture"] for record in records}) == 4
    assert len(list((tmp_path / "out").iterdir())) == 9


def test_nothing_is_written_before_the_with_block(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "predictions.jsonl").write_text("earlier")
    Output(folder, [Job(tmp_path / "a.jpg", ("red",))])
    assert (folder / "predictions.jsonl").read_text() == "earlier"


def test_photographs_are_not_replaced(tmp_path):
    with pytest.raises(ValueError, match="holds the photographs"):
        Output(tmp_path, [Job(tmp_path / name, ("red",)) for name in ("a.jpg", "b.jpg")])
    first, second = Job(tmp_path / "x/a.png", ("red",)), Job(tmp_path / "a_1.png", ("red",))
    with pytest.raises(ValueError, match=r"would replace .*a_1\.png"):
        Output(tmp_path, [first, second])
    Output(tmp_path, [Job(tmp_path / "a.png", ("red",))])


def test_text_and_json(tmp_path, photograph):
    job = Job(tmp_path / "photo.jpg", ("red zorblax",))
    ignoring = prediction("red zorblax", unknown_words=("zorblax",), unread_words=("far", "off"))
    with Output(tmp_path / "out", [job]) as output:
        records = output.write(job, photograph, [ignoring])
    text = format_records(records, 0.25, as_json=False)
    for part in (
        "photo.jpg   80×60 px   0.25 s",
        "box 20.1, 10.0, 70.0, 30.5   score 0.75   mask 1,000 px (20.8 %)   0.50 s",
        "unknown words, ignored: zorblax",
        "words beyond the limit, ignored: far, off",
    ):
        assert part in text
    assert json.loads(format_records(records, 0.25, as_json=True)) == records[0]
