"""The last check of a log line: secrets and requests are removed, whatever put them in.

Our own lines hold none (`config/logging.py`). This is for the unforeseen: a library's message, an
exception that quotes its input, a line that somebody adds.
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

#: Replaces what was removed.
REDACTED: Final = "[redacted]"

#: Names of fields whose values are never shown, as they are compared: lower case, no separators.
_NAMES: Final = frozenset(
    {
        "previousapikeys", "secrets", "webhooksecrets",
        # A run request, and its result.
        "prompt", "navigationgoal", "navigationpayload", "dataextractiongoal",
        "dataextractionschema", "parameters", "extrahttpheaders", "headers", "cdpaddress",
        "runmetadata", "metadata", "output", "body", "payload", "stored", "content",
        # The input of a failed pydantic check.
        "inputvalue",
    }
)  # fmt: skip
#: How names of fields with credentials end, whatever they begin with; `totp` is how they begin.
_CREDENTIALS: Final = (
    "apikey", "accesskey", "secretkey", "privatekey", "password", "passwd", "secret", "token",
    "authorization", "cookie", "signature",
)  # fmt: skip
_SEPARATORS = re.compile(r"[-_. ]")

#: A name before its value, as JSON (also within JSON), a dict, a call, a query or a header has it.
_KEY: Final = re.compile(
    r"""(?:(?P<quote>\\{0,8}["'])(?P<quoted>[\w. -]{1,64})(?P=quote)"""
    r"""|(?<![\w-])(?P<plain>[A-Za-z][\w-]{0,63}))"""
    r"""(?P<sign>\s*(?:=>|[:=])\s*)"""
)
#: A string in quotes, which may be escaped themselves: it ends at the next that are as escaped.
_QUOTED: Final = re.compile(
    r"""[bru]{0,2}(\\{0,8})(["']).*?(?<!\\)\1\2""", re.DOTALL | re.IGNORECASE
)
_BEGINS_QUOTED: Final = re.compile(r"""[bru]{0,2}\\{0,8}["']""", re.IGNORECASE)
_BRACKET_OR_QUOTE: Final = re.compile(r"""[\[\](){}]|\\{0,8}["']""")
_WORD: Final = re.compile(rf"""{re.escape(REDACTED)}|[^\s,;}}\])&"']+""")
_SCHEME: Final = re.compile(r"(?:bearer|basic|token|digest|negotiate)\s+", re.IGNORECASE)

_SECRETS: Final = (
    # Authorization: Bearer …, in whatever quotes.
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), REDACTED),
)
_ADDRESSES: Final = (
    # User and password, also one with characters that should have been escaped; not a port.
    (re.compile(r"(?<=://)[^\s/?#@\"'<>:]*:(?!\d{1,5}[/?#])[^\s\"'<>]{0,256}@"), f"{REDACTED}@"),
    (re.compile(r"(?<=://)[^\s/?#@\"']*@"), f"{REDACTED}@"),
    # The query and fragment. Ends at the next ://: otherwise a text of these alone takes n² steps.
    (re.compile(r"(?<=://)([^\s?#\"'<>:]*+(?::(?!//)[^\s?#\"'<>:]*+)*+)[?#][^\s\"'<>)]*"),
     rf"\1?{REDACTED}"),
    # The token of a webhook's address.
    (re.compile(r"(/v1/webhooks/skyvern/[^\s/]+/[^\s/]+/\d+/)[0-9a-f]{32}"), rf"\1{REDACTED}"),
)  # fmt: skip
#: A shorter secret would match in many words.
_SHORTEST = 4
#: A word that is longer than any of ours: a foreign id.
_ENDLESS: Final = re.compile(r"(?<!\S)(\S{500})\S+")
#: How deep values are checked, and how much of a text is kept: a line should not hold more.
_DEEPEST, _LONGEST = 6, 20_000

Event = MutableMapping[str, Any]


class Redactor:
    """A structlog processor that removes secrets and requests from a line.

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
        """Return a text without secrets."""
        if len(words) > _LONGEST:
            words = f"{words[:_LONGEST]}…"
        if self._known is not None:
            words = self._known.sub(REDACTED, words)
        for pattern, instead in _SECRETS:
            words = pattern.sub(instead, words)
        words = _without_values(words)
        for pattern, instead in _ADDRESSES:
            words = pattern.sub(instead, words)
        return _ENDLESS.sub(r"\1…", words)

    def _value(self, name: str, value: Any, depth: int) -> Any:
        if _is_secret(name) or depth > _DEEPEST or isinstance(value, bytes | bytearray):
            return REDACTED
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): self._value(str(key), inner, depth + 1)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", one, depth + 1) for one in value]
        return self.text(value if isinstance(value, str) else repr(value))


def _is_secret(name: str) -> bool:
    bare = _SEPARATORS.sub("", name).lower()
    return bare in _NAMES or bare.startswith("totp") or bare.endswith(_CREDENTIALS)


def _without_values(text: str) -> str:
    """Remove the values of secret names from a text."""
    parts, done = [], 0
    while (key := _KEY.search(text, done)) is not None:
        start = end = key.end()
        if _is_secret(key["quoted"] or key["plain"]):
            start, end = _value_of(key, text)
        parts.append(text[done:start])
        if end > start:
            parts.append(REDACTED)
        done = end
    return "".join([*parts, text[done:]])


def _value_of(key: re.Match[str], text: str) -> tuple[int, int]:
    """Return where the value of a name begins and ends; an empty span if there is none."""
    start = key.end()
    if _BEGINS_QUOTED.match(text, start):
        return start, _end_of_string(text, start)
    if text[start : start + 1] in {"{", "[", "("}:
        return start, _end_of_brackets(text, start)
    if key["plain"] and not _has_bare_values(key["plain"], key["sign"]):
        return start, start
    if (key["plain"] or "").lower().endswith("cookie"):
        end = text.find("\n", start)
        return start, end if end >= 0 else len(text)
    if (scheme := _SCHEME.match(text, start)) is not None:
        start = scheme.end()
    word = _WORD.match(text, start)
    return start, word.end() if word else start


def _has_bare_values(name: str, sign: str) -> bool:
    """Say whether a word without quotes behind a name is its value.

    It is none in "prompt: expected a text", "SKYVERN_API_KEY: expected …" and `body = read()`.
    """
    if sign == "=":
        return True
    bare = _SEPARATORS.sub("", name).lower()
    return bare.endswith(_CREDENTIALS) and not (":" in sign and name.isupper())


def _end_of_string(text: str, start: int) -> int:
    """Return where a string ends; one that was cut off ends with the text."""
    found = _QUOTED.match(text, start)
    return found.end() if found else len(text)


def _end_of_brackets(text: str, start: int) -> int:
    """Return where the bracket closes that opens there; one that was cut off, with the text."""
    depth, at = 0, start
    while (found := _BRACKET_OR_QUOTE.search(text, at)) is not None:
        at = found.end()
        if found[0][-1] in "\"'":
            at = _end_of_string(text, found.start())
        else:
            depth += 1 if found[0] in "{[(" else -1
            if not depth:
                return at
    return len(text)
