"""Whatever a server answers: the errors are ours, and what is returned can be written out again."""

import asyncio
import json
import pickle
import re
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from api_client import (
    BulkCancellation,
    Cancellation,
    RawClient,
    RunPage,
    RunReading,
    SkyvernError,
    Submission,
)
from api_client.types import RunListItem, RunWebhookReplayResponse, TaskRunResponse
from tests.api_client.recording import BASE_URL, KEY, WAYS, Recording, Respond, Way, called

MOMENTS = st.sampled_from(
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:59.999999",
        "2026-02-30T00:00:00",
        "2026-11-25T12:00:00.1234567+00:00",
        *("2026-11-25", "12:00", "", -1, 0, 1e300, 2**63, -62135596801, 253402300800, True),
    ]
)
NUMBERS = st.integers(-(2**80), 2**80) | st.floats() | st.sampled_from([10**400, 1e308])
WORDS = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["completed", "workflow_run", "task_v2", "tsk_1", "wr_1", "Not Found", "9" * 5000, "\ud800"]
)
PLAIN = st.none() | st.booleans() | NUMBERS | WORDS | MOMENTS
JSON: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OTHER_NAMES = {"cancelled", "failed", "detail", "workflow_run_id", "webhook_failure_reason", "new"}
FIELDS = sorted(
    {*TaskRunResponse.model_fields, *RunListItem.model_fields}
    | {*RunWebhookReplayResponse.model_fields}
    | OTHER_NAMES
)
#: The right names, and at times the right values.
NEARLY = st.builds(
    lambda fields, run_id, status: fields | {"run_id": run_id, "status": status},
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6),
    st.sampled_from(["tsk_1", "wr_1"]) | JSON,
    st.sampled_from(["completed", "running", "one of tomorrow"]) | JSON,
)


#: How errors are told: in words, in lists of faults and places, in anything inside those.
FAULTS = st.fixed_dictionaries({}, optional={"loc": JSON, "msg": JSON, "type": JSON, "input": JSON})
ERRORS = st.dictionaries(
    st.sampled_from(["detail", "error", "message"]), JSON | FAULTS | st.lists(FAULTS, max_size=3)
)


def nested(depth: int, before: bytes) -> bytes:
    """JSON of so many levels twice over, inside what is left open before it."""
    after = before.translate(bytes.maketrans(b"{[", b"}]"), bytes(set(range(256)) - set(b"{[")))
    return before + b'{"a":[' * depth + b"]}" * depth + after[::-1]


#: JSON in ASCII (NaN and lone surrogates as Python writes them), or in what is not quite UTF-8.
BODIES = (
    (NEARLY | st.lists(NEARLY, max_size=3) | ERRORS | JSON).flatmap(
        lambda value: st.sampled_from(
            [
                json.dumps(value).encode(),
                json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"),
            ]
        )
    )
    | st.binary(max_size=20)
    | st.builds(
        nested,
        st.integers(90, 110) | st.sampled_from([400, 600, 50_000]),
        st.sampled_from(
            [
                b"",
                b'{"run_id":"tsk_1","status":"completed","output":',
                *(b'{"detail":', b'{"error":', b'{"detail":[{"msg":"m","loc":'),
                b'{"detail":[{"msg":"m","loc":["body",',
            ]
        ),
    )
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            b"retry-after date location content-encoding content-type x-request-id "
            b"content-length set-cookie".split()
        ),
        st.sampled_from(
            [
                *(b"Wed, 25 Nov 2026 12:00:00 GMT", b"Mon, 00 Foo 0000 99:99:99 GMT"),
                *(b"Fri, 31 Dec 9999 23:59:59 -1400", b"text/html; charset=nonsense"),
                *(b"0", b"-1", b"1e9", b"inf", b"5\xb2", b"/elsewhere", b"//other/", b"http://["),
                *(b"gzip", b"deflate", b"br, x"),
            ]
        )
        | st.binary(max_size=12),
    ),
    max_size=3,
)
STATUSES = st.sampled_from([200, 200, 200, 204]) | st.integers(200, 599)
ANSWERS = st.builds(
    lambda status, headers, body: (status, headers, body), STATUSES, HEADERS, BODIES
)
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

#: Once, and without a pause.
ONCE: dict[str, Any] = {"request_options": {"max_retries": 0}}
CALLS: dict[str, dict[str, Any]] = {
    "run_task": {"prompt": "p"},
    "run_workflow": {"workflow_id": "w"},
    "get_run": {"run_id": "tsk_1"},
    "cancel_run": {"run_id": "tsk_1"},
    "retry_run_webhook": {"run_id": "tsk_1"},
    "list_runs": {},
    "iter_runs": {},
    "cancel_runs": {"run_ids": ["tsk_1"]},
    "webhook_failure_reason": {"run_id": "wr_1"},
    "wait_for_run": {"run_id": "tsk_1", "timeout": 0},
}
RUN = b'{"run_id":"tsk_1","status":"completed"'


def answering(answer: Answer) -> Respond:
    status, headers, body = answer

    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    return respond


def check_writable(result: Any) -> None:
    """Whatever it is, it can be shown, and written as JSON that can be read."""
    assert repr(result)
    if isinstance(result, BaseModel):
        result.model_dump()
        json.loads(result.model_dump_json())
    elif isinstance(result, list):
        for item in result:
            check_writable(item)
    else:
        assert result is None or isinstance(result, str)


def check_sayable(error: SkyvernError) -> None:
    """It is one line of some length that a log can take, and it travels to another process."""
    words = str(error)
    assert words.encode()
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", words)
    assert len(words) < 600
    assert KEY not in words
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), words)


@pytest.mark.parametrize("call", CALLS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(answer=ANSWERS, way=st.sampled_from(WAYS))
@example(answer=(200, [], RUN + b',"created_at":"0001-01-01T00:00:00+14:00"}'), way="blocking")
@example(answer=(200, [], RUN + b',"output":{"a":1e999}}'), way="blocking")
@example(answer=(200, [], RUN + b',"output":"\\ud800"}'), way="awaited")
@example(answer=(200, [(b"content-encoding", b"gzip")], RUN + b"}"), way="awaited")
@example(answer=(429, [(b"retry-after", b"\xb2")], b""), way="blocking")
@example(answer=(500, [], nested(400, b"")), way="blocking")
@example(answer=(422, [], nested(500, b'{"detail":[{"msg":"m","loc":["body",')), way="blocking")
@example(answer=(404, [], nested(400, b'{"detail":')), way="awaited")
@example(answer=(302, [(b"location", b"http://[")], b""), way="blocking")
@example(answer=(307, [(b"location", b"//h\x1b[1m/")], b""), way="awaited")
def test_a_call_returns_what_can_be_written_or_raises_an_error_of_ours(
    call: str, answer: Answer, way: Way
) -> None:
    try:
        result = called(way, Recording(answering(answer)), call, **CALLS[call], **ONCE)
    except SkyvernError as error:
        check_sayable(error)
    else:
        check_writable(result)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(answer=ANSWERS)
@example(answer=(200, [(b"content-encoding", b"gzip")], RUN + b"}"))
@example(answer=(200, [], nested(50_000, b"")))
def test_a_raw_call_never_raises(answer: Answer) -> None:
    raw = RawClient(BASE_URL, KEY, Recording(answering(answer)))

    async def calls() -> list[object]:
        made: list[Coroutine[Any, Any, object]] = [
            raw.submit("task", b"{}"),
            raw.submit("workflow", b"{}"),
            raw.get_run("tsk_1"),
            raw.cancel_run("tsk_1"),
            raw.list_runs(),
            raw.cancel_runs(["tsk_1"]),
            raw.check_key(),
        ]
        return [await call for call in made]

    *outcomes, allowed = asyncio.run(calls())
    assert [type(outcome) for outcome in outcomes] == [
        *(Submission, Submission),
        *(RunReading, Cancellation, RunPage, BulkCancellation),
    ]
    assert allowed in {True, False, None}
    assert KEY not in repr(outcomes)
