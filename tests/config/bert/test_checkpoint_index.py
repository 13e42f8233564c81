"""Indexes of TensorFlow checkpoints are examined, since TensorFlow aborts at some of them."""

import os
import re
import signal
import subprocess
import sys

import pytest

from config.bert import checkpoint_index
from config.bert.checkpoint_index import CheckpointIndexError, check_index
from tests.config.bert.index_fixtures import field, index, table, tensor
from tests.limits import memory_within

# What ends the process of TensorFlow 2.21.
FATAL = {
    "negative axis": index(tensor(dims=(-5,))),
    "huge axes": index(tensor(dims=(2**40, 2**40))),
    "huge and empty": index(tensor(dims=(2**39, 2**39, 0), size=0)),
    "many axes": index(tensor(dims=(1,) * 300, size=4)),
    "garbage": index(b"\xff" * 20),
}
REFUSED = {
    "no type": (index(tensor(dtype=0)), "does not hold numbers"),
    "reference": (index(tensor(dtype=101)), "does not hold numbers"),
    "variant": (index(tensor(dtype=21)), "does not hold numbers"),
    "size": (index(tensor(size=2**60)), "size and shape"),
    "negative size": (index(tensor(size=-1)), "size and shape"),
    "slices": (index(tensor(extra=field(7, b""))), "in an unknown way"),
    "shape twice": (index(tensor(extra=field(2, field(2, field(1, 2**62))))), "in an unknown way"),
    "unknown rank": (index(field(1, 1) + field(2, field(3, 1))), "the shape of .* is unknown"),
    "name": (table([(b"\xff", tensor())]), "a name is not text"),
    "terminal": (table([(b"\x1b[2J", tensor())]), "a name is not text"),
    "long name": (table([(b"n" * 2000, tensor())]), "wrong sizes"),
    "repeated block": (index(tensor(), repeated=2), "overlap"),
    "compressed": (index(tensor(), kind=b"\1"), "is compressed"),
    "restart": (index(tensor(), restarts=[0, 5]), "where no entry is"),
    "truncated": (index(tensor())[10:], "is damaged"),
    "empty": (b"", "not a TensorFlow checkpoint"),
    "text": (b"no index at all" * 20, "not a TensorFlow checkpoint"),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bert_model.ckpt.index"


def test_a_sound_index_passes(path):
    path.write_bytes(index(tensor()))
    check_index(path)
    path.write_bytes(index(tensor(dims=(), size=4), tensor(dtype=7, size=3)))
    check_index(path)


@pytest.mark.parametrize("name", FATAL)
def test_what_ends_the_process_is_refused(path, name):
    path.write_bytes(FATAL[name])
    with pytest.raises(CheckpointIndexError):
        check_index(path)


@pytest.mark.parametrize("name", REFUSED)
def test_what_tensorflow_does_not_write_is_refused(path, name):
    content, message = REFUSED[name]
    path.write_bytes(content)
    with pytest.raises(CheckpointIndexError, match=message):
        check_index(path)


def test_a_large_file_is_not_read(path):
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
    with memory_within(50_000_000), pytest.raises(CheckpointIndexError, match="has more than"):
        check_index(path)


def test_a_bounded_number_of_tensors_is_listed(path, monkeypatch):
    monkeypatch.setattr(checkpoint_index, "MOST_TENSORS", 3)
    path.write_bytes(index(tensor(), tensor()))
    check_index(path)
    path.write_bytes(index(tensor(), tensor(), tensor()))
    with pytest.raises(CheckpointIndexError, match=re.escape("lists more than 3 tensors")):
        check_index(path)


@pytest.mark.slow
def test_the_fixtures_are_what_tensorflow_reads(path):
    """Otherwise the tests above would refuse what nobody can read anyway."""
    program = "import sys, tensorflow as tf; tf.train.load_checkpoint(sys.argv[1])"

    def ended(content):
        path.write_bytes(content)
        command = [sys.executable, "-c", program, str(path.with_suffix(""))]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    assert ended(index(tensor())) == 0
    assert ended(FATAL["negative axis"]) == -signal.SIGABRT
    assert ended(FATAL["huge and empty"]) == -signal.SIGABRT
