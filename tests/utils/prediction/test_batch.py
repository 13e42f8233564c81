"""The loop of predict.py over its jobs, with a predictor that has no network."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from data.loading.errors import DataError
from tests.utils.prediction.results import prediction, records_in
from utils.prediction.batch import predict_jobs
from utils.prediction.grounder import NotFiniteError
from utils.prediction.jobs import Job
from utils.prediction.output import Output
from utils.prediction.photographs import read_photograph

SIZE = (60, 80)


class FakePredictor:
    """Reads photographs as `Predictor` does and predicts the same for all expressions."""

    batch_size = 2
    image_seconds = 0.25

    def __init__(self):
        self.images, self.chunks = [], []

    def set_image(self, path):
        self.image = np.asarray(read_photograph(path))
        self.images.append(path.name)

    def predict(self, expressions):
        self.chunks.append(list(expressions))
        return [prediction(text, unknown_words=("zorblax",)) for text in expressions]


@pytest.fixture
def jobs(tmp_path):
    """Jobs of a readable photograph and of many that cannot be read."""
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "good.png")
    (tmp_path / "broken.jpg").write_text("no image")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")  # Opening one waits for a writer.
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    names = ("broken.jpg", "folder.jpg", "pipe.jpg", "loop.jpg", "x" * 300, "none.jpg", "good.png")
    return [Job(tmp_path / name, ("a", "b", "c", "a")) for name in names]


def run(folder, jobs, predictor):
    output = Output(folder, jobs, "a network")
    with output.opened():
        return predict_jobs(predictor, jobs, output)


def test_photographs_that_cannot_be_read_do_not_stop_the_others(tmp_path, jobs, capsys):
    predictor = FakePredictor()
    assert run(tmp_path / "out", jobs, predictor) == 6
    assert predictor.images == ["good.png"]
    said = capsys.readouterr()
    assert said.err.count("error: ") == 6
    assert said.err.endswith("6 of 7 photographs failed\n")
    assert said.out.count("score") == 4


class Overflowing(FakePredictor):
    """The network computes infinite values for photographs of some names."""

    def __init__(self, *names):
        super().__init__()
        self.names = names

    def predict(self, expressions):
        if self.images[-1] in self.names:
            raise NotFiniteError(self.images[-1])
        return super().predict(expressions)


def test_a_photograph_without_a_finite_result_does_not_stop_the_others(tmp_path, jobs, capsys):
    """Unless there is no other: the network is damaged then."""
    jobs[-1].image.with_name("more.png").write_bytes(jobs[-1].image.read_bytes())
    jobs = [jobs[0], Job(tmp_path / "more.png", ("a", "b")), jobs[-1]]
    assert run(tmp_path / "out", jobs, Overflowing("more.png")) == 2
    said = capsys.readouterr()
    assert "error: more.png: the network computes NaN or infinite values" in said.err
    assert said.err.endswith("2 of 3 photographs failed\n")
    assert said.out.count("score") == 4
    with pytest.raises(NotFiniteError, match=r"^the network computes NaN or infinite values"):
        run(tmp_path / "all", jobs[1:], Overflowing("more.png", "good.png"))
    with pytest.raises(NotFiniteError, match=r"^more\.png: "):
        run(tmp_path / "one", jobs[1:2], Overflowing("more.png"))


def test_memory_does_not_grow_with_the_number_of_expressions(tmp_path, jobs):
    """Masks of the size of the photograph are written in batches."""
    predictor = FakePredictor()
    run(tmp_path / "out", jobs[-1:], predictor)
    assert predictor.chunks == [["a", "b"], ["c"]]


def test_a_photograph_that_is_finished_is_not_read_again(tmp_path, jobs, capsys):
    run(tmp_path / "out", jobs[-1:], FakePredictor())
    first, predictor = capsys.readouterr().out, FakePredictor()
    run(tmp_path / "out", jobs[-1:], predictor)
    assert predictor.images == []
    assert capsys.readouterr().out == first.replace("0.25 s", "of an earlier run")


def test_results_of_a_photograph_that_was_replaced_meanwhile_are_not_current(tmp_path, jobs):
    (job,) = jobs[-1:]

    class Replacing(FakePredictor):
        def predict(self, expressions):
            Image.new("RGB", SIZE[::-1], "red").save(tmp_path / "new.png")
            (tmp_path / "new.png").replace(job.image)
            return super().predict(expressions)

    with pytest.raises(DataError, match=r"good\.png: changed while .* run the same command again"):
        run(tmp_path / "out", [job], Replacing())
    predictor = FakePredictor()
    assert run(tmp_path / "out", [job], predictor) == 0
    assert predictor.chunks == [["a", "b"], ["c"]]
    assert len(records_in(tmp_path / "out")) == 3
    assert run(tmp_path / "out", [job], Replacing()) == 0  # It predicts nothing.


def test_results_of_a_photograph_that_is_removed_meanwhile_are_kept(tmp_path, jobs):
    class Removing(FakePredictor):
        def predict(self, expressions):
            jobs[-1].image.unlink(missing_ok=True)
            return super().predict(expressions)

    assert run(tmp_path / "out", jobs[-1:], Removing()) == 0
    assert len(records_in(tmp_path / "out")) == 3


def test_results_are_never_recorded_under_the_checksum_of_another_photograph(tmp_path, jobs):
    """Although the other one, which was read, is gone before the end."""
    (job,) = jobs[-1:]
    content = job.image.read_bytes()

    class Replacing(FakePredictor):
        def set_image(self, path):
            Image.new("RGB", SIZE[::-1], "red").save(path)
            super().set_image(path)

        def predict(self, expressions):
            job.image.unlink(missing_ok=True)
            return super().predict(expressions)

    with pytest.raises(DataError, match=r"good\.png: changed while .* run the same command again"):
        run(tmp_path / "out", [job], Replacing())
    job.image.write_bytes(content)
    predictor = FakePredictor()
    assert run(tmp_path / "out", [job], predictor) == 0
    assert predictor.chunks == [["a", "b"], ["c"]]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_photograph_gets_its_warning(tmp_path, jobs, capsys, as_json):
    """Beside its results, or on standard error if standard output is for records only."""
    asked = []

    def warn(image, unknown_words):
        asked.append((image.name, list(unknown_words)))
        return "means nothing"

    output = Output(tmp_path / "out", jobs[-1:], "a network")
    with output.opened():
        predict_jobs(FakePredictor(), jobs[-1:], output, as_json, warn)
    assert asked == [("good.png", ["zorblax"] * 4)]
    said = capsys.readouterr()
    if as_json:
        assert said.err == f"warning: {jobs[-1].image}: means nothing\n"
        assert [json.loads(line)["expression"] for line in said.out.splitlines()] == [*"abca"]
    else:
        assert said.out.splitlines()[2] == "  warning: means nothing"
        assert said.err == ""


def test_characters_that_control_a_terminal_are_escaped(tmp_path, jobs, capsys):
    image = tmp_path / "\x1b[31m\n\u202e.png"
    jobs[-1].image.rename(image)
    words = "the \x1b[2J\ndisk"
    named = [Job(image, (words,)), Job(tmp_path / "\x1bnone.png", (words,))]
    assert run(tmp_path / "out", named, FakePredictor()) == 1
    said = capsys.readouterr()
    assert r"\x1b[31m\n\u202e.png   80×60 px" in said.out
    assert "\n  the \\x1b[2J\\ndisk\n" in said.out
    assert r"\x1bnone.png: no such image" in said.err
    assert "\u202e" not in said.out
    assert records_in(tmp_path / "out")[0]["expression"] == words


def test_the_only_photograph_is_an_error(tmp_path, jobs):
    for job in jobs[:-1]:
        with pytest.raises(DataError, match=job.image.name):
            run(tmp_path / "out", [job], FakePredictor())
