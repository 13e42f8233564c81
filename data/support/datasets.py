"""Python functions in a tf.data pipeline, which keep the exceptions that they raise."""

import contextlib
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

T = TypeVar("T")

# tf.data passes on the text of an exception only. The exception itself waits here, under a token in
# that text, for whoever reads the dataset.
_raised: dict[str, Exception] = {}
_MAX_RAISED = 16  # Of several samples that fail in parallel, only the first is ever asked for.


@tf.autograph.experimental.do_not_convert
def python_function(
    function: Callable[..., Any], arguments: Sequence[tf.Tensor], dtypes: Sequence[tf.DType]
) -> list[tf.Tensor]:
    """Calls a Python function in a dataset; `unwrapped_errors` raises its exceptions again.

    Args:
        function: called with arrays; returns arrays of these dtypes.
        arguments: tensors.
        dtypes: of the results.
    """

    def call(*arrays):
        try:
            return function(*arrays)
        except Exception as error:
            token = f"raised-{uuid.uuid4().hex}"
            _raised[token] = error
            for old in list(_raised)[:-_MAX_RAISED]:
                _raised.pop(old, None)
            raise RuntimeError(token) from None

    return tf.numpy_function(call, arguments, dtypes, stateful=False)


@contextlib.contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Raises the exception of a `python_function` when a dataset is read inside the block.

    It is the same object, with its traceback. tf.data would wrap it in an error of its own.
    """
    try:
        yield
    except tf.errors.OpError as error:
        token = re.search(r"raised-[0-9a-f]{32}", error.message)
        original = _raised.pop(token.group(), None) if token else None
        if original is None:
            raise
        raise original from None


def unwrap_errors(batches: Iterable[T]) -> Iterator[T]:
    """Iterates over a dataset inside `unwrapped_errors`."""
    with unwrapped_errors():
        yield from batches


def load_ahead(
    load: Callable[[int], Any], count: int, dtypes: Sequence[tf.DType], workers: int, prefetch: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields `load(index)`, arrays of these dtypes, for 0 … count − 1, loaded in parallel."""

    def load_in_graph(index):
        return python_function(load, [index], dtypes)

    dataset = tf.data.Dataset.range(count)
    dataset = dataset.map(load_in_graph, num_parallel_calls=workers, deterministic=True)
    return unwrap_errors(dataset.prefetch(prefetch).as_numpy_iterator())
