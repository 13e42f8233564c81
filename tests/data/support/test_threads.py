"""An error or Ctrl-C ends a pool without the work that is still queued."""

import threading

import pytest

from data.support.threads import thread_pool


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_queued_work_is_dropped(error):
    release, begun, done = threading.Event(), threading.Event(), []

    def work(number):
        begun.set()
        release.wait()
        done.append(number)

    def interrupted():
        with thread_pool(1) as pool:
            for number in range(100):
                pool.submit(work, number)
            begun.wait()
            threading.Timer(0.1, release.set).start()
            raise error

    with pytest.raises(error):
        interrupted()
    assert done == [0]
