"""Cutting a JSON array into its elements."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.checks.elements import elements_of
from runqueue.errors import InvalidRequest

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a",:[{}]\\é\n '),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='a",:[\\'), inner),
)


def cut(raw: bytes) -> list[bytes]:
    """The elements of a body."""
    return [*elements_of(raw, "expected an array")]


@given(value=st.lists(_JSON, max_size=5), indent=st.none() | st.just(1))
def test_they_are_those_that_a_parser_finds(value: list[Any], indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=False, indent=indent).encode()

    found = cut(b" " + raw + b"\n")

    assert [json.loads(element) for element in found] == value


@pytest.mark.parametrize(
    "raw", ["", " ", "{", "3", "{}", '{"jobs": [1]}', '"[1]"', " " * 9000 + "x"]
)
def test_what_is_no_array_says_what_was_expected(raw: str) -> None:
    with pytest.raises(InvalidRequest, match="expected an array"):
        cut(raw.encode())


@pytest.mark.parametrize("raw", ["[", "[1", "[1,", '["', "[[1]", "[1]]", "[1] 2", "[1],", "[1]}"])
def test_an_array_that_does_not_end_well_is_no_json(raw: str) -> None:
    with pytest.raises(InvalidRequest, match="expected JSON"):
        cut(raw.encode())


@pytest.mark.parametrize("raw", ["[1,,2]", "[,1]", "[1,]", "[{]}]", "[[}]", "[1 2]"])
def test_an_element_that_is_no_json_is_left_to_who_parses_it(raw: str) -> None:
    with pytest.raises((InvalidRequest, json.JSONDecodeError)):
        [json.loads(element) for element in cut(raw.encode())]
