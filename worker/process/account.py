"""What one process holds for one account: its client, its lease and its writers."""

import asyncio
import time
from collections.abc import Callable
from math import inf
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from redis.exceptions import ResponseError
from structlog.typing import FilteringBoundLogger

from api_client import AsyncTransport, RawClient
from api_client.http.proxies import Proxies
from config.settings import Account, Settings, account_prefix
from runqueue.connection.redis_errors import damage_of, quarantined_a_job
from runqueue.observe.run_spans import TracedRuns
from runqueue.records.run_figures import FigureRules
from runqueue.store import worker_calls
from runqueue.store.async_sending import check_format_async
from runqueue.store.keys import ACCOUNTS
from runqueue.store.scripts import ScriptCall
from webhooks import receiver_address
from webhooks.sender import Outbound
from worker.process.lease import Lease
from worker.process.metrics import AccountMetrics
from worker.process.read_health import Reads
from worker.process.script_client import DirectCalls
from worker.process.writers import Writers

log = structlog.get_logger()

T = TypeVar("T")
P = ParamSpec("P")

#: Seconds that the answer to "is this key allowed anything?" is believed.
KEY_CHECK_SECONDS = 30.0
#: Seconds after which a base URL is read again that gave no JSON, and that this may take. A server
#: that was not there is read again after the hold that this brings, which lasts a second at least.
ADDRESS_SECONDS, ADDRESS_READ_SECONDS = 1.0, 5.0
#: Seconds for which a server's version is believed, and that reading it may take.
VERSION_SECONDS, VERSION_READ_SECONDS = 600.0, 5.0
#: Seconds for which a server that has no list of runs gets no request for one.
NO_LIST_SECONDS = 3600.0
#: The same after the first answer of that kind: it may have been a proxy's.
FIRST_NO_LIST_SECONDS = 30.0
#: Seconds for which a server that refuses tags is sent none.
NO_TAGS_SECONDS = 3600.0


def proxies_of(account: Account, settings: Settings) -> Proxies:
    """Return the proxies that lead to an account's servers, and to receivers of its webhooks."""
    return Proxies.from_environment(settings.proxy_environment(), account.proxy_url)


class AccountRuntime:
    """One account in one process; lives on the process's event loop.

    Args:
        name: the account.
        account: its key, base URL and limits.
        settings: the worker's settings.
        scripts: how to run scripts, and the queue's Redis.
        transport: what sends the calls.
    """

    def __init__(
        self,
        name: str,
        account: Account,
        settings: Settings,
        scripts: DirectCalls,
        transport: AsyncTransport,
    ) -> None:
        self.name = name
        #: Names the account in each line.
        self.log: FilteringBoundLogger = log.bind(account=name)
        self.settings = account
        self.worker_settings = settings
        self.client = RawClient(account.base_url, account.api_key.get_secret_value(), transport)
        self.metrics = AccountMetrics(name)
        self.figure_rules = FigureRules(settings.credits_per_step, settings.run_details)
        #: Whether workflow runs are to carry the marker as a tag, too.
        self.wants_tags = settings.correlation and settings.run_tags
        self._tag_again = 0.0
        proxies = proxies_of(account, settings)
        #: Whether a proxy leads to the server, and whether it reads what passes and may date it.
        self.is_proxied = proxies.find(account.base_url) is not None
        self.is_forwarded = proxies.reader(account.base_url) is not None
        #: Seconds by which the dates of answers are ahead of the clock that dates the runs, as
        #: lists have shown.
        self.date_ahead = 0.0
        self.outbound = Outbound.of(settings, proxies)
        self._list_again = 0.0
        self._no_list_for = 0.0
        self._scripts = scripts
        self._key_checked: tuple[float, bool | None] = (float("-inf"), None)
        self._key_check = asyncio.Lock()
        self._address_checked, self._not_json = float("-inf"), ""
        self._version: tuple[float, str | None] = (float("-inf"), None)
        self._version_check = asyncio.Lock()
        self._beat: asyncio.Task[None] | None = None
        self._announced = False
        self.reads = Reads()
        self.lease = Lease(
            *(name, self.send, self._announce),
            reads=self.reads.report,
            date_us=self.client.server_clock.now_us,
        )
        self.traces = TracedRuns(name, self.send)
        self.writers = Writers(name, self.send, self.traces, marked=settings.correlation)

    async def send(self, call: ScriptCall[T]) -> T:
        """Run a script."""
        try:
            return await self._scripts.run(call)
        except ResponseError as error:
            if quarantined_a_job(error):
                self.log.error(  # noqa: TRY400 - the trace says nothing more
                    "job_quarantined", script=call.script.name, error=str(error)
                )
            raise

    async def run(
        self,
        script: Callable[Concatenate[str, P], ScriptCall[T]],
        *args: P.args,
        **options: P.kwargs,
    ) -> T:
        """Run a script for this account.

        Args:
            script: makes its call, of the account's name and the other arguments.
        """
        return await self.send(script(self.name, *args, **options))

    async def start(self) -> None:
        """Begin the lease; where the account's keys are damaged, the next heartbeats try again.

        Raises:
            OtherFormat: Redis holds what a version of another format wrote.
        """
        try:
            await self.lease.beat()
        except Exception as error:
            if damage_of(error) is None:
                raise
        self._beat = asyncio.create_task(self.lease.keep())

    async def _announce(self) -> None:
        """Say which account this is and what its limits are."""
        await check_format_async(self._scripts.client)
        await self._scripts.client.sadd(ACCOUNTS, self.name)
        limits = self.settings.for_queue() | self.settings.retained_days()
        limits["share_capacity"] = int(self.settings.share_capacity)
        seed = worker_calls.seed_limits(self.name, limits, first=not self._announced)
        changed, self._announced = await self.send(seed), True
        for name, before in changed.items():
            # The worker that started last decides: nobody else knows which environment is meant.
            log.warning(
                "limit_changed", account=self.name, limit=name, was=before, now=limits[name]
            )

    async def key_is_allowed(self) -> bool | None:
        """Read one list page with the key, at most once in 30 s; None = not known."""
        async with self._key_check:  # a hundred refusals at once ask once
            checked, allowed = self._key_checked
            if time.monotonic() - checked > KEY_CHECK_SECONDS:
                with self.metrics.timed("check_key"):
                    allowed = await self.client.check_key()
                self._key_checked = (time.monotonic(), allowed)
            return allowed

    async def check_address(self) -> str:
        """Say what is wrong with the base URL; '' = it leads to an API, or that is not known.

        Until some answer of this process was JSON, a run that does not exist is read, once a
        second at most: a job that was sent to a web page would stay unconfirmed. What an earlier
        process saw does not count, as it may have had another base URL.

        Raises:
            RedisError: Redis is away, and no request was sent.
        """
        if self.client.gave_json:
            return ""
        now = time.monotonic()
        if now - self._address_checked > ADDRESS_SECONDS:
            if not await self.permit_within(ADDRESS_READ_SECONDS):
                return ""
            with self.metrics.timed("check_address"):
                self._not_json = await self.client.check_address(ADDRESS_READ_SECONDS)
            self._address_checked = now
        if not self._not_json:
            return ""
        setting = f"{account_prefix(self.name)}BASE_URL"
        return (
            f"{self.settings.base_url} answered {self._not_json}, not with JSON:"
            f" is {setting} right?"
        )

    async def server_version(self) -> str | None:
        """Return the server's version, '' if it gives none; None = it does not answer just now.

        It is read once in ten minutes at most.

        Raises:
            RedisError: Redis is away, and no request was sent.
        """
        async with self._version_check:  # a hundred ends at once ask once
            read_at, version = self._version
            if time.monotonic() - read_at > VERSION_SECONDS:
                await self.permit()
                with self.metrics.timed("version"):
                    version = await self.client.server_version(VERSION_READ_SECONDS)
                read_at = float("-inf") if version is None else time.monotonic()
                self._version = (read_at, version)
            return version

    def runs_clock(self, date: float | None) -> float | None:
        """Return what the clock that dates the runs showed at an answer of that date, if any."""
        return None if date is None else date - self.date_ahead

    @property
    def run_limits_us(self) -> tuple[int, int]:
        """Microseconds that a task's run may take, and that another's may."""
        own = self.settings
        return int(own.max_run_seconds * 1e6), int(own.max_workflow_seconds * 1e6)

    @property
    def receives(self) -> bool:
        """Whether submissions ask for webhooks to our receiver."""
        return self.worker_settings.public_url is not None

    def receiver(self, job_id: str, attempt: int) -> str | None:
        """Return our address for the webhook of an attempt; None where there is no receiver."""
        url = self.worker_settings.public_url
        if url is None:
            return None
        key = self.settings.api_key.get_secret_value()
        return receiver_address.address(url, self.name, job_id, attempt, key)

    def may_list(self) -> bool:
        """Say whether the server is thought to have the list of runs."""
        return time.monotonic() >= self._list_again

    def remember_no_list(self) -> None:
        """Take note that the server has no list of runs.

        It is tried again half a minute later, then ever more rarely, after an hour at last.
        """
        if self.may_list():
            log.warning("list_not_supported", account=self.name)
            self._no_list_for = min(
                max(FIRST_NO_LIST_SECONDS, 4 * self._no_list_for), NO_LIST_SECONDS
            )
        self._list_again = time.monotonic() + self._no_list_for

    def remember_list(self) -> None:
        """Take note that the server has a list of runs."""
        self._list_again = self._no_list_for = 0.0

    @property
    def tags_runs(self) -> bool:
        """Whether submissions of workflows carry the marker as a tag, too."""
        return self.wants_tags and time.monotonic() >= self._tag_again

    def remember_no_tags(self) -> None:
        """Take note that the server refuses tags; they are tried again after an hour."""
        if self.tags_runs:
            log.warning("tags_refused", account=self.name)
        self._tag_again = time.monotonic() + NO_TAGS_SECONDS

    async def permit(self) -> None:
        """Wait for leave to make one call that is no submission."""
        await self.permit_within(inf)

    async def permit_within(self, most: float) -> bool:
        """Wait for leave to make one such call, `most` seconds at most; say whether it came."""
        until = time.monotonic() + most
        while True:
            granted, seconds = await self.send(worker_calls.permits(self.name, 1))
            if granted:
                return True
            wait = max(seconds, 0.01)
            if time.monotonic() + wait > until:
                return False
            await asyncio.sleep(wait)

    async def goodbye(self) -> int:
        """Record what is left and end the lease; return how many claims are left."""
        await self.writers.settled()
        await self.traces.settled()
        await self.outbound.aclose()
        if self._beat is not None:
            self._beat.cancel()
        return await self.send(worker_calls.bye(self.name, self.lease.name))
