"""Random configs: a `Config` or a sentence, whatever the file holds."""

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import ConfigError
from config.schema import FIELDS, Config, load_config
from tests.limits import memory_within

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "lstm", "a/b", "darknet", 10**400, 0, 1, 2]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
KEYS = st.sampled_from([*FIELDS, "use_bert", "epochs", "unknown"])


def load(path, content, overrides=()):
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert isinstance(load_config(path, overrides), Config)


@pytest.mark.filterwarnings("ignore:.*is ignored")
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_random_values(tmp_path, values):
    load(tmp_path / "config.json", json.dumps(values).encode())


@given(st.binary(max_size=200))
@example(b"[" * 50_000)
@example(b'{"seed": ' + b"9" * 20_000 + b"}")
@example(b'{"about": [' + b'"x",' * 100_000 + b'"x"]}')
def test_random_bytes(tmp_path, content):
    with memory_within(100_000_000):
        load(tmp_path / "config.json", content)


@given(KEYS, st.text(max_size=40))
def test_random_overrides(tmp_path, key, text):
    load(tmp_path / "config.json", b"{}", [f"{key}={text}"])


@given(st.data())
def test_damaged_configs(tmp_path, data):
    content = bytearray(json.dumps(Config().to_dict(), indent=2).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    load(tmp_path / "config.json", bytes(content))
