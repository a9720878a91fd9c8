"""`request_options`: each key of them, with every call."""

from typing import Any

import pytest

from api_client import OMIT, RequestOptions
from tests.api_client.recording import WAYS, Recording, Way, called
from tests.api_client.test_every_argument import LEAST, Row

ALL_NONE: RequestOptions = {
    "timeout_in_seconds": None,
    "max_retries": None,
    "additional_headers": None,
    "additional_query_parameters": None,
    "additional_body_parameters": None,
    "chunk_size": None,
}

both = pytest.mark.parametrize("way", WAYS)
every_call = pytest.mark.parametrize("row", LEAST.values(), ids=LEAST)
every_post = pytest.mark.parametrize(
    "row", [row for row in LEAST.values() if row.method == "POST"], ids=lambda row: row.call
)


def sent(row: Row, way: Way, options: RequestOptions | None) -> Any:
    transport = Recording()
    called(way, transport, row.call, **row.given, request_options=options)
    return transport.only


def test_every_key_of_the_options_is_covered_here() -> None:
    assert set(ALL_NONE) == set(RequestOptions.__annotations__)


@both
@every_call
def test_a_time_limit_of_one_call_goes_to_the_transport(row: Row, way: Way) -> None:
    request = sent(row, way, {"timeout_in_seconds": 7})
    assert request.extensions["timeout"]["read"] == 7


@both
@every_call
def test_additional_headers_go_before_ours_whatever_their_case(row: Row, way: Way) -> None:
    additional = {"X-Trace": 5, "ACCEPT": "a/b", "x-none": None, "x-left-out": OMIT}
    request = sent(row, way, {"additional_headers": additional})
    assert request.headers.get_list("x-trace") == ["5"]
    assert request.headers.get_list("accept") == ["a/b"]
    assert not {"x-none", "x-left-out"} & set(request.headers)


@both
@pytest.mark.parametrize("call", ["run_task", "run_workflow"])
def test_additional_headers_go_before_the_call_s_arguments(call: str, way: Way) -> None:
    additional = {"X-User-Agent": "theirs"}
    transport = Recording()
    given = LEAST[call].given | {"user_agent": "ours"}
    called(way, transport, call, **given, request_options={"additional_headers": additional})
    assert transport.only.headers.get_list("x-user-agent") == ["theirs"]


@both
@every_call
def test_additional_query_parameters_come_after_the_call_s_own(row: Row, way: Way) -> None:
    additional = {"q": 1, "f": True, "none": None, "l": ["a b", "ä"], "e": ""}
    request = sent(row, way, {"additional_query_parameters": additional})
    mark = "&" if "?" in row.target else "?"
    assert request.url.raw_path.decode() == f"{row.target}{mark}q=1&f=true&l=a+b&l=%C3%A4&e="


@both
@every_post
def test_additional_body_parameters_come_after_the_call_s_own_and_null_stays(
    row: Row, way: Way
) -> None:
    additional = {"new": [1, None], "none": None}
    request = sent(row, way, {"additional_body_parameters": additional})
    before = f"{row.content[:-1]}," if len(row.content) > 2 else "{"
    assert request.content.decode() == before + '"new":[1,null],"none":null}'
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.content))


@both
@every_call
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"timeout": 5}, TypeError, "unknown request_options timeout; there are: timeout_in"),
        ({"timeout_in_seconds": 0}, ValueError, "timeout_in_seconds: expected more than 0"),
        ({"timeout_in_seconds": -1}, ValueError, "timeout_in_seconds: expected more than 0"),
        ({"timeout_in_seconds": float("nan")}, ValueError, "timeout_in_seconds: expected more"),
        ({"timeout_in_seconds": "7"}, TypeError, "timeout_in_seconds: expected seconds, got str"),
        ({"timeout_in_seconds": True}, TypeError, "timeout_in_seconds: expected seconds, got bool"),
        ({"max_retries": -1}, ValueError, "max_retries: expected a whole number from 0, got -1"),
        ({"max_retries": 1.5}, ValueError, "max_retries: expected a whole number from 0, got 1.5"),
        ({"max_retries": "2"}, ValueError, "max_retries: expected a whole number from 0, got '2'"),
        ({"max_retries": True}, ValueError, "max_retries: expected a whole number from 0, got T"),
        ([("max_retries", 1)], TypeError, "request_options: expected a dict, got list"),
        ([], TypeError, "request_options: expected a dict, got list"),
        ("", TypeError, "request_options: expected a dict, got str"),
        (
            {"additional_query_parameters": {"q": [1, OMIT]}},
            TypeError,
            "OMIT stands for an argument",
        ),
        (
            {"additional_body_parameters": {"q": {"a": [OMIT]}}},
            TypeError,
            "OMIT stands for an argument",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_sent(
    options: Any, error: type[Exception], words: str, row: Row, way: Way
) -> None:
    transport = Recording()
    with pytest.raises(error, match=words):
        called(way, transport, row.call, **row.given, request_options=options)
    assert transport.requests == []
