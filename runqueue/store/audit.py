"""What was done to the queue: by whom, when, what, to what; the last ten thousand of an account.

A caller of the gateway is known by the name of its token (`gateway/auth/audit.py`), a user of
the command line by the user name on that machine (`cli/shared/audit_log.py`). `RunQueue` itself
records nothing.

Each entry is logged as well: the list in Redis is bounded, and a caller can push entries
out of it by further actions.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runqueue.errors import FieldError, InvalidRequest
from runqueue.records.as_json import json_object
from runqueue.records.job import fields_of, moment, text
from runqueue.store.scripts import Argument, ScriptCall, load

#: Entries that an account keeps.
KEPT = 10_000
#: Characters of each field of an entry.
MOST = 300
#: The id of an entry; 0-0 is none, and Redis knows no ids before it.
_ID = re.compile(r"(?!0+-0+$)[0-9]{1,15}-[0-9]{1,15}")
#: The logger of every entry: of the gateway one JSON object a line, whatever its log level
#: (`config/logging.py`).
LOGGER = logging.getLogger("runqueue.audit")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that a person did.

    Args:
        id: of the entry; later ones are greater.
        at: when.
        who: the name of the token, or of the user.
        what: the action, such as `pause_account`.
        target: the job, batch or group that it was done to; '' = the account.
        detail: what it came to, in words.
    """

    id: str
    account: str
    at: datetime | None
    who: str
    what: str
    target: str
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return json_object(self)


def add_entry(
    account: str, who: str, what: str, target: str = "", detail: str = ""
) -> ScriptCall[str]:
    """Record what was done; returns the entry's id."""
    words = [word[:MOST] for word in (who, what, target, detail)]
    arguments: list[Argument] = [KEPT, secrets.token_hex(8), *words]
    return ScriptCall(load("audit"), account, arguments, lambda reply: str(reply.decode()))


def log_entry(what: str, **about: Any) -> None:
    """Log what was done, or refused.

    Args:
        what: the action, such as `pause_account`, `login` or `refused`.
        about: who did it, to what, and the like; never a token.
    """
    said = {name: v[:MOST] if isinstance(v, str) else v for name, v in about.items()}
    LOGGER.info("audit", extra={"what": what, **said})


def read_entries(account: str, before: str = "", count: int = 50) -> ScriptCall[list[AuditEntry]]:
    """Read a page of entries; arguments as for `RunQueue.audit`.

    Raises:
        InvalidRequest: what is no entry's id.
    """
    if before and not _ID.fullmatch(before):
        raise InvalidRequest([FieldError("before", "expected the id of an entry")])

    def read(reply: list[Any]) -> Iterator[AuditEntry]:
        for raw, flat in reply:
            found = fields_of(flat)
            words = [text(found.get(name)) or "" for name in ("who", "what", "target", "detail")]
            yield AuditEntry(raw.decode(), account, moment(found.get("at")), *words)

    return ScriptCall(load("list_audit"), account, [before, count], lambda reply: list(read(reply)))
