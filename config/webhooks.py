"""The settings about webhooks, and their types."""

from base64 import b64decode
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from runqueue.records.retention import SURELY_RETAINED_SECONDS

#: Keys that Skyvern takes, and that can sign a webhook.
_MAX_SECRETS = 2
#: 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h: after an immediate first try, as Svix does it.
_SCHEDULE = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)

Redeliver = Literal["always", "on_failure", "never"]


def _parts(value: Any) -> Any:
    """Split a comma list of the environment."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _keys(value: Any) -> Any:
    found = _parts(value)
    for key in found if isinstance(found, list) else ():
        if isinstance(key, str) and not (key.isascii() and key.isprintable()):
            raise ValueError("expected API keys: printable ASCII, with commas between them")
    return found


def _secrets(value: Any) -> Any:
    found = _parts(value)
    if isinstance(found, list | tuple):
        if len(found) > _MAX_SECRETS:
            raise ValueError(f"expected {_MAX_SECRETS} secrets at most: the new one, and the old")
        for secret in found:
            if isinstance(secret, str) and not _is_secret(secret):
                raise ValueError(
                    "expected secrets of the form whsec_<base64 of 24 to 64 bytes>, with commas"
                    " between them"
                )
    return found


def _is_secret(text: str) -> bool:
    try:
        size = len(b64decode(text.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False
    return text.startswith("whsec_") and 24 <= size <= 64


def _schedule(value: Any) -> Any:
    try:
        found = [float(part) for part in _parts(value)]
    except (TypeError, ValueError):
        found = [-1.0]
    if len(found) > 50 or not all(0 <= seconds <= 86_400 * 30 for seconds in found):
        raise ValueError("expected seconds with commas between them, such as 5,300,1800")
    if sum(found) > SURELY_RETAINED_SECONDS:
        raise ValueError(
            f"expected {SURELY_RETAINED_SECONDS // 86_400} days together at most: jobs are retained"
            " for a day more"
        )
    return found


Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_keys)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_secrets)]
Schedule = Annotated[tuple[float, ...], NoDecode, BeforeValidator(_schedule)]


class AccountWebhooks(BaseModel):
    """The webhook settings of one account."""

    #: Keys that the account had before: webhooks signed with them are still taken.
    previous_api_keys: Keys = Field(default=(), repr=False)
    #: Secrets that sign relayed webhooks (standard-webhooks), the new one first.
    webhook_secrets: Secrets = Field(default=(), repr=False)
    #: Webhooks relayed per second, shared by every process; 0 = no limit.
    max_webhooks_per_second: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = 50


class WebhookSettings(BaseModel):
    """The webhook settings of all accounts."""

    #: Seconds before each further try of a delivery; the first is immediate.
    webhook_retry_seconds: Schedule = _SCHEDULE
    #: Whether webhooks may go to private and loopback addresses.
    allow_private_webhook_targets: bool = False
    #: Whether to request a webhook of Skyvern again: if it failed, also if that cannot be known, or
    #: never.
    redeliver: Redeliver = "on_failure"
