"""Trying out a receiver of webhooks: a sample is signed and sent, and what came back is told."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message

from api_client.signing import webhook_headers
from config.settings import Account
from gateway.auth import requires
from gateway.gate import gate_of
from gateway.problems import Fault, FieldsRefused, answers

#: Bytes that a request may have, and seconds in which they have to be here.
MAX_BODY, BODY_SECONDS = 64 * 1024, 30.0
#: Seconds that the receiver may take.
SECONDS = 15.0

_HEADERS = {
    "content-type": "application/json",
    "webhook-id": "test_4f1c0a9be2d87365",
    "webhook-timestamp": "1764080000",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    "x-skyvern-signature": "5f2b…",
    "x-skyvern-timestamp": "1764080000",
}


class _Limited(APIRoute):
    """A route that reads a body within limits: FastAPI reads it before it looks who asks."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handle(Request(request.scope, _within_limits(request)))

        return limited


def _within_limits(request: Request) -> Callable[[], Coroutine[Any, Any, Message]]:
    end = asyncio.get_running_loop().time() + BODY_SECONDS
    size = 0

    async def receive() -> Message:
        nonlocal size
        try:
            async with asyncio.timeout_at(end):
                message = await request.receive()
        except TimeoutError:
            raise _unread(422, f"expected a body within {BODY_SECONDS:g} s") from None
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise _unread(413, "expected a body of 64 KiB at most")
        return message

    return receive


def _unread(status: int, words: str) -> HTTPException:
    """Return the refusal of a body, what is left of which is not read."""
    return HTTPException(status, words, {"connection": "close"})


router = APIRouter(tags=["webhooks"], route_class=_Limited)


def _is_target(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("expected an http(s) URL such as https://example.com/hooks")
    return url


class TryOut(BaseModel):
    """What to send, and where to."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[
        str,
        AfterValidator(_is_target),
        Field(
            max_length=2048,
            description="The receiver.",
            examples=["https://example.com/hooks/skyvern"],
        ),
    ]
    account: Annotated[
        str, Field(description="Whose key and secrets sign it.", examples=["default"])
    ] = "default"


class Tried(BaseModel):
    """What came back."""

    status_code: int | None = Field(description="Null: no answer came.", examples=[200])
    latency_ms: int = Field(examples=[38])
    response_body: str = Field(description="Its first 4 kB.", examples=["ok"])
    error: str | None = Field(description="Null: a 2xx came.", examples=[None])
    headers: dict[str, str] = Field(description="As they were sent.", examples=[_HEADERS])


@router.post(
    "/v1/webhooks/test",
    summary="Send a sample webhook",
    dependencies=[Depends(requires("operate"))],
    responses=answers(401, 403, 413, 422),
)
async def try_out(asked: TryOut, request: Request) -> Tried:
    """Sign a sample, the end of a task marked `"test": true`, and send it once.

    It carries both sets of headers: Skyvern's, and those of the standard webhooks
    (https://www.standardwebhooks.com). Needs the scope `operate`.
    """
    gate = gate_of(request)
    account = gate.accounts.get(asked.account)
    if account is None:
        raise FieldsRefused(Fault("account", f"expected one of {', '.join(sorted(gate.accounts))}"))
    number = secrets.token_hex(8)
    body = _sample(number)
    headers = _signed(body, f"test_{number}", account)
    posted = await gate.outbound.post(asked.url, body, headers, SECONDS)
    if posted.refused:
        raise FieldsRefused(Fault("url", posted.error))
    return Tried(
        status_code=posted.status,
        latency_ms=posted.latency_ms,
        response_body=posted.body.decode(errors="replace"),
        error=posted.error or None,
        headers=headers,
    )


def _signed(body: bytes, webhook_id: str, account: Account) -> dict[str, str]:
    signatures = webhook_headers(
        body,
        webhook_id=webhook_id,
        key=account.api_key.get_secret_value(),
        secrets=[secret.get_secret_value() for secret in account.webhook_secrets],
    )
    return {"content-type": "application/json", **signatures}


def _sample(number: str) -> bytes:
    """Return the body that Skyvern sends when a task is completed, marked as a test."""
    return orjson.dumps(
        {
            "test": True,
            "run_id": f"tsk_test_{number}",
            "run_type": "task_v1",
            "status": "completed",
            "output": {"message": "This is a test: no run was made."},
            "downloaded_files": [],
            "recording_url": None,
            "screenshot_urls": [],
            "failure_reason": None,
            "errors": [],
            "step_count": 1,
            "retry_pending": False,
            "run_request": {"prompt": "This is a test.", "title": None, "webhook_url": None},
        }
    )
