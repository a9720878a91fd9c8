"""Forms: read within limits, and accepted only from a page of ours."""

import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.http.request_body import check_kind, chunks_of, too_large
from gateway.page.viewer import Viewer, must_operate, viewer_of
from gateway.state.sessions import is_own_form
from gateway.state.state import state_of
from gateway.tenants.in_flight import SMALL
from runqueue.producer.listing import refused
from runqueue.request.time_range import read_time

#: Seconds in which a form has to be here.
_SECONDS: Final = 10.0
_FIELDS: Final = 50
#: Digits of a number.
_DIGITS: Final = 15
_DECIMAL: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_ELSEWHERE: Final = "this form does not come from a page of this gateway: open the page, try there"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form whose origin is one of our pages.

    Raises:
        HTTPException: the body is of another type, too large, or of another page.
    """
    check_kind(request, "application/x-www-form-urlencoded")
    if not is_own_form(request, state_of(request).settings.public_url):
        raise HTTPException(403, _ELSEWHERE)
    raw = b""
    async for part in chunks_of(request, _SECONDS):
        raw += part
        if len(raw) > SMALL:
            raise too_large("a form", SMALL)
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        raise HTTPException(400, "expected a form") from None
    return {name: value.strip() for name, value in pairs}


async def operator_form(request: Request) -> tuple[Viewer, dict[str, str]]:
    """Return the sender of a form, and its fields, if he may change something.

    Raises:
        NoSession: nobody is logged in.
        HTTPException: he may not, or the form is none of ours.
    """
    viewer = await viewer_of(request)
    fields = await read_form(request)
    given = fields.pop("form_token", "")
    if not hmac.compare_digest(given.encode(), viewer.session.form_token.encode()):
        raise HTTPException(403, "this form is of another session: reload the page, try again")
    must_operate(viewer)
    request.state.form = (viewer, fields)  # shown again with the error if it is refused
    return viewer, fields


def whole(text: str, name: str) -> int:
    """Return a number that was entered.

    Raises:
        HTTPException: it is no number, or has more digits than any number of jobs.
    """
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        return int(text)
    raise HTTPException(422, f"{name}: expected a number, got {text[:20]!r}")


def number(text: str, name: str) -> float:
    """Return a number above 0 that was entered, with a decimal point or without.

    Raises:
        HTTPException: it is none.
    """
    if _DECIMAL.fullmatch(text) and float(text) > 0:
        return float(text)
    raise HTTPException(422, f"{name}: expected a number above 0, got {text[:20]!r}")


def time(text: str, name: str) -> datetime:
    """Return a time that was entered, as filters have it.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        return read_time(text)
    except ValueError as error:
        raise refused(name, str(error)) from None


def back(fields: Mapping[str, str], **query: str) -> str:
    """Return the address to which a form goes back, with more in its query.

    Only one of ours: a path without a host.
    """
    to = fields.get("next", "/")
    try:
        parts = urlsplit(to)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or not parts.path.startswith("/") or to.startswith("//"):
        return "/"
    if "\\" in to or not to.isprintable():
        return "/"
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in query]
    pairs = [*kept, *query.items()]
    return f"{parts.path}?{urlencode(pairs)}" if pairs else parts.path
