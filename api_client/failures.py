"""Turning an answer into what a typed call gives back: a model, or the error that fits."""

from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from api_client.answers import parse_json, retry_after, server_words
from api_client.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RateLimitError,
    ServerError,
    UnprocessableEntityError,
)

_Model = TypeVar("_Model")

_ERRORS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
}


def api_error(
    request: httpx.Request,
    response: httpx.Response,
    body: bytes,
    cut_key: Callable[[str], str],
) -> ApiError:
    """Return the error for an answer that is not a 2xx.

    Args:
        request, response, body: the exchange.
        cut_key: takes the key out of the server's words.
    """
    status = response.status_code
    words = cut_key(server_words(body, parse_json(body)))
    message = f"{_name(request)}: {status}" + (f" {words}" if words else "")
    if status == 429 or status >= 500:
        kind = RateLimitError if status == 429 else ServerError
        return kind(
            message,
            status_code=status,
            body=body,
            headers=response.headers,
            retry_after=retry_after(response.headers),
        )
    return _ERRORS.get(status, ApiError)(
        message, status_code=status, body=body, headers=response.headers
    )


def read_answer(
    model: Callable[[dict[str, Any]], _Model],
    request: httpx.Request,
    response: httpx.Response,
    body: bytes,
) -> _Model:
    """Read the body of a 2xx.

    Raises:
        ApiError: it is not the JSON the call promises. After a submission a run may exist.
    """
    parsed = parse_json(body)
    wrong = "it is not a JSON object"
    if isinstance(parsed, dict):
        try:
            return model(parsed)
        except ValidationError as exc:
            # Names of fields and what is wrong with them; never their values.
            faults = exc.errors(include_url=False, include_context=False, include_input=False)
            wrong = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults[:5])
    raise ApiError(
        f"{_name(request)}: {response.status_code}, and the body cannot be read: {wrong}",
        status_code=response.status_code,
        body=body,
        headers=response.headers,
    )


def _name(request: httpx.Request) -> str:
    return f"{request.method} {request.url.path}"
