"""Calls about one run and about sessions: what is read of the answers, what is made again."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api_client import (
    BadRequestError,
    NotFoundError,
    NotSupported,
    RateLimitError,
    ServerError,
    SkyvernError,
)
from tests.api_client.recording import WAYS, Recording, Way, answering, called

both = pytest.mark.parametrize("way", WAYS)
TAG = {"key": "rq_job", "value": "a.1", "source": "manual", "set_at": "2026-11-27T14:02:10.180106"}


@both
def test_artifacts_are_models_and_what_is_odd_of_one_is_set_aside(way: Way) -> None:
    answer = [
        {"artifact_id": "a_1", "artifact_type": "har", "file_size": 7, "uri": "s3://x", "new": 1},
        {"artifact_id": "a_2", "artifact_type": "a_type_of_tomorrow", "file_size": "many"},
    ]
    first, second = called(way, Recording(answering(content=answer)), "get_run_artifacts", "wr_1")
    assert (first.artifact_id, first.file_size, first.model_dump()["new"]) == ("a_1", 7, 1)
    assert (second.artifact_type, second.file_size) == ("a_type_of_tomorrow", None)
    assert second.unreadable_fields == {"file_size": "many"}


@both
def test_a_timeline_is_models_with_their_blocks_as_they_came(way: Way) -> None:
    block = {"block_type": "wait", "status": "completed", "output": {"success": True}}
    below = {"type": "thought", "thought": {"answer": "x"}, "children": []}
    answer = [{"type": "block", "attempt": 1, "block": block, "thought": None, "children": [below]}]
    (entry,) = called(way, Recording(answering(content=answer)), "get_run_timeline", "wr_1")
    assert (entry.type, entry.attempt, entry.block, entry.children) == ("block", 1, block, [below])


@both
def test_tags_are_models_and_one_without_a_key_stands_alone(way: Way) -> None:
    answer = {"workflow_run_id": "wr_1", "tags": [TAG, {"key": None, "value": "solo"}]}
    for call in ("get_run_tags", "apply_run_tags"):
        tags = called(way, Recording(answering(content=answer)), call, "wr_1").tags
        assert [(tag.key, tag.value) for tag in tags] == [("rq_job", "a.1"), (None, "solo")]
        assert tags[0].set_at == datetime(2026, 11, 27, 14, 2, 10, 180106, UTC)


@both
def test_a_session_is_a_model_and_says_what_was_done_otherwise(way: Way) -> None:
    answer = {"browser_session_id": "pbs_1", "timeout": 240, "warning": "capped", "status": None}
    made = called(way, Recording(answering(content=answer)), "create_browser_session", timeout=999)
    assert (made.browser_session_id, made.timeout, made.warning) == ("pbs_1", 240, "capped")


@both
@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("get_run_artifacts", {}),
        ("get_run_timeline", {"runs": []}),
        ("get_run_tags", {"tags": []}),
        ("get_browser_session", {"status": "running"}),
    ],
)
def test_another_shape_is_an_error_and_never_an_empty_answer(
    call: str, answer: Any, way: Way
) -> None:
    with pytest.raises(SkyvernError):
        called(way, Recording(answering(content=answer)), call, "wr_1")


@both
@pytest.mark.parametrize(
    "call",
    [
        *("get_run_artifacts", "get_run_timeline", "get_run_tags", "apply_run_tags"),
        *("retry_workflow_run", "get_browser_session", "close_browser_session"),
    ],
)
def test_a_server_without_the_call_says_so_and_an_unknown_id_is_not_that(
    call: str, way: Way
) -> None:
    with pytest.raises(NotSupported):
        called(way, Recording(answering(404, {"detail": "Not Found"})), call, "wr_1")
    with pytest.raises(NotFoundError):
        called(way, Recording(answering(404, {"detail": "wr_1 not found"})), call, "wr_1")


@both
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (429, {"detail": "Maximum 1 requests per 1 seconds"}, RateLimitError),
        (503, {"detail": "No run was created; retry this request."}, ServerError),
        (500, {"error": "Unexpected error"}, ServerError),
        (400, {"detail": "Only terminal workflow runs can be retried"}, BadRequestError),
    ],
)
def test_a_new_run_of_a_run_is_asked_for_once_whatever_the_answer(
    status: int, body: Any, error: type[SkyvernError], way: Way
) -> None:
    transport = Recording(answering(status, body))
    options = {"max_retries": 5}
    with pytest.raises(error) as caught:
        called(way, transport, "retry_workflow_run", "wr_1", request_options=options)
    assert len(transport.requests) == 1
    assert caught.value.run_may_exist is (status == 500)


@both
def test_a_new_run_of_a_run_is_asked_for_once_although_nothing_was_sent(way: Way) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    transport = Recording(refuse)
    with pytest.raises(SkyvernError):
        called(way, transport, "retry_workflow_run", "wr_1", request_options={"max_retries": 5})
    assert len(transport.requests) == 1


CHANGES = [
    ("create_browser_session", (), {}),
    ("extend_browser_session", ("pbs_1",), {"additional_minutes": 5}),
    ("close_browser_session", ("pbs_1",), {}),
    ("apply_run_tags", ("wr_1",), {"tags": []}),
]


@both
@pytest.mark.parametrize(("call", "args", "given"), CHANGES)
def test_a_change_is_made_again_only_where_nothing_came_of_it(
    call: str, args: tuple[Any, ...], given: dict[str, Any], way: Way
) -> None:
    for status, times in ((500, 1), (429, 3)):
        transport = Recording(answering(status, {"detail": "no"}))
        with pytest.raises(SkyvernError) as caught:
            called(way, transport, call, *args, **given, request_options={"max_retries": 2})
        assert len(transport.requests) == times
        assert not caught.value.run_may_exist


@both
@pytest.mark.parametrize("call", ["get_browser_session", "close_browser_session"])
def test_an_empty_session_id_is_refused_by_its_name(call: str, way: Way) -> None:
    with pytest.raises(ValueError, match="browser_session_id is empty"):
        called(way, Recording(), call, "")
