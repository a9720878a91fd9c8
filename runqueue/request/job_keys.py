"""Keys: what jobs use together, such as a site or a login. Limits on them are set by operators.

A producer names up to four; others follow from the request, so that a limit that is set later meets
what waits already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from runqueue.request.validation_errors import got

#: Keys that a job may name.
MAX_KEYS: Final = 4
#: Longest key, in characters.
MAX_KEY: Final = 128
_SEGMENT = r"[a-z0-9][a-z0-9._@+-]*"
#: The pattern of a key.
KEY: Final = rf"{_SEGMENT}(?::{_SEGMENT})+"
_KEY = re.compile(KEY)
_PATTERN = re.compile(rf"{_SEGMENT}:\*")
KEY_WORDS = (
    "text such as host:shop.example or login:acme (segments of a-z, 0-9 and ._@+- with a : between,"
    f" {MAX_KEY} characters at most)"
)
KEYS_WORDS = f"a list of 1 to {MAX_KEYS} keys, each {KEY_WORDS}"
#: The first segments of keys that follow from a request's fields: one run at a time may use a
#: browser session or profile; a credential has no limit of its own.
IMPLIED: Final[Mapping[str, str]] = {
    "browser_session_id": "session",
    "browser_profile_id": "profile",
    "credential_id": "credential",
}
#: Likewise: the URL of a task, and whose one-time codes a run uses, one run at a time. The latter
#: is often an address or a number: its digest stands for it.
HOST, CODES = "host", "totp"
_HOST_OF_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(\[[^\]/]*\]|[^/?#:]*)")


def is_key(text: str) -> bool:
    """Say whether a text may be a key."""
    return len(text) <= MAX_KEY and _KEY.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    """Say whether a text may name what a limit is set for: a key, or `<first segment>:*`."""
    return is_key(text) or (len(text) <= MAX_KEY and _PATTERN.fullmatch(text) is not None)


def read_keys(value: object) -> tuple[str, ...] | None:
    """Read the keys that a job names; None if they are none."""
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_KEYS:
        return None
    if not all(isinstance(key, str) and is_key(key) for key in value):
        return None
    return tuple(dict.fromkeys(str.__str__(key) for key in value))


def refused_keys(value: object) -> str:
    """Describe a value that `read_keys` refuses: the first that is no key, if the list is one."""
    if not isinstance(value, (list, tuple)):
        return got(value)
    if not 1 <= len(value) <= MAX_KEYS:
        return f"{len(value):,} of them"
    return next((got(key) for key in value if not (isinstance(key, str) and is_key(key))), "none")


def keys_of(named: tuple[str, ...], kind: str, body: Mapping[str, Any]) -> str:
    """Return all keys of a job, with a space between two; '' = it has none.

    Args:
        named: those that it names.
        kind: of its request.
        body: its request.
    """
    keys = [*named]
    for field, segment in IMPLIED.items():
        if (name := body.get(field)) is not None:
            keys.append(_implied(segment, str(name)))
    if codes_of := body.get("totp_identifier"):
        keys.append(f"{CODES}:{_digest(codes_of.strip().lower())}")
    if kind == "task" and (url := body.get("url")) and (found := _HOST_OF_URL.match(url)):
        keys.append(_implied(HOST, found[1].rstrip(".")))
    return " ".join(sorted(set(keys))) if len(keys) > 1 else "".join(keys)


def _implied(segment: str, name: str) -> str:
    """Return a key of any name: of an odd one, of its digest."""
    key = f"{segment}:{name.lower()}"
    if is_key(key) and key.count(":") == 1:
        return key
    return f"{segment}:{_digest(name)}"


def _digest(name: str) -> str:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=12).hexdigest()
