"""Problems have types of their own: each error of the queue is itself again in a client."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.http.problems import add_handlers
from gateway.refused import Refused
from runqueue import errors
from runqueue.ids import new_id
from runqueue.problem_types import ProblemType, type_of
from runqueue.remote.errors import error_of, read_refusal
from tests.gateway.gating import gating, listed

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/http_api.md"
URL = "https://queue.example.com"
JOB = new_id("default")


def kinds_of(error: type[errors.RunQueueError]) -> set[type[errors.RunQueueError]]:
    """A class of errors, and all below it that the package has."""
    below = (kinds_of(one) for one in error.__subclasses__())
    own = {error} if error.__module__ == errors.__name__ else set()
    return own.union(*below)


INVALID = sorted(kinds_of(errors.InvalidRequest), key=str)
#: An error of each class, as the queue of a gateway raises it.
RAISED = [
    *(
        kind([errors.FieldError("body.url", "required"), errors.FieldError("b", "x")])
        for kind in INVALID
    ),
    errors.UnknownAccount("acme"),
    errors.IdempotencyConflict("order-17", JOB),
    errors.JobNotFound(JOB),
    errors.ScheduleNotFound("nightly"),
    errors.JobArchived(JOB),
    errors.BatchNotFound(JOB),
    errors.BatchCanceled(JOB),
    errors.BatchExpired(JOB),
    errors.BatchMismatch(JOB, 12),
    errors.QueueFull(),
    errors.QuotaReached.of("acme", "shop", "jobs", 1_000),
    errors.EvictingRedis("allkeys-lru"),
    errors.OtherFormat("7", 8),
    errors.ArchiveUnavailable("the archive cannot be read now; the gateway's log says why"),
]
#: Bases, what only a client raises, and what ends a process before it serves.
NOT_RAISED = {
    *(errors.RunQueueError, errors._WithFields, errors.NotAllowed, errors.GatewayUnavailable),
    *(errors.QueueUnavailable, errors.MalformedURL, errors.NoQueueHere, errors.AmbiguousAccounts),
}


async def answer_to(error: Exception) -> httpx.Response:
    """What a gateway answers if a call of its raises an error."""
    app = FastAPI()
    add_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        return await client.get("/")


async def raised_for(error: Exception) -> errors.RunQueueError:
    """What a client raises then."""
    return error_of(read_refusal(await answer_to(error), "secret"), URL)


def test_each_class_of_errors_is_raised_here_or_cannot_be() -> None:
    assert {type(one) for one in RAISED} == kinds_of(errors.RunQueueError) - NOT_RAISED


@pytest.mark.parametrize("error", RAISED, ids=lambda one: type(one).__name__)
async def test_an_error_of_the_queue_is_itself_in_a_client(error: errors.RunQueueError) -> None:
    found = await raised_for(error)

    assert (type(found), str(found)) == (type(error), str(error))


async def test_a_queue_that_is_away_is_a_gateway_that_is_away() -> None:
    for error in (
        errors.QueueUnavailable("redis://:pw@r/0"),
        errors.RunQueueError("no"),
        OSError("no"),
    ):
        answer = await answer_to(error)
        assert answer.json()["type"] == ProblemType.QUEUE_UNAVAILABLE.uri
        assert type(await raised_for(error)) is errors.GatewayUnavailable
        assert "redis" not in answer.text


@pytest.mark.parametrize("kind", ProblemType, ids=lambda one: one.name)
async def test_each_type_that_a_gateway_answers_with_is_known_to_a_client(
    kind: ProblemType,
) -> None:
    answer = await answer_to(Refused(kind, "because", batch_id=JOB))
    found = error_of(read_refusal(answer, "secret"), URL)
    body: dict[str, Any] = answer.json()

    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, body["status"]) == (kind.status, kind.status)
    assert (body["type"], body["title"], body["detail"]) == (kind.uri, kind.meaning, "because")
    if kind.status in {401, 403}:
        assert type(found) is errors.NotAllowed
    elif kind.status >= 500 and kind.error in {None, errors.GatewayUnavailable}:
        assert type(found) is errors.GatewayUnavailable
    elif kind is ProblemType.UPLOAD_DISCARDED:
        assert str(found) == str(errors.BatchNotFound(JOB))


def test_each_type_is_that_of_an_error_or_raised_by_the_gateway_itself() -> None:
    code = "".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    raised = re.findall(r"(?:Refused\(|problem\(|kind = |\d: )\s*ProblemType\.(\w+)", code)
    found = {ProblemType[name] for name in raised} | {type_of(error) for error in RAISED}

    assert found == set(ProblemType)


#: What no described route answers with: other addresses, and the one of Skyvern's webhooks.
NOWHERE = {
    ProblemType.ADDRESS_NOT_FOUND,
    ProblemType.METHOD_NOT_ALLOWED,
    ProblemType.WRONG_SIGNATURE,
    ProblemType.RUN_MISMATCH,
}


async def test_the_description_has_each_type_and_who_answers_with_it(redis_url: str) -> None:
    async with gating(redis_url) as door:
        described = (await door.ask("GET", "/openapi.json")).body

    problem = described["components"]["schemas"]["Problem"]["properties"]
    assert problem["type"]["enum"] == [one.uri for one in ProblemType]
    for one in ProblemType:
        assert f"`{one.uri}`: {one.meaning}" in problem["type"]["description"]
    assert {"job_id", "batch_id", "key", "expected", "account"} <= problem.keys()
    found = {
        uri
        for operations in described["paths"].values()
        for operation in operations.values()
        for uris in listed(operation["responses"]).values()
        for uri in uris
    }
    assert found == {one.uri for one in ProblemType if one not in NOWHERE}


def test_the_page_has_the_types_of_the_table() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+?) \|", PAGE.read_text(), re.MULTILINE)
    expected = [
        (one.uri.rpartition(":")[2], str(one.status), one.meaning.removesuffix("."))
        for one in ProblemType
    ]
    assert rows == expected
