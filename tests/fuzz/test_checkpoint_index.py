"""Random indexes of TensorFlow checkpoints, with right and wrong checksums."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from config.bert.checkpoint_index import CheckpointIndexError, check_index
from tests.config.bert.index_fixtures import index, table, tensor
from tests.limits import memory_within

NUMBERS = st.integers(-3, 200) | st.integers(-(2**63), 2**63)
TENSORS = st.builds(
    tensor,
    dtype=st.integers(-1, 120),
    dims=st.lists(NUMBERS, max_size=10),
    size=NUMBERS,
    shard=NUMBERS,
    offset=NUMBERS,
    extra=st.binary(max_size=10),
)
VALUES = TENSORS | st.binary(max_size=100)
TABLES = st.builds(table, st.lists(st.tuples(st.binary(max_size=9), VALUES), min_size=1))


@st.composite
def damaged(draw):
    content = bytearray(index(draw(TENSORS), draw(TENSORS)))
    for _ in range(draw(st.integers(1, 5))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))])


@given(st.binary() | TABLES | damaged())
def test_any_index_passes_or_is_refused(tmp_path, content):
    path = tmp_path / "bert_model.ckpt.index"
    path.write_bytes(content)
    with memory_within(50_000_000), contextlib.suppress(CheckpointIndexError):
        check_index(path)
