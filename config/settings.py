"""The settings of a worker, read from the environment (and `.env`), checked once, at the start.

A wrong value stops the start with the variable's name and what was expected.
"""

import difflib
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "RUNQUEUE_"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

Rate = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0, le=86_400 * 30, allow_inf_nan=False)]


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names the variable and what was expected."""


class Limits(BaseModel):
    """What an account may be asked for; 0 = no limit. The defaults suit a plan of 10 runs."""

    #: Submissions per second, shared by every process.
    max_dispatches_per_second: Rate = 2
    #: Submissions (and calls) that may go at once after a pause.
    max_burst_size: Annotated[int, Field(ge=0, le=100_000)] = 5
    #: Runs under way at once.
    max_concurrent_runs: Count = 10
    #: All calls per second.
    max_requests_per_second: Rate = 10
    #: Seconds after which a run is canceled and its job failed.
    max_run_seconds: Annotated[float, Field(gt=0, le=86_400 * 30, allow_inf_nan=False)] = 7200

    def for_queue(self) -> dict[str, float]:
        """Return the limits under the names they have in the queue."""
        return {
            "dispatches_per_second": self.max_dispatches_per_second,
            "burst_size": self.max_burst_size,
            "concurrent_runs": self.max_concurrent_runs,
            "requests_per_second": self.max_requests_per_second,
        }


class Account(Limits):
    """One Skyvern organization."""

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr
    base_url: str = "https://api.skyvern.com"

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected an http(s) URL such as https://api.skyvern.com")
        return value.rstrip("/")


class Settings(Limits, BaseSettings):
    """Everything a worker is told from outside."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_file=".env", extra="ignore"
    )

    skyvern_api_key: SecretStr | None = Field(None, validation_alias="SKYVERN_API_KEY")
    skyvern_base_url: str = Field("https://api.skyvern.com", validation_alias="SKYVERN_BASE_URL")
    #: More accounts, by name: RUNQUEUE_ACCOUNTS__<NAME>__API_KEY and so on.
    accounts: dict[str, dict[str, Any]] = {}
    redis_url: str | None = None
    broker_url: str | None = None
    #: Seconds an unconfirmed job is left to resolve itself before it is acted on.
    unconfirmed_grace_seconds: Seconds = 30
    #: Seconds between two looks at a run: the least, and the most.
    poll_min_seconds: Seconds = 2
    poll_max_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 30
    #: First port tried for metrics; 0 = no metrics server.
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    metrics_host: str = "127.0.0.1"
    #: Calls of one kind that one process has open for one account.
    places: Annotated[int, Field(ge=1, le=500)] = 100
    #: Seconds a stopping worker gives the calls on the wire.
    drain_seconds: Seconds = 25
    log_level: str = "INFO"

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("expected DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    def all_accounts(self) -> dict[str, Account]:
        """Return every account: `default` from SKYVERN_*, the others from RUNQUEUE_ACCOUNTS__*.

        An account's own limits are those it names; the rest are the defaults, not `default`'s.
        """
        found = {}
        if self.skyvern_api_key is not None:
            common = {name: getattr(self, name) for name in Limits.model_fields}
            found["default"] = Account(
                api_key=self.skyvern_api_key, base_url=self.skyvern_base_url, **common
            )
        for name, fields in self.accounts.items():
            found[name] = Account(**fields)
        return found


def load_settings() -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: naming the variable and what was expected.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError(_sentence(error, PREFIX)) from None
    for name, fields in settings.accounts.items():
        prefix = f"{PREFIX}ACCOUNTS__{name.upper()}__"
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{prefix}…: expected an account name of a-z, 0-9, _ and -")
        try:
            Account(**fields)
        except ValidationError as error:
            raise SettingsError(_sentence(error, prefix)) from None
    try:
        accounts = settings.all_accounts()
    except ValidationError as error:
        raise SettingsError(_sentence(error, "SKYVERN_")) from None
    if not accounts:
        raise SettingsError("SKYVERN_API_KEY: expected the API key of your Skyvern account")
    if settings.poll_max_seconds < settings.poll_min_seconds:
        raise SettingsError(
            f"{PREFIX}POLL_MAX_SECONDS: expected at least {PREFIX}POLL_MIN_SECONDS"
            f" ({settings.poll_min_seconds:g})"
        )
    return settings


def _sentence(error: ValidationError, prefix: str) -> str:
    """Return one line naming each variable at fault; the value is never shown, it may be a key."""
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        name = "__".join(str(part) for part in fault["loc"]).upper()
        variable = name if name.startswith("SKYVERN_") else prefix + name
        message = str(fault["msg"]).removeprefix("Value error, ")
        message = message.replace("Input should be", "expected").replace(
            "Field required", "expected a value"
        )
        lines.append(f"{variable}: {message}")
    return "; ".join(lines)


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a warning for each RUNQUEUE_ variable that nothing reads: a typo changes nothing.

    Args:
        environ: where to look; default `os.environ`.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    warnings = []
    for name in os.environ if environ is None else environ:
        if not name.startswith(PREFIX) or name in known or name.startswith(f"{PREFIX}ACCOUNTS__"):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        warnings.append(f"{name} is not a setting{hint}")
    return warnings


def broker_url(settings: Settings, redis_url: str) -> str:
    """Return the Celery broker's URL: the one set, else the queue's server, next database.

    Raises:
        SettingsError: the queue's URL has no database number to go on from.
    """
    if settings.broker_url:
        return settings.broker_url
    parts = urlsplit(redis_url)
    database = parts.path.strip("/") or "0"
    if not database.isdigit():
        raise SettingsError(
            f"{PREFIX}BROKER_URL: expected a value, as {PREFIX}REDIS_URL names no database"
        )
    return urlunsplit(parts._replace(path=f"/{int(database) + 1}"))
