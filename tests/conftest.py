"""What several test files share: a tiny prepared data set and tiny networks, built once."""

import contextlib
import ctypes
import functools
import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

from config.errors import UserError
from tests.limits import mounted_disk
from tests.tiny import ANCHORS, network_config, scramble, write_prepared_set

_CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "bounded",
    max_examples=60,
    derandomize=True,  # The same input in every run.
    database=None,
    deadline=None,
    suppress_health_check=_CHECKS,
)
settings.register_profile(
    "long", max_examples=5000, database=None, deadline=None, suppress_health_check=_CHECKS
)
settings.load_profile("bounded")


def pytest_configure():
    """Lets Ctrl-C interrupt, which a shell that starts the tests in the background turns off."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def memory_returned():
    """Returns the memory of a test file's networks, which otherwise adds up to many gigabytes."""
    yield
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # Of glibc alone.
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def small_disk(tmp_path):
    """`small_disk(size_bytes)`: the folder of an empty disk of this size."""
    with contextlib.ExitStack() as disks:
        yield lambda size_bytes: disks.enter_context(mounted_disk(tmp_path / "disk", size_bytes))


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """See `tests.tiny.write_prepared_set`; nobody writes into it."""
    return write_prepared_set(tmp_path_factory.mktemp("tiny_set"))


@pytest.fixture(scope="session")
def network():
    """`network(**settings)`: the tiny network of these settings, built once, weights random.

    Nobody changes its weights.
    """
    from model.mcn import build_mcn

    @functools.cache
    def built(frozen_settings):
        settings = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in frozen_settings
        }
        return scramble(build_mcn(network_config(**settings)))

    def get(**settings):
        hashable = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return built(tuple(sorted(hashable.items())))

    return get


@pytest.fixture(scope="session")
def grounder(network):
    """The default tiny network as `utils.prediction.grounder.Grounder`."""
    from utils.prediction.grounder import Grounder

    return Grounder(network(), ANCHORS)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, see `utils.page.browser.open_browser`."""
    from utils.page.browser import open_browser

    with contextlib.ExitStack() as stack:
        try:
            chrome = stack.enter_context(open_browser(tmp_path_factory.mktemp("profile")))
        except UserError as error:
            pytest.skip(str(error))
        yield chrome
