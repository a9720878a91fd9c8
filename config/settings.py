"""The settings of a worker, read from the environment (and `.env`), checked once, at the start.

A wrong value stops the start with the variable's name and what was expected.
"""

import difflib
import os
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from api_client.http.proxies import Proxies
from config.addresses import is_redis, is_url, next_database
from config.archive import ArchiveSettings, seconds_of
from config.gateway import GatewaySettings
from config.notices import AccountNotices, secrets_of
from config.proxies import AccountProxy, passwords_of, proxy_environment
from config.retention import Keep, days_by_state
from config.webhooks import AccountWebhooks, WebhookSettings
from runqueue.ids import is_name

PREFIX = "RUNQUEUE_"
#: Celery's queues in the broker: the one that producers send to, and the one of the workers' own
#: messages, which start the stages and must not wait behind the work.
PRODUCER_QUEUE, STAGE_QUEUE = "runqueue", "runqueue.stages"
ENV_FILE = ".env"
#: Read by `runqueue up` and `runqueue demo`, whose workers inherit it, and by other commands.
_READ_ELSEWHERE = frozenset(
    {
        "RUNQUEUE_WORKERS",
        "RUNQUEUE_URL",
        "RUNQUEUE_TOKEN",
        "RUNQUEUE_ALLOW_HTTP",
        "RUNQUEUE_CALLBACK_URL",
    }
)
_SKYVERN = ("SKYVERN_API_KEY", "SKYVERN_BASE_URL")

Rate = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0, le=86_400 * 30, allow_inf_nan=False)]


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names the variable and what was expected."""


class NoAccountError(SettingsError):
    """No account has an API key here."""


class Limits(BaseModel):
    """The limits of an account; 0 = no limit (a burst of 0 is 1). The defaults suit 10 runs."""

    #: Submissions per second, shared by every process.
    max_submissions_per_second: Rate = 2
    #: Submissions (and calls) that may go at once after a pause.
    max_burst_size: Annotated[int, Field(ge=0, le=100_000)] = 5
    #: Runs under way at once.
    max_concurrent_runs: Count = 10
    #: All calls per second.
    max_requests_per_second: Rate = 10
    #: Jobs that may wait to be submitted, and bytes of their requests; more are refused.
    max_waiting_jobs: Annotated[int, Field(ge=0, le=10**9)] = 0
    max_waiting_bytes: Annotated[int, Field(ge=0, le=2**50)] = 0
    #: Seconds after which a task's run is canceled and its job failed.
    max_run_seconds: Annotated[float, Field(gt=0, le=86_400 * 30, allow_inf_nan=False)] = 7200
    #: The same of workflows, logins and downloads of files, which are workflow runs. Skyvern lets
    #: one run for 480 minutes at most, if its definition says so, and 15 are for tidying up.
    max_workflow_seconds: Annotated[float, Field(gt=0, le=86_400 * 30, allow_inf_nan=False)] = (
        29_700
    )
    #: How long ended jobs are retained, by state, such as `completed:1d,failed:30d`: whole days;
    #: seven for a state that is not named.
    keep: Keep = ""
    #: Whether others submit to the account, too: people, or another queue. Then counting the runs
    #: that no job owns does not tell equal requests apart.
    shared_account: bool = False
    #: Whether live runs of others take slots of `max_concurrent_runs`, as they do at Skyvern.
    share_capacity: bool = False


class Account(Limits, AccountWebhooks, AccountProxy, AccountNotices):
    """One Skyvern organization."""

    model_config = ConfigDict(extra="forbid")

    api_key: SecretStr
    base_url: str = "https://api.skyvern.com"

    @property
    def keys(self) -> tuple[str, ...]:
        """The API key, and earlier ones."""
        return tuple(key.get_secret_value() for key in (self.api_key, *self.previous_api_keys))

    @property
    def signing_secrets(self) -> list[str]:
        """What relayed webhooks are signed with."""
        return [secret.get_secret_value() for secret in self.webhook_secrets]

    def for_queue(self) -> dict[str, float]:
        """Return the limits under their names in the queue."""
        return {
            "submissions_per_second": self.max_submissions_per_second,
            "burst_size": self.max_burst_size,
            "concurrent_runs": self.max_concurrent_runs,
            "requests_per_second": self.max_requests_per_second,
            "webhooks_per_second": self.max_webhooks_per_second,
            "waiting_jobs": self.max_waiting_jobs,
            "waiting_bytes": self.max_waiting_bytes,
        }

    def retained_days(self) -> dict[str, int]:
        """Return how long ended jobs are retained, as the queue has it among the limits."""
        return {f"keep_{state}": days for state, days in days_by_state(self.keep).items()}

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if not key.strip() or not key.isascii() or not key.isprintable():
            raise ValueError("expected an API key: printable ASCII, no line breaks")
        return value

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not is_url(value, {"http", "https"}, bare=True):
            raise ValueError("expected an http(s) URL such as https://api.skyvern.com")
        return value.rstrip("/")


def account_prefix(name: str) -> str:
    """Return how the names of an account's own variables begin."""
    return "SKYVERN_" if name == "default" else f"{PREFIX}ACCOUNTS__{name.upper()}__"


class Settings(
    Limits,
    AccountWebhooks,
    AccountProxy,
    AccountNotices,
    WebhookSettings,
    GatewaySettings,
    ArchiveSettings,
    BaseSettings,
):
    """All settings of a worker and a gateway."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",
    )

    skyvern_api_key: SecretStr | None = Field(default=None, validation_alias="SKYVERN_API_KEY")
    skyvern_base_url: str = Field(
        default="https://api.skyvern.com", validation_alias="SKYVERN_BASE_URL"
    )
    #: More accounts, by name: RUNQUEUE_ACCOUNTS__<NAME>__API_KEY and so on.
    accounts: dict[str, Account] = Field(default={}, repr=False)
    # Both may hold a password.
    redis_url: str | None = Field(default=None, repr=False)
    broker_url: str | None = Field(default=None, repr=False)
    #: Seconds from which on a search that finds no run of an unconfirmed job counts. The second one
    #: comes half a minute later: a server may take 60 s to answer a submission, and so to make its
    #: run, and the job of a run made after that search runs twice.
    unconfirmed_grace_seconds: Annotated[
        float, Field(ge=30, le=86_400 * 30, allow_inf_nan=False)
    ] = 30
    #: Whether submissions carry a marker (in a task's title, in a webhook URL) that finds their
    #: runs when an answer is lost. Without it such jobs wait for people.
    correlation: bool = True
    #: This queue's name in the marker, besides the job and the attempt: if several queues submit
    #: to one Skyvern organization, none takes another's runs for its own. Not kept in Redis, since
    #: it is needed when Redis has lost its data; empty = no name.
    queue_name: str = ""
    #: Whether workflow runs carry the marker as an entry of `run_metadata`, too, of which newer
    #: servers make a tag of the run; only with `correlation`.
    run_tags: bool = True
    #: How to treat unknown fields of a run request, and values that Skyvern is known not to take:
    #: refuse, warn (sent, and logged once) or pass.
    request_checks: Literal["refuse", "warn", "pass"] = "refuse"
    #: Seconds between two polls of a run, +-10 %: the least (of lists, too), and the most. It
    #: bounds no lists, and no run that a webhook will report (worker/poll_times.py).
    poll_min_seconds: Seconds = 2
    poll_max_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 30
    #: First port tried for metrics; 0 = no metrics server.
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    metrics_host: str = "127.0.0.1"
    #: Calls of one stage that one process has open for one account.
    max_open_calls: Annotated[int, Field(ge=1, le=500)] = 100
    #: Seconds a stopping worker gives the calls on the wire.
    drain_seconds: Seconds = 25
    log_level: str = "INFO"
    #: Credits of a step of engine 1.0, of whose runs Skyvern shows none; empty = not known.
    credits_per_step: Annotated[float | None, Field(gt=0, le=10**6, allow_inf_nan=False)] = None
    #: What a credit costs, in the currency that you think in; empty = not known.
    price_per_credit: Annotated[Decimal | None, Field(gt=0, le=10**6, allow_inf_nan=False)] = None
    #: Whose failure category and credits are read at Skyvern if the end of the run did not say
    #: them: failed runs, all, or never. Only workflow runs (and tasks of engine 2.0) have them.
    run_details: Literal["failed", "all", "never"] = "failed"

    @field_validator("queue_name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if value and not is_name(value):
            raise ValueError("expected up to 32 lower-case letters, digits, - and _")
        return value

    @field_validator("skyvern_api_key")
    @classmethod
    def _empty_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value and value.get_secret_value() else None

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str | None) -> str | None:
        if value and not is_redis(value):
            raise ValueError(
                "expected a URL such as redis://localhost:6379/0, redis+cluster://host:port,…"
                " or redis+sentinel://host:port,…/name/0"
            )
        return value or None

    @field_validator("broker_url")
    @classmethod
    def _is_broker(cls, value: str | None) -> str | None:
        # The last is kombu's name for a Unix socket; it would take any other scheme for redis.
        if value and not is_url(value, {"redis", "rediss", "redis+socket"}):
            raise ValueError(
                "expected a URL such as redis://localhost:6379/1, rediss://… or"
                " redis+socket:///run/redis.sock?virtual_host=1"
            )
        return value or None

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
            mixed_in = (Limits, AccountWebhooks, AccountProxy, AccountNotices)
            own = [name for one in mixed_in for name in one.model_fields]
            common = {name: getattr(self, name) for name in own}
            found["default"] = Account(
                api_key=self.skyvern_api_key, base_url=self.skyvern_base_url, **common
            )
        return found | self.accounts

    @staticmethod
    def proxy_environment() -> dict[str, str]:
        """Return the variables of proxies in the environment and `.env`."""
        return proxy_environment(ENV_FILE)

    def secrets(self, *found_urls: str) -> list[str]:
        """Return all values that no log line may hold: keys, webhook secrets, passwords of URLs.

        Args:
            found_urls: those in use that no setting names, such as the embedded server's.
        """
        found = [
            secret
            for account in self.all_accounts().values()
            for secret in (
                *account.keys,
                *(one.get_secret_value() for one in account.webhook_secrets),
                *secrets_of(account.notify_urls),
            )
        ]
        proxies = (account.proxy_url for account in self.all_accounts().values())
        archive = self.archive_url.get_secret_value() if self.archive_url else None
        named = (self.redis_url, self.broker_url, archive, *found_urls, *proxies)
        return found + passwords_of((*named, *self.proxy_environment().values()))


def not_configured(error: Exception) -> SystemExit:
    """Print what of the configuration is wrong, and return what ends the process with code 2."""
    sys.stderr.write(f"runqueue: {error}\n")
    return SystemExit(2)


def load_settings() -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: naming the variable and what was expected.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError(_sentence(error, PREFIX)) from None
    except UnreadableError:
        # The one setting that is not a plain value.
        raise SettingsError(f"{PREFIX}ACCOUNTS: expected a JSON object") from None
    for name in settings.accounts:
        if not is_name(name):
            prefix = f"{PREFIX}ACCOUNTS__{name.upper()}__"
            raise SettingsError(f"{prefix}…: expected an account name of a-z, 0-9, _ and -")
    try:
        accounts = settings.all_accounts()
    except ValidationError as error:
        raise SettingsError(_sentence(error, "SKYVERN_")) from None
    if not accounts:
        raise NoAccountError("SKYVERN_API_KEY: expected the API key of your Skyvern account")
    try:
        Proxies.from_environment(settings.proxy_environment())
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if settings.poll_max_seconds < settings.poll_min_seconds:
        raise SettingsError(
            f"{PREFIX}POLL_MAX_SECONDS: expected at least {PREFIX}POLL_MIN_SECONDS"
            f" ({settings.poll_min_seconds:g})"
        )
    most = max(days for one in accounts.values() for days in one.retained_days().values()) * 86_400
    if seconds_of(settings.archive_only_after) and 0 < seconds_of(settings.archive_keep) < most:
        raise SettingsError(
            f"{PREFIX}ARCHIVE_KEEP: expected at least what {PREFIX}KEEP retains jobs for"
            f" ({most // 86_400}d), as {PREFIX}ARCHIVE_ONLY_AFTER leaves the archive the only copy"
        )
    return settings


#: Faults of numbers, switches and words of a few, whose values give nothing away.
SHOWN_FAULTS = frozenset(
    {"int_parsing", "int_from_float", "float_parsing", "bool_parsing", "literal_error", "enum"}
    | {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}
    | {"int_type", "float_type", "bool_type"}
)
#: Longest value that is shown, in characters: a key may stand in the wrong place.
_SHORT = 20


def _sentence(error: ValidationError, prefix: str) -> str:
    """Return one line naming each variable at fault.

    A value is shown if a number or one of some words is expected and it is short: else it may be a
    key.
    """
    lines = []
    for fault in error.errors(include_url=False):
        name = "__".join(str(part) for part in fault["loc"]).upper()
        variable = name if name.startswith("SKYVERN_") else prefix + name
        message = str(fault["msg"]).removeprefix("Value error, ")
        message = message.replace("Input should be", "expected").replace(
            "Field required", "required"
        )
        message = message.partition(", unable to parse")[0]
        if fault["type"] == "bool_parsing":
            message = "expected true or false (on, off, yes, no, 1 and 0 will do)"
        elif fault["type"] == "extra_forbidden":
            message = f"expected one of {', '.join(Account.model_fields).upper()}"
        value = str(fault["input"])
        if fault["type"] in SHOWN_FAULTS and len(value) <= _SHORT:
            message += f", got {value!r}" if value else ", got nothing"
        lines.append(f"{variable}: {message}")
    return "; ".join(lines)


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a warning for each RUNQUEUE_ variable that nothing reads, such as a typo.

    Args:
        environ: the variables; default `os.environ` and the file `.env`.
    """
    if environ is None:
        environ = {**dict.fromkeys(dotenv_values(ENV_FILE), ""), **os.environ}
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _READ_ELSEWHERE
    warnings = []
    for name in environ:
        near = difflib.get_close_matches(name, _SKYVERN, n=1, cutoff=0.8)
        if near and name not in _SKYVERN:
            warnings.append(f"{name} is not a setting (did you mean {near[0]}?)")
        if not name.startswith(PREFIX) or name in known or name.startswith(f"{PREFIX}ACCOUNTS__"):
            continue
        # Without the shared prefix, which would make any two similar.
        bare = [other.removeprefix(PREFIX) for other in known]
        close = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
        hint = f" (did you mean {PREFIX}{close[0]}?)" if close else ""
        warnings.append(f"{name} is not a setting{hint}")
    return warnings


def broker_url(settings: Settings, redis_url: str) -> str:
    """Return the Celery broker's URL: the one set, else the queue's server, next database.

    Raises:
        SettingsError: the queue's URL has no database number to go on from.
    """
    if settings.broker_url:
        return settings.broker_url
    try:
        return next_database(redis_url)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}BROKER_URL: {error}") from None
