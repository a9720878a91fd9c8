"""Warns of webhook URLs that name a private address, when they are enqueued.

Workers and gateways refuse such targets when they send (`webhooks/url_policy.py`, which looks names
up, too). By then the job has run: a warning at enqueuing comes in time. A name is not looked up
here, and nothing is refused.

Code that answers a sender puts the warning into the answer (`FieldWarning`); other code logs it
(`warn_of_private`).
"""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runqueue.request.once_log import OnceLog

#: Says that webhooks may go there; the workers' and the gateway's setting.
VARIABLE = "RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS"
#: Hosts that one warning names.
MOST_HOSTS = 3
#: Characters of a host's name, at most.
_LONGEST_NAME = 253
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_HOST = re.compile(r"[a-z]+://(?:[^/?#@]*@)?(\[[0-9a-f:.]+\]|[^/?#@:\s]+)", re.IGNORECASE)

_once = OnceLog()


class _AllowedTargets:
    """What this process is set to allow; None = as the environment says."""

    allowed: bool | None = None


def allow_private_targets(*, allowed: bool | None) -> None:
    """Say whether webhooks may go to private addresses; None = as the environment says."""
    _AllowedTargets.allowed = allowed


def allows_private_targets() -> bool:
    """Return whether webhooks may go to private addresses, as far as this process knows."""
    if _AllowedTargets.allowed is not None:
        return _AllowedTargets.allowed
    return os.environ.get(VARIABLE, "").strip().lower() in _TRUE


class FieldWarning(NamedTuple):
    """What is accepted, and will not do what its sender may expect.

    Args:
        field: what it is about, as errors name it.
        message: why; it holds nothing secret.
        jobs: of how many jobs; None = it is the batch's.
    """

    field: str
    message: str
    jobs: int | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(slots=True)
class PrivateHosts:
    """The private addresses that webhook URLs of some jobs name; memory is bounded.

    Args:
        jobs: how many of them name one.
    """

    jobs: int = 0
    _hosts: list[str] = field(default_factory=list)
    _are_more: bool = False

    def note(self, body: dict[str, Any]) -> None:
        """Take in the request body of one more job."""
        if "webhook_url" not in body:
            return
        host = private_host(body["webhook_url"])
        if host is None or allows_private_targets():
            return
        self.jobs += 1
        if host in self._hosts:
            return
        if len(self._hosts) < MOST_HOSTS:
            self._hosts.append(host)
        else:
            self._are_more = True

    def warnings(self) -> list[FieldWarning]:
        """Return the one warning of all of them; none where there is nothing to warn of."""
        if not self.jobs:
            return []
        words = _words(self._hosts, are_more=self._are_more)
        return [FieldWarning("body.webhook_url", words, self.jobs)]


def private_callback(url: str | None) -> list[FieldWarning]:
    """Return the warning of a batch's `callback_url`; none where there is nothing to warn of."""
    host = private_host(url)
    if host is None or allows_private_targets():
        return []
    return [FieldWarning("callback_url", _words([host]))]


def warn_of_private(body: dict[str, Any]) -> None:
    """Log that a request's `webhook_url` names a private address, once for each."""
    if "webhook_url" in body:
        hosts = PrivateHosts()
        hosts.note(body)
        log_warnings(hosts.warnings())


def log_warnings(warnings: list[FieldWarning]) -> None:
    """Log warnings, each once in the life of the process."""
    for warning in warnings:
        _once.warn(str(warning), "%s", warning)


def _words(hosts: list[str], *, are_more: bool = False) -> str:
    named = ", ".join(hosts) + (" and others" if are_more else "")
    is_one = len(hosts) == 1 and not are_more
    what = "is a private address" if is_one else "are private addresses"
    return f"{named} {what}: runqueue itself sends nothing there unless {VARIABLE}=true"


def private_host(url: object) -> str | None:
    """Return the host of a URL if it names this machine or a private address; else None."""
    found = _HOST.match(url) if isinstance(url, str) else None
    if found is None:
        return None
    host = found[1].lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return host if len(host) <= _LONGEST_NAME and host.isprintable() else "localhost"
    if not (host[0] == "[" or host[-1].isdigit()):  # a name: most are
        return None
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return None if address.is_global else host
