"""Conversion to ONNX, beside what its results are tested for."""

import gc
import weakref

import pytest
import tensorflow as tf

from utils.prediction.engines import conversion


class _Copy:
    """Refers to itself, as the graphs of the converter do."""

    def __init__(self):
        self.itself = self


def test_old_copies_are_freed_soon(monkeypatch):
    gc.enable()  # A library may have left it off after an error.
    function = tf.function(lambda x: x + 1.0, input_signature=[tf.TensorSpec((2,))])
    thresholds, left = gc.get_threshold(), []

    def convert(*_, **__):
        copy = _Copy()
        watched = weakref.ref(copy)
        gc.collect()  # It has lived for a while.
        del copy
        objects = [[] for _ in range(50_000)]
        left.append((watched(), len(objects)))
        raise InterruptedError

    tf2onnx = pytest.importorskip("tf2onnx")
    monkeypatch.setattr(tf2onnx.convert, "from_function", convert)
    with pytest.raises(InterruptedError):
        conversion.to_onnx(function, "part")
    assert left == [(None, 50_000)]
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0
