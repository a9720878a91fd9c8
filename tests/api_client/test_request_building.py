"""Building requests: what is sent for what was given."""

import httpx
import pytest

from api_client.requests import (
    OMIT,
    RequestFactory,
    cancel_path,
    check_options,
    json_body,
    query_string,
    redirected,
    run_headers,
    run_path,
)

FACTORY = RequestFactory("https://api.example.com", "a-key")


def test_an_argument_left_out_is_left_out_and_none_is_null() -> None:
    assert json_body({"a": 1, "b": None, "c": OMIT}) == b'{"a":1,"b":null}'


def test_additional_body_parameters_go_before_the_call_s_own() -> None:
    assert json_body({"a": 1, "b": 2}, {"b": 3, "c": None}) == b'{"a":1,"b":3,"c":null}'


def test_what_json_has_no_word_for_is_refused() -> None:
    with pytest.raises(TypeError, match="JSON"):
        json_body({"a": object()})


def test_header_arguments_are_strings_and_absent_when_none() -> None:
    assert run_headers(user_agent="ua", max_steps_override=7) == {
        "x-user-agent": "ua",
        "x-max-steps-override": "7",
    }
    assert run_headers(user_agent=None, max_steps_override=None) == {}
    assert run_headers(max_steps_override=0) == {"x-max-steps-override": "0"}


def test_query_parameters_leave_out_none_and_write_booleans_as_json_does() -> None:
    query = query_string({"template": True, "a": None, "b": OMIT}, {"s": ["x", "y z"], "n": 1})
    assert query == "template=true&s=x&s=y+z&n=1"


@pytest.mark.parametrize(
    ("run_id", "path"),
    [
        ("tsk_v2_1", "v1/runs/tsk_v2_1"),
        ("a/b?c#d e%", "v1/runs/a%2Fb%3Fc%23d%20e%25"),
        ("..", "v1/runs/%2E%2E"),
        (".", "v1/runs/%2E"),
        ("a.b", "v1/runs/a.b"),
        ("ä", "v1/runs/%C3%A4"),
    ],
)
def test_a_run_id_is_one_encoded_segment_of_the_path(run_id: str, path: str) -> None:
    assert run_path(run_id) == path
    assert cancel_path(run_id) == path + "/cancel"


def test_an_empty_run_id_is_refused() -> None:
    with pytest.raises(ValueError, match="run_id is empty"):
        run_path("")


@pytest.mark.parametrize(
    "base", ["https://api.example.com", "http://h:8000/pre/fix/", "http://[::1]:9"]
)
@pytest.mark.parametrize("path", ["v1/run/tasks", "v1/runs/a%2Fb%20c", "v1/runs/%2E%2E/cancel"])
@pytest.mark.parametrize("query", ["", "template=true", "search_key=%5Brq%3Ax%5D&page=1"])
def test_a_url_made_from_parts_is_the_one_httpx_would_parse(
    base: str, path: str, query: str
) -> None:
    made = RequestFactory(base, "a-key").url(path, query)
    text = f"{base.rstrip('/')}/{path}" + (f"?{query}" if query else "")
    assert made == httpx.URL(text)
    assert str(made) == text
    assert (made.path, made.query, made.raw_path, made.netloc) == (
        httpx.URL(text).path,
        httpx.URL(text).query,
        httpx.URL(text).raw_path,
        httpx.URL(text).netloc,
    )


def test_the_caller_s_headers_go_before_ours() -> None:
    request = FACTORY.post("v1/run/tasks", b"{}", headers={"Content-Type": "a/b", "X-New": "1"})
    assert request.headers.get_list("content-type") == ["a/b"]
    assert request.headers["x-new"] == "1"
    assert request.headers["x-api-key"] == "a-key"
    assert FACTORY.get("v1/runs", headers={"accept": "a/b"}).headers.get_list("accept") == ["a/b"]


@pytest.mark.parametrize("value", ["a\r\nb: c", "", "ä", "a\x00"])
def test_a_header_that_would_be_two_or_none_is_refused_by_name(value: str) -> None:
    with pytest.raises(ValueError, match="header x-user-agent"):
        FACTORY.post("v1/run/tasks", b"{}", headers={"x-user-agent": value})


def test_a_key_that_cannot_be_sent_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="x-api-key") as caught:
        RequestFactory("https://api.example.com", "secret\n")
    assert "secret" not in str(caught.value)
    assert "a-key" not in repr(FACTORY)


@pytest.mark.parametrize(
    "base_url",
    ["", "api.example.com", "ftp://a", "http://", "http://a/?q=1", "http://u:p@a", "http://a:b"],
)
def test_a_base_url_that_cannot_be_called_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        RequestFactory(base_url, "a-key")


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("/v2/x", "https://api.example.com/v2/x"),
        ("https://api.example.com/y", "https://api.example.com/y"),
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
    onward = redirected(FACTORY.post("v1/run/tasks", b"{}"), location, 5)
    assert (str(onward.url) if onward else None) == followed


def test_a_redirect_may_go_from_http_to_https() -> None:
    plain = RequestFactory("http://api.example.com", "a-key").get("v1/runs")
    onward = redirected(plain, "https://api.example.com/v1/runs", 5)
    assert onward is not None
    assert onward.headers["x-api-key"] == "a-key"


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="unknown request_options timeout; there are: timeout_in"):
        check_options({"timeout": 5})  # type: ignore[arg-type]
