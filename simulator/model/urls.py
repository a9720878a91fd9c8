"""How the server rewrites the addresses of requests, and which it refuses."""

from urllib.parse import urlsplit, urlunsplit

from pydantic import HttpUrl, TypeAdapter, ValidationError

from simulator.replies import RefusedError

_HTTP = TypeAdapter(HttpUrl)
_SCHEMES = frozenset({"", "http", "https"})


def normalised(url: str, field: str = "url") -> str:
    """Write an address as a browser would: lower-cased host, a path, percent-encoded.

    An address without a scheme is one of https. No name is resolved.

    Args:
        url: as it was sent; an empty one stays.
        field: where it was sent.

    Raises:
        RefusedError: 400, it is none, or of another scheme.
    """
    if not url:
        return url
    try:
        return str(_HTTP.validate_python(with_scheme(url, field)))
    except ValidationError:
        raise RefusedError(400, f"Invalid {field}: malformed.") from None


def with_scheme(url: str, field: str = "url") -> str:
    """Add https:// if there is no scheme, and remove a doubled `www.`.

    Raises:
        RefusedError: 400, it is of another scheme than HTTP's.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise RefusedError(400, f"Invalid {field}: malformed.") from None
    if scheme not in _SCHEMES:
        raise RefusedError(400, f"Invalid {field}: unsupported scheme.")
    return _one_www(url if scheme else f"https://{url}")


def _one_www(url: str) -> str:
    if "www.www." not in url.lower():
        return url
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not host.lower().startswith("www.www."):
        return url
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host[4:]}"))
