"""The settings about notifications: which events go to which of Apprise's URLs.

Apprise is imported only where a URL is set: it takes a second, and tens of megabytes.
"""

import logging
import re
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import unquote

from pydantic import BaseModel, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

#: The events: conditions, which last, and what happens once to batches and schedules.
EVENTS: Final = (
    *("account_held", "budget_80", "budget_spent", "unconfirmed", "needs_person"),
    *("batch_over", "batch_aborted", "failures", "no_worker", "archive_waits", "new_errors"),
    *("schedule_missed", "schedule_failed", "schedule_paused"),
)
#: URLs of one account.
MOST_URLS = 10
_ENTRY = re.compile(r"(?:([a-z0-9_,]+)=)?([a-z][a-z0-9+.-]*://\S+)", re.IGNORECASE)
#: The userinfo, host and port, path, and query of a URL.
_PARTS = re.compile(r"[^:]+://(?:([^/?#]*)@)?([^/?#]*)([^?]*)(?:\?(.*))?")
#: Loggers whose lines may hold a URL: Apprise's, and what it sends with.
_LOGGERS = ("apprise", "urllib3", "oauthlib", "requests_oauthlib")


class NotifyUrl(NamedTuple):
    """One entry of `RUNQUEUE_NOTIFY_URLS`.

    Args:
        url: Apprise's URL, which holds secrets.
        events: those that are sent to it.
    """

    url: SecretStr
    events: frozenset[str]


@cache
def _apprise() -> Any:
    """Load Apprise, and have nothing logged that is said of its calls."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate, logger.handlers[:] = False, [logging.NullHandler()]
    logging.getLogger("apprise").setLevel(logging.WARNING)  # results hold these lines
    with warnings.catch_warnings():  # its plugins, which it loads at first use, are of many ages
        warnings.simplefilter("ignore")
        import apprise  # noqa: PLC0415 - see the module's docstring

        apprise.Apprise.instantiate("json://localhost")
    return apprise


def receiver_of(url: str) -> Any:
    """Return what sends to one of Apprise's URLs, None where Apprise knows no such URL."""
    apprise = _apprise()
    asset = apprise.AppriseAsset(
        app_id="runqueue",
        async_mode=False,
        service_timeout=0,  # it would wait in a pool that the process cannot end before
        allow_templates=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    made = apprise.Apprise(asset=asset)
    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    return made if service is not None and made.add(service) else None


def _entries(value: Any) -> Any:
    """Read entries with white space between them: a URL, or `event,event=URL`."""
    if not isinstance(value, str):
        return value
    entries = value.split()
    if len(entries) > MOST_URLS:
        raise ValueError(f"expected {MOST_URLS} entries at most, got {len(entries)}")
    return tuple(_entry(number, entry) for number, entry in enumerate(entries, 1))


def _entry(number: int, entry: str) -> NotifyUrl:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(f"entry {number}: expected a URL of Apprise, or <event>,<event>=<URL>")
    events = frozenset(filter(None, (found[1] or "").split(","))) or frozenset(EVENTS)
    if not events <= set(EVENTS):
        raise ValueError(f"entry {number}: expected events of {', '.join(EVENTS)}")
    if receiver_of(found[2]) is None:
        raise ValueError(f"entry {number}: Apprise takes no such URL")
    return NotifyUrl(SecretStr(found[2]), events)


def secrets_of(urls: Iterable[NotifyUrl]) -> list[str]:
    """Return what of the URLs no log line may hold: each as a whole, and its parts."""
    found = []
    for url in (one.url.get_secret_value() for one in urls):
        login, host, path, query = _PARTS.fullmatch(url).groups("")  # type: ignore[union-attr]
        user, _, password = login.partition(":")
        receiver = receiver_of(url)
        if receiver and "host" in receiver[0].template_tokens:  # else a secret stands there
            host = ""
        parts = re.split("[:/#]", f"{user}/{host}{path}") + re.split(r"[^=&]*=|[,&]", query)
        # Short parts are words of other lines.
        found += [url, password, *(part for part in parts if len(part) >= 8)]
    return [form for one in found for form in {one, unquote(one)}]


class AccountNotices(BaseModel):
    """What of one account is sent to whom."""

    #: URLs of Apprise, which hold secrets, with white space between them: `URL` gets every event,
    #: `event,event=URL` these; none = nothing is sent.
    notify_urls: Annotated[tuple[NotifyUrl, ...], NoDecode, BeforeValidator(_entries)] = Field(
        default=(), repr=False
    )
    #: The share of a group's recent jobs whose failure is sent, and the least number of these.
    notify_failure_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    notify_failure_jobs: Annotated[int, Field(ge=1, le=200)] = 20
