"""Warns of webhook URLs that name a private address, when they are handed in.

Workers and gateways refuse such targets when they send (`api_client/targets.py`, which looks names
up, too). By then the job has run: a word at the enqueuing comes in time. A name is not looked up
here, and nothing is refused.
"""

import ipaddress
import logging
import os
import re
import threading

#: Says that webhooks may go there; the workers' and the gateway's setting.
VARIABLE = "RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS"
#: Different hosts of which a process warns; each is told once.
MOST_WARNINGS = 1000
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_HOST = re.compile(r"[a-z]+://(?:[^/?#@]*@)?(\[[0-9a-f:.]+\]|[^/?#@:\s]+)", re.IGNORECASE)

log = logging.getLogger("runqueue")


class _Process:
    """What this process was told to allow, and of which hosts it has warned."""

    def __init__(self) -> None:
        self.allowed: bool | None = None
        self.warned: set[str] = set()
        self.lock = threading.Lock()


_process = _Process()


def allow_private_targets(*, allowed: bool | None) -> None:
    """Say whether webhooks may go to private addresses; None = as the environment says."""
    _process.allowed = allowed


def warn_of_private(field: str, url: object) -> None:
    """Log, once for each host, that a URL names a private address; nothing else of it is shown.

    Args:
        field: what the URL is: `webhook_url` or `callback_url`.
        url: it, as it was given.
    """
    host = private_host(url)
    if host is None or host in _process.warned or _is_allowed():
        return
    with _process.lock:
        if host in _process.warned or len(_process.warned) >= MOST_WARNINGS:
            return
        _process.warned.add(host)
    words = "%s: %s is a private address: runqueue sends nothing there unless %s=true (told once)"
    log.warning(words, field, host, VARIABLE)


def private_host(url: object) -> str | None:
    """Return the host of a URL if it names this machine or a private address; else None."""
    found = _HOST.match(url) if isinstance(url, str) else None
    if found is None:
        return None
    host = found[1].lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return host
    if not (host[0] == "[" or host[-1].isdigit()):  # a name: most are
        return None
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return None if address.is_global else host


def _is_allowed() -> bool:
    if _process.allowed is not None:
        return _process.allowed
    return os.environ.get(VARIABLE, "").strip().lower() in _TRUE
