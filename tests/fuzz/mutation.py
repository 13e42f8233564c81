"""Random damage to valid input: bytes that change, and values that are replaced or missing."""

import copy
from typing import Any

from hypothesis import strategies as st

# What JSON can contain: extremes of every type, and strings that no file can store.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 2**31, 2**53 + 1, 2**63, 2**64, 10**400]),
    st.floats(),
    st.text(max_size=9),
    st.sampled_from(["", " ", "\0", "a\nb", "\u2028", " ~ ", "\ud83d", "../x", "é" * 300]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@st.composite
def damaged_bytes(draw: Any, content: bytes) -> bytes:
    """`content` with up to eight places changed, inserted, removed or cut off."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, max(len(damaged) - 1, 0)))
        length = draw(st.integers(0, 9))
        damaged[at : at + length] = draw(st.binary(max_size=9))
    if draw(st.booleans()):
        del damaged[draw(st.integers(0, len(damaged))) :]
    return bytes(damaged)


@st.composite
def damaged_value(draw: Any, value: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """A copy of nested dicts and lists in which up to three places are replaced or removed."""
    damaged = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = damaged
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 4)) == 0:
                if draw(st.integers(0, 3)) == 0:
                    del place[key]
                else:
                    place[key] = draw(values)
                break
            place = inner
    return damaged
