"""Request bodies: their type, their limits, and the seconds in which they come."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gateway.http.counting import taken_by
from gateway.http.problems import errors_of_model
from gateway.refused import Refused
from gateway.tenants.in_flight import SMALL
from runqueue.errors import InvalidRequest
from runqueue.problem_types import ProblemType
from runqueue.request.validation_errors import size_words

#: Seconds in which a body has to be here, or the next part of one that is streamed.
BODY_SECONDS = 30.0
#: Bytes of a body that names a few things, and of one that is streamed and checked, at a time.
_FEW, PART = 8 * 1024, 256 * 1024

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request, most: int, otherwise: str = "") -> bytes:
    """Read a request's body, which is to be JSON.

    Args:
        request: the request, its body not read yet.
        most: bytes that it may have.
        otherwise: what to do with more, for the refusal.

    Raises:
        Refused: it is of another type, too large or too slow, or its sender has too much in
            flight.
    """
    check_kind(request, "application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _unsupported("a body without Content-Encoding")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise too_large("a body", most, otherwise)
    size = 0
    parts: list[bytes] = []
    async for part in chunks_of(request, BODY_SECONDS):
        size += len(part)
        if size > most:
            raise too_large("a body", most, otherwise)
        if size > SMALL:
            taken_by(request).take(min(len(part), size - SMALL))
        parts.append(part)
    return b"".join(parts)


async def read_model(request: Request, model: type[M]) -> M:
    """Read a request's body, which is small, as a model.

    Args:
        request: the request, its body not read yet.
        model: its expected model.

    Raises:
        InvalidRequest: it does not fit; each field at fault is named.
        Refused: as `read_json`.
    """
    raw = await read_json(request, _FEW)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise InvalidRequest(errors_of_model(error)) from None


async def chunks_of(request: Request, whole: float | None = None) -> AsyncIterator[bytes]:
    """Yield the parts of a body as they come.

    Args:
        request: the request, its body not read yet.
        whole: seconds in which all of it has to be here; None: each part has `BODY_SECONDS`.

    Raises:
        Refused: it does not come, or its sender has gone.
    """
    parts = request.stream()
    clock = asyncio.get_running_loop().time
    give_up = clock() + whole if whole else None
    while True:
        try:
            async with asyncio.timeout_at(give_up or clock() + BODY_SECONDS):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            words, headers = "the body did not arrive in time", {"Connection": "close"}
            raise Refused(ProblemType.BODY_TIMEOUT, words, headers) from None
        except ClientDisconnect:
            raise Refused(ProblemType.BODY_INCOMPLETE, "the body did not arrive whole") from None
        if part:
            yield part


async def gathered(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield parts of at least `PART` bytes, but for the last: each costs a switch of threads."""
    some: list[bytes] = []
    length = 0
    async for part in parts:
        some.append(part)
        length += len(part)
        if length >= PART:
            yield b"".join(some)
            some, length = [], 0
    if some:
        yield b"".join(some)


def body_of(content: dict[str, Any], *kinds: str) -> dict[str, Any]:
    """Describe a body that a route reads by itself, for the OpenAPI file.

    Args:
        content: its schema and an example.
        kinds: its content types; none: JSON.
    """
    described = dict.fromkeys(kinds or ("application/json",), content)
    return {"requestBody": {"required": True, "content": described}}


def check_kind(request: Request, *kinds: str) -> None:
    """Check that the Content-Type of a body is one that the route reads.

    Raises:
        Refused: it is another, or missing.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise _unsupported(f"Content-Type: {' or '.join(kinds)}")


def _unsupported(expected: str) -> Refused:
    return Refused(ProblemType.UNSUPPORTED_MEDIA_TYPE, f"expected {expected}")


def too_large(what: str, most: int, otherwise: str = "") -> Refused:
    """Return the refusal of a body that has more bytes than it may have."""
    words = f"expected {what} of {size_words(most)} at most"
    words += f"; {otherwise}" if otherwise else ""
    return Refused(ProblemType.BODY_TOO_LARGE, words)


def json_answer(value: Any, status: int = 200, location: str | None = None) -> Response:
    """Return an answer in JSON.

    Args:
        value: what it says.
        status: its status.
        location: the URL of the created resource.
    """
    headers = {"Location": location} if location else None
    return Response(orjson.dumps(value), status, headers, "application/json")
