"""Building requests: what is sent for what was given."""

import json
import re
import traceback
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from api_client import OMIT, RunEngine
from api_client.arguments import json_body, query_string, run_path, segment
from api_client.http.messages import RequestFactory, redirected

FACTORY = RequestFactory("https://api.example.com", "a-key")


class Price(BaseModel):
    amount: float = 1.0
    note: str | None = None


def test_an_argument_left_out_is_left_out_and_none_is_null() -> None:
    assert json_body({"a": 1, "b": None, "c": OMIT}) == b'{"a":1,"b":null}'


#: What orjson may write, and what it may not, since Python writes it otherwise.
FLAT = st.dictionaries(
    st.text(st.characters()),
    st.none()
    | st.booleans()
    | st.text(st.characters())
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(RunEngine),
)


@given(fields=FLAT)
@example(fields={"a": "\ud800"})
@example(fields={"a": '\x00\x1f\x7f\u2028"\\/é😀'})
@example(fields={"a": 2**64, "b": -(2**63)})
@example(fields={"a": 1e16})
def test_a_body_is_what_python_s_encoder_writes_to_the_byte(fields: dict[str, Any]) -> None:
    expected = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    try:
        assert json_body(fields) == expected.encode()
    except UnicodeEncodeError:
        assert re.search("[\ud800-\udfff]", expected)


def deep(value: Any) -> Any:
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("fields", [{"a": deep(1)}, {"a": {7}, "b": deep(1)}, {"a": deep({7})}])
def test_what_is_nested_too_deeply_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the arguments are nested too deeply to be sent"):
        json_body(fields)
    with pytest.raises(ValueError, match="the query is nested too deeply to be sent"):
        query_string(fields)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ä\u2028\U0001f600", '"ä\u2028\U0001f600"'),
        ('"\\/\n\x00\x7f', '"\\"\\\\/\\n\\u0000\x7f"'),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e22, "1e+22"),
        (0.1 + 0.2, "0.30000000000000004"),
        (12345678901234567890, "12345678901234567890"),
        ((1, [None, True]), "[1,[null,true]]"),
        ({1: 2, None: 4}, '{"1":2,"null":4}'),
        ({"b": 1, "a": 2}, '{"b":1,"a":2}'),
        (RunEngine.SKYVERN_V2, '"skyvern-2.0"'),
        (datetime(2026, 11, 25, 12, tzinfo=UTC), '"2026-11-25T12:00:00Z"'),
        (date(2026, 11, 25), '"2026-11-25"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.50"), '"1.50"'),
        ({7}, "[7]"),
        (Price(), '{"amount":1.0,"note":null}'),
    ],
)
def test_a_value_is_written_as_the_sdk_writes_it(value: Any, text: str) -> None:
    assert json_body({"a": value}).decode() == f'{{"a":{text}}}'


def test_what_json_has_no_word_for_is_refused() -> None:
    with pytest.raises(TypeError, match="JSON"):
        json_body({"a": object()})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_cannot_be_sent_as_json_in_utf8_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON compliant|surrogates not allowed"):
        json_body({"a": value})


def test_query_parameters_leave_out_none_and_write_booleans_as_json_does() -> None:
    query = query_string({"template": True, "a": None, "b": OMIT, "s": ["x", "y z"], "n": 1})
    assert query == "template=true&s=x&s=y+z&n=1"
    assert query_string({"f": False, "e": RunEngine.UI_TARS, "l": [True]}) == (
        "f=false&e=ui-tars&l=true"
    )
    assert query_string({"a": None, "b": []}) == ""


@pytest.mark.parametrize(
    ("run_id", "encoded"),
    [
        ("tsk_v2_1", "tsk_v2_1"),
        ("a/b?c#d e%", "a%2Fb%3Fc%23d%20e%25"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a.b", "a.b"),
        ("ä", "%C3%A4"),
        ("a%2Fb", "a%252Fb"),
    ],
)
def test_a_run_id_is_one_encoded_segment_of_the_path(run_id: str, encoded: str) -> None:
    assert segment(run_id) == encoded
    assert run_path(run_id) == f"v1/runs/{encoded}"
    assert run_path(run_id, "cancel") == f"v1/runs/{encoded}/cancel"


def test_a_key_that_cannot_be_sent_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="x-api-key") as caught:
        RequestFactory("https://api.example.com", "secret\n")
    assert "secret" not in str(caught.value)
    assert "a-key" not in repr(FACTORY)
    assert FACTORY.without_key("refused: a-key") == "refused: [key]"


def test_a_short_key_is_removed_as_a_word_and_not_out_of_others() -> None:
    short = RequestFactory("https://api.test", "k")
    assert short.without_key("/v1/run/tasks: no key 'k'") == "/v1/run/tasks: no key '[key]'"
    long = RequestFactory("https://api.test", "k" * 8)
    assert long.without_key(f"tas{'k' * 8}s") == "tas[key]s"


@pytest.mark.parametrize("name", ["Host", "Content-Length", "transfer-encoding", "X-Api-Key"])
def test_a_header_that_makes_another_request_of_it_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"header {name}: it is not for callers to set"):
        FACTORY.make("POST", "v1/run/tasks", b"{}", headers={name: "a"})
    with pytest.raises(ValueError, match=f"header {name}: it is not for callers to set"):
        RequestFactory("https://a.example", "a-key", {name: "a"})


@pytest.mark.parametrize(
    "base_url",
    [
        "https://me:secret@api.example.com",
        "ftp://me:secret@api.example.com",
        "http://me:secret@/",
        "http://me:secret@h:99999",
        "http://me:secret@h:port",
        "http://me:secret/word@h",
        "me:secret@api.example.com",
        "http://me:secret@[broken",
        "http://me:secret\x00@h",
    ],
)
def test_no_refusal_of_a_base_url_shows_a_password(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        RequestFactory(base_url, "a-key")
    shown = traceback.TracebackException.from_exception(caught.value, lookup_lines=False)
    assert "secret" not in "".join(shown.format_exception_only())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("/v2/x", "https://api.example.com/v2/x"),
        ("https://api.example.com/y", "https://api.example.com/y"),
        ("https://api.example.com:443/y", "https://api.example.com/y"),
        ("https://api.example.com:8443/y", None),
        ("https://other.example.com/y", None),
        ("http://api.example.com/y", None),
        ("//other.example.com/y", None),
        ("https://u:p@api.example.com/y", None),
        ("https://[broken", None),
        ("", None),
        (None, None),
    ],
)
def test_a_redirect_stays_on_the_server_it_came_from(
    location: str | None, followed: str | None
) -> None:
    onward = redirected(FACTORY.make("POST", "v1/run/tasks", b"{}"), location, 5)
    assert (str(onward.url) if onward else None) == followed


def test_a_redirect_may_go_from_http_to_https() -> None:
    plain = RequestFactory("http://api.example.com", "a-key").make("GET", "v1/runs")
    onward = redirected(plain, "https://api.example.com/v1/runs", 5)
    assert onward is not None
    assert onward.headers["x-api-key"] == "a-key"


def test_an_object_in_the_query_gives_a_pair_a_field_and_null_in_a_list_an_empty_one() -> None:
    query = query_string({"d": {"a": 1, "b": [1, 2]}, "l": ["a", None], "x": [{"y": True}]})
    assert query == "d%5Ba%5D=1&d%5Bb%5D=1&d%5Bb%5D=2&l=a&l=&x%5By%5D=true"


def test_a_run_id_that_is_no_text_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="run_id: expected text, got int"):
        run_path(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a b", "ä", "a:b"])
def test_a_header_with_a_name_that_cannot_be_sent_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a name of letters"):
        FACTORY.make("POST", "v1/run/tasks", headers={name: "x"})
