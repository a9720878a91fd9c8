"""Templates and headers: everything is escaped, and a page loads only files of ours."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway.page import formatting
from gateway.page.bulk import KINDS, kinds_of
from gateway.page.viewer import Viewer
from gateway.state.state import state_of
from runqueue.records.job import moment

#: No inline script or style, nothing from elsewhere, in no frame of another page.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
#: Browsers send Origin with forms only where they send the referrer: to ourselves.
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Parameters that mean something within one account alone, or once.
_OWN: Final = {"account", "cursor", "before", "done", "batch", "count", "error"}
#: Embeddings, overrides and isolates of Unicode's bidirectional text: with them an id, or a text
#: of a server, looks different from what it is.
_TURNING: Final = {n: f"\\u{n:04x}" for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
#: The sections of pages that are not named as these.
_SECTIONS: Final = {"select": "jobs", "errors": "charts"}
_KINDS: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "uplot.css": "text/css; charset=utf-8",
    "uplot.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def _visible(value: Any) -> Any:
    """Return a value as templates print it, with bidirectional control characters escaped."""
    return value.translate(_TURNING) if isinstance(value, str) else value


@cache
def templates() -> Environment:
    """Return the templates; an undefined name is an error, not a blank."""
    made = Environment(
        loader=PackageLoader("gateway"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    words = ("number", "exact", "per_minute", "span", "in_unit", "ago", "utc", "utc_ms", "spark")
    for word in (*words, "deed"):
        made.filters[word] = getattr(formatting, word)
    made.filters |= {"kinds": kinds_of, "moment": moment}
    made.globals |= {"static": static_path, "KINDS": KINDS}
    return made


def render(name: str, values: Mapping[str, Any]) -> str:
    """Return a template filled in."""
    return templates().get_template(name).render(values)


def page(
    request: Request, name: str, viewer: Viewer | None, values: Mapping[str, Any], status: int = 200
) -> Response:
    """Return a page.

    Args:
        request: the request.
        name: the template's.
        viewer: the viewer; None = not logged in.
        values: those of this page, besides those of every page.
        status: of the answer.
    """
    shown = {"viewer": viewer, "account": "", "accounts": [], "here": here(request), **values}
    shown["price"] = state_of(request).settings.price_per_credit
    section = request.url.path.split("/")[1]
    shown["section"] = _SECTIONS.get(section, section)
    shown["tabs"] = [(account, at_account(request, account)) for account in shown["accounts"]]
    return HTMLResponse(render(name, shown), status, HEADERS)


def at_account(request: Request, account: str) -> str:
    """Return the address of this page for another account, with the parameters valid there."""
    kept = [(name, text) for name, text in request.query_params.items() if name not in _OWN]
    return f"?{urlencode([*kept, ('account', account)])}"


def here(request: Request) -> str:
    """Return the address of a page, for its forms to come back to."""
    if request.method not in {"GET", "HEAD"}:
        return "/"
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


@cache
def _static(name: str) -> tuple[bytes, str]:
    body = (files("gateway") / "static" / name).read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:12]


def static_path(name: str) -> str:
    """Return the URL of a static file; each version has its own."""
    return f"/static/{name}?v={_static(name)[1]}"


async def static(request: Request) -> Response:
    """Serve a static file, without a login."""
    name = str(request.path_params["name"])
    if name not in _KINDS:
        raise HTTPException(404)
    body, version = _static(name)
    is_named = request.query_params.get("v") == version
    kept = "public, max-age=31536000, immutable" if is_named else "no-cache"
    headers = {**HEADERS, "Cache-Control": kept}
    return Response(body, headers=headers, media_type=_KINDS[name])
