"""The last look at a log line: what is nobody's business is taken out, whoever put it in.

Our own lines hold none of it (`config/logging.py`). This is for what we did not think of: a
library's message, an exception that quotes what it was given, a line that somebody adds.
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

#: What stands in the place of what was taken out.
REDACTED: Final = "[redacted]"

#: Names of fields whose values are never shown, as they are compared: lower case, no separators.
_NAMES: Final = frozenset(
    {
        "apikey", "xapikey", "authorization", "proxyauthorization", "cookie", "setcookie",
        "password", "passwd", "secret", "secrets", "token", "accesstoken", "refreshtoken",
        "webhooksecret", "webhooksecrets", "previousapikeys", "skyvernapikey", "signature",
        "xskyvernsignature", "webhooksignature", "totp", "totpurl", "totpidentifier",
        # A run request, and what comes of it.
        "prompt", "navigationgoal", "navigationpayload", "dataextractiongoal",
        "dataextractionschema", "parameters", "extrahttpheaders", "headers", "cdpaddress",
        "runmetadata", "output", "body", "payload", "stored", "content",
    }
)  # fmt: skip
_SEPARATORS = re.compile(r"[-_. ]")

_SECRETS: Final = (
    # Authorization: Bearer …, in whatever quotes.
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), REDACTED),
    # A name of above with its value, as JSON, a dict, a query or a header shows them.
    (
        re.compile(
            r"""(["']?\b(?:x-)?(?:api[-_]?key|password|secret|token|totp\w*|prompt)["']?"""
            r"""(?:\s*[:=]\s*(?=["'])|=|(?<=x-api-key):\s*))"""
            r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;}&"']+)""",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    # Who logs in, and what follows the path, in any URL.
    (re.compile(r"(?<=://)[^\s/?#@\"']*@"), f"{REDACTED}@"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#\"'<>]*)[?#][^\s\"'<>)]*", re.IGNORECASE),
     rf"\1?{REDACTED}"),
    # The token of a webhook's address.
    (re.compile(r"(/v1/webhooks/skyvern/[^\s/]+/[^\s/]+/\d+/)[0-9a-f]{32}"), rf"\1{REDACTED}"),
)  # fmt: skip
#: A shorter secret would be found in every other word.
_SHORTEST = 6
#: How deep values are looked into, and how much of a text: a line is no place for more.
_DEEPEST, _LONGEST = 6, 20_000

Event = MutableMapping[str, Any]


class Redactor:
    """A structlog processor that takes secrets and requests out of a line.

    Args:
        secrets: the process's own: API keys, webhook secrets, passwords of URLs.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        """Return the line without them."""
        del logger, method
        for name, value in event.items():
            event[name] = self._value(name, value, 0)
        return event

    def text(self, words: str) -> str:
        """Return words without secrets."""
        if len(words) > _LONGEST:
            words = f"{words[:_LONGEST]}…"
        if self._known is not None:
            words = self._known.sub(REDACTED, words)
        for pattern, instead in _SECRETS:
            words = pattern.sub(instead, words)
        return words

    def _value(self, name: str, value: Any, depth: int) -> Any:
        is_secret = _SEPARATORS.sub("", name).lower() in _NAMES
        if is_secret or depth > _DEEPEST or isinstance(value, bytes | bytearray):
            return REDACTED
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {str(key): self._value(str(key), v, depth + 1) for key, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", one, depth + 1) for one in value]
        return self.text(value if isinstance(value, str) else repr(value))
