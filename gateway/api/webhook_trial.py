"""Testing a webhook receiver: signs and sends a sample, and reports the answer."""

import secrets
from typing import Annotated

import orjson
from fastapi import Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from config.settings import Account
from gateway.api.routing import BodyFields, Routes
from gateway.api.schemas import shape
from gateway.http.request_body import json_answer, read_model
from gateway.state.state import state_of
from gateway.tenants.scope import tenant_scope_of
from runqueue.errors import FieldError, InvalidRequest
from runqueue.request.requests import WEB_URL_WORDS, is_web_url
from webhooks.signing import webhook_headers

router = Routes("webhooks")

#: Seconds that the receiver may take.
SECONDS = 15.0


def _is_target(url: str) -> str:
    if not is_web_url(url):
        raise ValueError(f"expected {WEB_URL_WORDS}")
    return url


class TryOut(BodyFields):
    """The sample, and the URL that gets it."""

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
        str | None,
        Field(
            description="Whose key and secrets sign it; not given: the first account that the token"
            " is for, else `default`.",
            examples=["default"],
        ),
    ] = None


_TRIED = shape(
    status_code=int | None,
    latency_ms=int,
    response_body=str,
    error=str | None,
    headers=dict[str, str],
)


@router.call(
    "POST /v1/webhooks/test",
    "operate",
    "Send a sample webhook",
    ("The receiver's answer, its first 4 kB, and the headers as they were sent.", _TRIED),
    body=TryOut,
)
async def try_out(request: Request) -> Response:
    """Sign a sample, the end of a task marked `"test": true`, and send it once.

    It carries both sets of headers: Skyvern's, and those of the standard webhooks
    (https://www.standardwebhooks.com).
    """
    gate = state_of(request)
    trial = await read_model(request, TryOut)
    tenant_scope = tenant_scope_of(request)
    seen = {name: account for name, account in gate.accounts.items() if tenant_scope.sees(name)}
    name = tenant_scope.whose(trial.account)
    account = seen.get(name)
    if account is None:
        words = f"expected one of {', '.join(sorted(seen))}" if seen else "expected one with a key"
        raise InvalidRequest([FieldError("account", words)])
    number = secrets.token_hex(8)
    body = _sample(number)
    headers = _signed(body, f"test_{number}", account)
    posted = await gate.outbounds[name].post(trial.url, body, headers, SECONDS)
    if posted.refused:
        raise InvalidRequest([FieldError("url", posted.error)])
    return json_answer(
        {
            "status_code": posted.status,
            "latency_ms": posted.latency_ms,
            "response_body": posted.body.decode(errors="replace"),
            "error": posted.error or None,
            "headers": headers,
        }
    )


def _signed(body: bytes, webhook_id: str, account: Account) -> dict[str, str]:
    signatures = webhook_headers(
        body,
        webhook_id=webhook_id,
        key=account.api_key.get_secret_value(),
        secrets=account.signing_secrets,
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
