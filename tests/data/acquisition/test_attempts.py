"""Addresses are given up if attempts bring no progress, and the message says which."""

import pytest

from data.acquisition.attempts import Attempts, ConnectionLostError, MirrorError


@pytest.mark.parametrize(
    ("sizes", "ends"),
    [
        ([500, 500, 500], "lost, 3 times in a row"),
        ([500, 500, 600, 600, 700, 700], None),
        ([500, 0, 100, 200, 300, 400, 499, 500, 500], None),  # It started over and advances.
        ([500, 0, 0, 0, 0], "lost, 3 times in a row"),
        ([0, 300, 0, 300, 0], "lost, and the download started over 3 times"),
        ([400, 300, 400, 300], "lost, and the download started over 3 times"),
        ([0, 300, 0, 600, 0, 500, 0, 700], None),  # Each time further than ever.
    ],
)
def test_an_address_is_given_up_only_without_progress(sizes, ends):
    attempts = Attempts(3, 500)
    for size in sizes[:-1]:
        attempts.add(ConnectionLostError("lost"), size)
    if ends is None:
        attempts.add(ConnectionLostError("lost"), sizes[-1])
    else:
        with pytest.raises(MirrorError, match=f"^{ends}$"):
            attempts.add(ConnectionLostError("lost"), sizes[-1])
