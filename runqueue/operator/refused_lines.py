"""Lines of inboxes and of Celery messages that were refused: as people read them, and again."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from runqueue.store.inbox_calls import CELERY, InboxLook

#: Refused lines read, or moved, in one script call; each may hold a megabyte.
PAGE: Final = 20


class RefusedLine(NamedTuple):
    """A line that was refused, as an account keeps it.

    Args:
        id: of the entry.
        at: when it was refused; None where the entry does not say.
        custom_id: what its producer called the job; None where the line does not say.
        error: what is wrong with it, in words.
        line: the line as text that can be printed, also where it was not UTF-8.
    """

    id: str
    account: str
    at: datetime | None
    custom_id: str | None
    error: str
    line: str | None


class InboxPage(NamedTuple):
    """An account's inbox at a glance.

    Args:
        waiting: lines that no worker has taken yet.
        taken: lines that a worker makes jobs of just now.
        refused: how many were refused.
        lines: some of these, the oldest first.
    """

    account: str
    waiting: int
    taken: int
    refused: int
    lines: list[RefusedLine]


def inbox_page(account: str, look: InboxLook) -> InboxPage:
    """Return an inbox as people read it."""
    lines = [refused_line(account, stored) for stored in look.page]
    return InboxPage(account, look.waiting, look.taken, look.invalid, lines)


def refused_line(account: str, stored: bytes) -> RefusedLine:
    """Return a refused line from its entry, as the account keeps it; a foreign one as one of ours.

    Args:
        account: whose list it is in.
        stored: the entry.
    """
    record = _record(stored)
    try:
        at = datetime.fromisoformat(record["at"])
    except (KeyError, TypeError, ValueError):
        at = None
    error, line = _error_words(record.get("error")), record.get("line")
    return RefusedLine(_id(stored), account, at, _custom_id(line), error, _printable(line))


class LineMove(NamedTuple):
    """How a refused line leaves its list.

    Args:
        stored: the entry.
        to: the account to whose inbox it goes.
        line: what goes there; empty = it is thrown away.
    """

    stored: bytes
    to: str
    line: bytes


def line_moves(
    account: str, look: InboxLook, ids: Collection[str], known: Collection[str]
) -> list[LineMove]:
    """Return how the lines of a page that are meant leave its list.

    Lines of Celery messages go to the inbox of the account they name; a line of an inbox that names
    another account stays where it is.

    Args:
        account: in whose list they are.
        look: the page.
        ids: of the lines.
        known: the accounts that exist; none = they are thrown away.
    """
    chosen = [stored for stored in look.page if _id(stored) in ids]
    if not known:
        return [LineMove(stored, account, b"") for stored in chosen]
    again = [(stored, line_again(_record(stored), account)) for stored in chosen]
    return [LineMove(stored, *to) for stored, to in again if to is not None and to[0] in known]


def _id(stored: bytes) -> str:
    return sha256(stored).hexdigest()[:32]


def _record(stored: bytes) -> dict[str, Any]:
    try:
        # Halves of surrogate pairs encode bytes; orjson refuses them.
        record = json.loads(stored)
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {"line": stored.decode(errors="surrogateescape")}


def _error_words(faults: Any) -> str:
    if not isinstance(faults, list):
        return "not an entry of runqueue's"
    shown = [fault for fault in faults if isinstance(fault, dict)]
    return "; ".join(f"{fault.get('field')}: {fault.get('message')}" for fault in shown)


def _custom_id(line: Any) -> str | None:
    try:
        found = json.loads(line)
    except (TypeError, ValueError):
        return None
    name = found.get("custom_id") if isinstance(found, dict) else None
    return _printable(name)


def _printable(text: Any) -> str | None:
    return text.encode(errors="replace").decode() if isinstance(text, str) else None


def line_again(record: Mapping[str, Any], account: str) -> tuple[str, bytes] | None:
    """Return a refused line as it goes back to an inbox, the account of that inbox before it.

    It keeps the key that it had, so that it makes one job however often it comes. None if there is
    nothing to try again: it was cut, is no record of ours, or came by an inbox and names another
    account, for which that inbox may not enqueue.

    Args:
        record: what is kept of the line.
        account: whose list it is in.
    """
    text = record.get("line")
    if not isinstance(text, str) or record.get("cut"):
        return None
    try:
        line = text.encode(errors="surrogateescape")
        found = orjson.loads(line)
    except UnicodeEncodeError:  # a half of a pair that came as text: it is no line in any encoding
        return None
    except orjson.JSONDecodeError:
        return account, line
    named = found.get("account") if isinstance(found, dict) else None
    if isinstance(found, dict) and found and found.get("custom_id") is None:
        # Of a field that is there twice the last one counts.
        own = {"custom_id": record.get("key"), "namespace": record.get("namespace")}
        line = line.rstrip()[:-1] + b"," + orjson.dumps(own)[1:]
    named = named if isinstance(named, str) else account
    is_free = named == account or record.get("namespace") == CELERY
    return (named, line) if is_free else None
