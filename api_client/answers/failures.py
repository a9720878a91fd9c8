"""Turning an answer into what a typed call gives back: its result, or the error that fits."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError

from api_client.answers.outcomes import SubmissionClass, classify_submission
from api_client.answers.parsing import NotAListError
from api_client.answers.parts import is_route_missing, parse_json, retry_after, server_words
from api_client.call import Call, CallKind
from api_client.errors import (
    RATE_LIMITED,
    ApiError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    NotSupported,
    RateLimitError,
    ServerError,
    SkyvernError,
    UnprocessableEntityError,
)
from api_client.http.messages import HttpAnswer, Request

T = TypeVar("T")

#: Levels of arrays and objects. What is nested deeper could not be printed or written out again:
#: Python's and pydantic's own recursion ends between 250 and 1,000.
MAX_JSON_DEPTH = 200

#: The start of a URL that names a host, which may lack the scheme. A user name is none.
_HOST = re.compile(
    r"(https?:)?//([A-Za-z0-9.\-]{1,80}|\[[0-9A-Fa-f:.]{1,40}\])(?=(:\d*)?([/?#]|$))"
)

_ERRORS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    **dict.fromkeys(RATE_LIMITED, RateLimitError),
}


def read_answer(
    call: Call[T], request: Request, answer: HttpAnswer, without_key: Callable[[str], str]
) -> T:
    """Return the result of a call from its answer.

    Args:
        call: says how to read it.
        request, answer: the exchange.
        without_key: takes the key out of the server's words.

    Raises:
        ApiError: the answer says no; or it is a 2xx that is not what the call promises, in which
            case a run may exist after a submission.
        NotSupported: the server has no such endpoint.
    """
    body = answer.body
    parsed = parse_json(body)
    is_shallow = _is_shallow(body, parsed)
    content = parsed if parsed is not None and is_shallow else body.decode(errors="replace")
    if not answer.is_success:
        words = without_key(f"{server_words(body, parsed)}{redirect_words(answer)}".strip())
        raise _refusal(call, request, answer, content, words)
    if parsed is None and body.strip() not in {b"", b"null"}:
        wrong = "it is not JSON"
    elif not is_shallow:
        wrong = f"it is nested deeper than {MAX_JSON_DEPTH} levels"
    else:
        try:
            return call.read(parsed)
        except NotAListError as exc:
            raise NotSupported(f"{request.name}: {exc}") from None
        except ValidationError as exc:
            wrong = _faults(exc)
        except ValueError as exc:
            wrong = str(exc)
    error = ApiError(
        f"{request.name}: {answer.status}, and the body cannot be read: {without_key(wrong)}",
        status_code=answer.status,
        body=content,
        headers=answer.headers,
    )
    error.run_may_exist = call.kind is CallKind.SUBMISSION
    raise error


def _refusal(
    call: Call[T], request: Request, answer: HttpAnswer, content: Any, words: str
) -> SkyvernError:
    """Return the error for an answer that is not a 2xx."""
    status = answer.status
    message = f"{request.name}: {status}" + (f" {words}" if words else "")
    if call.route is not None and (
        status == 405 or (status == 404 and is_route_missing(words, content))
    ):
        return NotSupported(message, is_certain=status == 405 or isinstance(content, dict))
    error = _error(message, answer, content)
    if call.kind is CallKind.SUBMISSION:
        outcome = classify_submission(status, answer.body, answer.headers).outcome
        error.run_may_exist = outcome is SubmissionClass.UNKNOWN
        if isinstance(error, ServerError):
            error.came_to_nothing = outcome is SubmissionClass.BUSY
    return error


def _error(message: str, answer: HttpAnswer, content: Any) -> ApiError:
    status = answer.status
    is_later = status in RATE_LIMITED or status >= 500
    kind = ServerError if status >= 500 else _ERRORS.get(status, ApiError)
    return kind(
        message,
        status_code=status,
        body=content,
        headers=answer.headers,
        retry_after=retry_after(answer.headers) if is_later else None,
    )


def redirect_words(answer: HttpAnswer) -> str:
    """Say where a redirect leads: scheme and host, since a path or query may carry anything."""
    location = answer.headers.get("location", "")
    if not 300 <= answer.status < 400 or not location:
        return ""
    if found := _HOST.match(location):
        target = f"{found[1] or ''}//{found[2]}"
    else:
        target = "no host that can be" if "//" in location.partition("?")[0] else "another path"
    return f" (a redirect to {target}, not followed)"


def _faults(error: ValidationError) -> str:
    """Name the fields and what is wrong with them; never their values."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    words = (f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults[:5])
    return "; ".join(word.removeprefix(": ") for word in words)[:500]


def _is_shallow(body: bytes, parsed: Any) -> bool:
    """Say whether JSON is nested within the limit; usually the number of brackets shows it."""
    # `replace` searches for a byte with memchr, which is three times as fast as `count`.
    if len(body) - len(body.replace(b"[", b"").replace(b"{", b"")) <= MAX_JSON_DEPTH:
        return True
    level = [parsed]
    for _ in range(MAX_JSON_DEPTH + 1):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return True
    return False


def _children(value: Any) -> list[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in inside if isinstance(item, dict | list)]
