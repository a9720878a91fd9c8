"""Counting the values of a JSON text that is not parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue.request.json_values import holds_more_values

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a",:[{}]\\é\n '),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='a",:[\\'), inner),
)


def count(value: Any) -> int:
    """Values, names of fields, and one for a container that has nothing in it."""
    if isinstance(value, dict):
        return 1 + max(1, sum(1 + count(inner) for inner in value.values()))
    if isinstance(value, list):
        return 1 + max(1, sum(map(count, value)))
    return 1


@given(_VALUES)
def test_values_are_counted_as_a_parser_would(value: Any) -> None:
    # Spaces, since a text with no more bytes than values are allowed is not looked at.
    text = json.dumps(value, ensure_ascii=False) + " " * 1000

    for raw in (text, text.encode()):
        assert not holds_more_values(raw, count(value))
        assert holds_more_values(raw, count(value) - 1) or count(value) - 1 >= len(raw)


@pytest.mark.parametrize(
    "text", ['"', '["a', '["a\\', '["\\"\\"\\"', "\\", '"""', "]]]", '\\"' * 99]
)
def test_what_is_no_json_ends_too(text: str) -> None:
    assert not holds_more_values(text + " " * 100, 100)


@pytest.mark.parametrize("length", [255, 256, 257, 5000])
def test_many_values_are_counted_to_the_last(length: int) -> None:
    raw = json.dumps([0] * length)

    assert holds_more_values(raw, length)
    assert not holds_more_values(raw, length + 1)


def test_marks_in_strings_count_for_nothing() -> None:
    assert not holds_more_values(json.dumps([",:[{" * 1000]), 3)
