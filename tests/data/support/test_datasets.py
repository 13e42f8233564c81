"""Exceptions of Python functions in a tf.data pipeline."""

import pytest
import tensorflow as tf

from config.errors import UserError
from data.support import datasets
from data.support.datasets import python_function, unwrap_errors


class OwnError(UserError):
    """Defined here: nothing in the pipeline knows it."""


@pytest.mark.parametrize("error", [ValueError("a bug"), OwnError("a sentence"), MemoryError()])
def test_exceptions_in_a_dataset_stay_what_they_are(error):
    def broken(_):
        raise error

    dataset = tf.data.Dataset.range(9)
    dataset = dataset.map(lambda i: python_function(broken, [i], [tf.int64]), num_parallel_calls=4)
    with pytest.raises(type(error)) as caught:
        list(unwrap_errors(dataset))
    assert caught.value is error
    assert any(entry.name == "broken" for entry in caught.traceback)


def test_exceptions_of_samples_that_nobody_asks_for_are_not_kept_for_ever():
    def broken(index):
        raise ValueError(index)

    for _ in range(5):
        dataset = tf.data.Dataset.range(40)
        dataset = dataset.map(
            lambda i: python_function(broken, [i], [tf.int64]), num_parallel_calls=8
        )
        with pytest.raises(ValueError, match=r"^0$"):
            list(unwrap_errors(dataset))
    assert len(datasets._raised) <= datasets._MAX_RAISED


def test_errors_of_tensorflow_itself_are_not_renamed():
    broken = tf.data.Dataset.range(3).map(lambda i: tf.gather(tf.zeros(2), i))
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(unwrap_errors(broken))
