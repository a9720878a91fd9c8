"""Request bodies: their type, their limits, and the memory of all together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gateway.http.problems import errors_of_model
from gateway.tenants.scope import tenant_scope_of
from gateway.tenants.shares import Shares
from runqueue.errors import InvalidRequest
from runqueue.request.validation_errors import size_words

#: Bytes of a body that names a few things.
SMALL = 64 * 1024
#: Bytes that all bodies together may take: checking one takes as much again.
MAX_HELD = 64 * 1024 * 1024
#: Seconds in which a body has to be here, or a part of one that is streamed.
BODY_SECONDS = 30.0
#: Seconds for all parts of one that is streamed, and bytes that have to come in each second after
#: the first `BODY_SECONDS`.
STREAM_SECONDS, SLOWEST = 3_600.0, 1_024
#: Bytes of a body that are checked at a time.
PART = 256 * 1024
#: Seconds after which a caller that found the gateway busy should try again.
BUSY_SECONDS = 5

M = TypeVar("M", bound=BaseModel)


class BodyMemory:
    """The memory for bodies, shared out among bearers.

    The first `SMALL` bytes of each are free: small ones are never refused.

    Args:
        most: bytes in it at a time.
    """

    def __init__(self, most: int = MAX_HELD) -> None:
        self.shares = Shares(most)

    @asynccontextmanager
    async def parts(
        self, request: Request, most: int, otherwise: str = ""
    ) -> AsyncIterator[list[bytes]]:
        """Hold a request's body, which is to be JSON, in the parts in which it came.

        Args:
            request: the request, its body not read yet.
            most: bytes that it may have.
            otherwise: what to do with more, for the refusal.

        Raises:
            HTTPException: it is of another type, too large, too slow, or memory for it is short.
        """
        check_kind(request, "application/json")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise HTTPException(415, "expected a body without Content-Encoding")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            raise too_large("a body", most, otherwise)
        held: list[int] = []
        bearer = tenant_scope_of(request).name
        try:
            yield await self._read(request, bearer, most, otherwise, held)
        finally:
            self.shares.give_back(bearer, sum(held))

    async def model(self, request: Request, model: type[M]) -> M:
        """Read a request's body, which is small, as a model.

        Args:
            request: the request, its body not read yet.
            model: its expected model.

        Raises:
            InvalidRequest: it does not fit; each field at fault is named.
            HTTPException: as `parts`.
        """
        async with self.parts(request, SMALL) as parts:
            try:
                return model.model_validate_json(b"".join(parts))
            except ValidationError as error:
                raise InvalidRequest(errors_of_model(error)) from None

    async def _read(
        self, request: Request, bearer: str, most: int, otherwise: str, held: list[int]
    ) -> list[bytes]:
        size = 0
        parts: list[bytes] = []
        async for part in chunks_of(request, BODY_SECONDS):
            size += len(part)
            if size > most:
                raise too_large("a body", most, otherwise)
            parts.append(part)
            if size > SMALL:
                large = min(len(part), size - SMALL)
                if not self.shares.take(bearer, large):
                    raise busy("too many large requests are being read; try again")
                held.append(large)
        return parts


async def chunks_of(request: Request, whole: float | None = None) -> AsyncIterator[bytes]:
    """Yield the parts of a body as they come.

    Args:
        request: the request, its body not read yet.
        whole: seconds in which all of it has to be here; None: each part has `BODY_SECONDS`, all of
            them `STREAM_SECONDS` or what `SLOWEST` leaves them.

    Raises:
        HTTPException: it does not come, or its sender has gone.
    """
    parts = request.stream()
    clock = asyncio.get_running_loop().time
    give_up = clock() + whole if whole else None
    size, waited = 0, 0.0
    while True:
        began = clock()
        left = min(STREAM_SECONDS, BODY_SECONDS + size / SLOWEST) - waited
        try:
            async with asyncio.timeout_at(give_up or began + min(BODY_SECONDS, left)):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise closing(408, "the body did not arrive in time") from None
        except ClientDisconnect:
            raise closing(400, "the body did not arrive whole") from None
        waited += clock() - began
        size += len(part)
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
        HTTPException: it is another, or missing.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise closing(415, f"expected Content-Type: {' or '.join(kinds)}")


def closing(status: int, detail: str) -> HTTPException:
    """Return a refusal after which the rest of the body is not read."""
    return HTTPException(status, detail, {"connection": "close"})


def too_large(what: str, most: int, otherwise: str = "") -> HTTPException:
    """Return the refusal of a body that has more bytes than it may have."""
    words = f"expected {what} of {size_words(most)} at most"
    return closing(413, f"{words}; {otherwise}" if otherwise else words)


def busy(detail: str) -> HTTPException:
    """Return the refusal of a request for which capacity is short now."""
    return HTTPException(503, detail, {"Retry-After": str(BUSY_SECONDS)})


def json_answer(value: Any, status: int = 200, location: str | None = None) -> Response:
    """Return an answer in JSON.

    Args:
        value: what it says.
        status: its status.
        location: the URL of the created resource.
    """
    headers = {"Location": location} if location else None
    return Response(orjson.dumps(value), status, headers, "application/json")
