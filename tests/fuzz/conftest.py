"""What all tests with random input share."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def constants_of_the_project():
    """Lets Hypothesis read the sources of all loaded modules before a test measures memory.

    It does so when it first draws a value, to find constants to try, and takes 200 MB for that.
    """

    @settings(max_examples=1)
    @given(st.lists(st.integers() | st.text(), min_size=200))
    def draw(_):
        pass

    draw()
