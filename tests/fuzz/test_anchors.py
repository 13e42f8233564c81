"""Random anchor files, and random boxes to find anchors for."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import UserError
from data.loading.anchors import MAX_SIZE, MIN_SIZE, kmeans_anchors, read_anchors, write_anchors
from tests.limits import memory_within

SIZES = st.floats(MIN_SIZE, MAX_SIZE)
PARTS = [",", "  ", "\n", "1", "10.5", "-1", "1e400", "nan", "٣", "9" * 5000, "\ufeff", "\0"]
FILES = st.lists(st.sampled_from([*PARTS, "10,20,  30,40,  50,60"])).map("".join)


@given(st.binary() | FILES.map(str.encode) | FILES.map(lambda text: text.encode("utf-16")))
@example(b"1," * 10_000_000)
def test_any_file_is_three_anchors_or_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "anchors.txt"
    path.write_bytes(content)
    message = None
    with memory_within(50_000_000):
        try:
            anchors = read_anchors(path)
        except UserError as error:
            message = str(error)
    if message is None:
        assert anchors.shape == (3, 2)
        assert ((anchors >= np.float32(MIN_SIZE)) & (anchors <= MAX_SIZE)).all()
    else:
        assert message.startswith(f"{path}: ")
        assert len(message) < len(str(path)) + 500


@given(st.lists(SIZES, min_size=6, max_size=6))
def test_anchors_come_back_to_a_hundredth_of_a_pixel(tmp_path, sizes):
    anchors = np.array(sizes).reshape(3, 2)
    write_anchors(tmp_path / "anchors.txt", anchors)
    np.testing.assert_allclose(read_anchors(tmp_path / "anchors.txt"), anchors, 1e-6, 0.0051)


BOX_SIZES = st.floats(1e-30, 1e30) | st.floats(1, 416) | st.integers(1, 5).map(float)


@given(
    st.lists(st.tuples(BOX_SIZES, BOX_SIZES), min_size=1, max_size=12),
    st.sampled_from([0.0, 1e-17, 1e-16, 1e-15, 1e-12, 1e-8, 1e-3]),
    st.integers(0, 2**32 - 1),
)
def test_anchors_are_found_for_all_boxes_however_alike(boxes, spread, seed):
    factors = 1 + spread * np.random.default_rng(seed).uniform(0, 1, (3, len(boxes), 2))
    boxes = np.clip((np.array(boxes) * factors).reshape(-1, 2), 1e-30, 1e30)
    n_sizes = len(np.unique(boxes, axis=0))
    for k in range(1, min(n_sizes, 4) + 1):
        anchors = kmeans_anchors(boxes, k, seed)
        assert anchors.shape == (k, 2)
        low, high = boxes.min() * (1 - 1e-6), boxes.max() * (1 + 1e-6)
        assert ((anchors >= low) & (anchors <= high)).all()
