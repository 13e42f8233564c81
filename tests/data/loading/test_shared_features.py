"""A feature store that several processes open, and that one of them is killed over."""

import random
import subprocess
import sys
import time

import numpy as np
import pytest

from data.loading.feature_store import FeatureStore
from tests.test_imports import ROOT

# Fills a store of 120 images of 64 kB, flushing every 5 images.
FILL = """
import sys, time
sys.path.insert(0, {root!r})
from tests.data.loading.test_shared_features import big_store, big_features
store = big_store({folder!r})
print("opened", flush=True)
with store.writing():
    missing = store.missing
    print("computing", len(missing), flush=True)
    for number, name in enumerate(missing, start=1):
        time.sleep({pause})
        store.write(name, (640, 480), big_features(name))
        if number % 5 == 0:
            store.flush()
            print(number, flush=True)
"""
BIG_IMAGES = [f"{number}.jpg" for number in range(120)]


def big_store(folder):
    return FeatureStore(folder, {}, BIG_IMAGES, [(64, 64, 4)])


def big_features(name):
    return [np.random.default_rng(list(name.encode())).normal(size=(64, 64, 4))]


def start_filling(folder, pause=0.005):
    code = FILL.format(root=str(ROOT), folder=str(folder), pause=pause)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def assert_big_store_is_complete(folder, intact):
    store = big_store(folder)
    with store.writing():
        for name in store.missing:
            store.write(name, (640, 480), big_features(name))
    for name in ("features.bin", "marks.bin"):
        assert (store.folder / name).read_bytes() == (intact.folder / name).read_bytes()
    names = sorted(path.name for path in store.folder.iterdir())
    assert names == ["features.bin", "key.json", "lock", "marks.bin"]


def kill_and_resume(tmp_path, delays):
    """Kills a process that fills a store: after its first flush, and after each delay in seconds.

    The last one completes the store.
    """
    intact = big_store(tmp_path / "intact")
    with intact.writing():
        for name in BIG_IMAGES:
            intact.write(name, (640, 480), big_features(name))
    for delay in (None, *delays):
        with start_filling(tmp_path / "killed") as process:
            assert process.stdout.readline() == "opened\n"
            if delay is None:
                assert process.stdout.readline() == "computing 120\n"
                assert process.stdout.readline() == "5\n"
            else:
                time.sleep(delay)
            process.kill()
        store = big_store(tmp_path / "killed")
        assert len(store.missing) <= len(BIG_IMAGES) - 5
        for name in set(BIG_IMAGES) - set(store.missing):
            expected = big_features(name)[0].astype(np.float32)
            np.testing.assert_array_equal(store.read(name)[0][0], expected)
    assert_big_store_is_complete(tmp_path / "killed", intact)


@pytest.mark.slow
def test_a_killed_process_costs_the_last_rows_at_most(tmp_path):
    kill_and_resume(tmp_path, [0.0, 0.1])


@pytest.mark.soak
def test_a_process_killed_at_forty_random_moments(tmp_path):
    rng = random.Random(0)
    for number in range(10):
        kill_and_resume(tmp_path / str(number), [rng.uniform(0, 0.4) for _ in range(3)])


@pytest.mark.slow
def test_a_second_process_waits_and_shares_what_the_first_computed(tmp_path):
    with start_filling(tmp_path) as first:
        assert first.stdout.readline() == "opened\n"
        assert first.stdout.readline() == "computing 120\n"
        with start_filling(tmp_path) as second:
            assert second.stdout.readline() == "opened\n"
            waiting = second.stdout.readline()
            rest = second.stdout.read()
            assert second.wait() == 0
        assert first.wait() == 0
    assert "another process computes these features; waiting for it" in waiting
    assert str(big_store(tmp_path).folder) in waiting
    assert rest == "computing 0\n"
    store = big_store(tmp_path)
    assert store.missing == []


@pytest.mark.slow
def test_a_second_process_completes_what_a_killed_first_began(tmp_path):
    with start_filling(tmp_path, pause=0.02) as first:
        assert first.stdout.readline() == "opened\n"
        assert first.stdout.readline() == "computing 120\n"
        assert first.stdout.readline() == "5\n"
        with start_filling(tmp_path, pause=0) as second:
            assert second.stdout.readline() == "opened\n"
            assert "waiting" in second.stdout.readline()
            first.kill()
            begun = int(second.stdout.readline().removeprefix("computing "))
            second.stdout.read()
            assert second.wait() == 0
    assert 0 < begun < 120
    assert big_store(tmp_path).missing == []
    for name in BIG_IMAGES:
        big_store(tmp_path).read(name)


@pytest.mark.slow
def test_a_complete_store_is_read_while_another_process_holds_the_lock(tmp_path):
    with start_filling(tmp_path, pause=0) as process:
        process.stdout.read()
    store = big_store(tmp_path)
    with store.writing():
        reader = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from tests.data.loading.test_shared_features import *\n"
            f"store = big_store({str(tmp_path)!r})\n"
            "print(len(store.missing), len([store.read(name) for name in BIG_IMAGES]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", reader], capture_output=True, text=True, check=True, timeout=60
        )
    assert done.stdout == "0 120\n"


@pytest.mark.slow
def test_threads_may_read_while_their_process_ends(tmp_path):
    with start_filling(tmp_path, pause=0) as process:
        process.stdout.read()
    reader = (
        f"import atexit, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "atexit.register(lambda: print(store.read('0.jpg')[1]))\n"  # Runs last.
        "from tests.data.loading.test_shared_features import *\n"
        f"store = big_store({str(tmp_path)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", reader], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "(640, 480)\n", done.stderr
