"""Endpoints: what may be shown of a URL whose path or query may be secret."""

import re

_ENDPOINT = re.compile(r"([A-Za-z]+)://([^/?#]+)")
_DEFAULT_PORT = re.compile(r"^(http://.*):80$|^(https://.*):443$")


def endpoint_of(url: str) -> str:
    """Return scheme, host and port of a URL, as `endpoints.lua` does; '' = it has none."""
    found = _ENDPOINT.match(url)
    if found is None:
        return ""
    made = f"{found[1]}://{found[2].rpartition('@')[2]}"
    # Lua knows bytes, of which it makes ASCII lower-case.
    lower = made.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")
    return _DEFAULT_PORT.sub(r"\1\2", lower)
