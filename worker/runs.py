"""The account's runs as the server lists them, for whoever looks for one that was lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from api_client import ListClass, ListedRun, ReadClass, RunPage
from api_client.answers import parse_json
from runqueue import stages
from worker.account import AccountLink

log = structlog.get_logger()

#: Seconds one call may take.
CALL_SECONDS = 12.0
#: Pages of recent runs read in one pass; the server shows no more than 100.
MAX_PAGES = 100
#: Echoed requests that are remembered: a run's request does not change.
MAX_ECHOES = 10_000


class Runs:
    """Reads lists of runs, and what each run was asked for, within the account's limits.

    Args:
        account: what the process holds for the account.
        slots: bounds the calls open at once.
        permit: waits for leave to make a call; by default the account's.
    """

    def __init__(
        self,
        account: AccountLink,
        slots: asyncio.Semaphore,
        permit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._account = account
        self._slots = slots
        self._permit = permit or account.permit
        self._echoes: dict[str, Mapping[str, Any]] = {}
        self._failure_told = False

    def begin_pass(self) -> None:
        """Let a failed list be logged again: once a pass."""
        self._failure_told = False

    async def recent(self, since: float) -> tuple[dict[ListedRun, float], bool]:
        """Read the runs made since then, newest first, when each was made, and whether that is all.

        Times are the process's monotonic clock: reading many pages takes its time.
        """
        made: dict[ListedRun, float] = {}
        for number in range(1, MAX_PAGES + 1):
            page = await self.page(number)
            if page.outcome is not ListClass.DONE:
                return made, False
            for run, when in times_of(page).items():
                if when < since:
                    return made, True
                made.setdefault(run, when)
            if page.is_short:
                return made, True
        return made, False

    async def page(
        self, number: int, search_key: str | None = None, status: Sequence[str] = ()
    ) -> RunPage:
        """Read one page, of a search if there is a key; a server without lists is remembered."""
        await self._permit()
        with self._account.metrics.timed("list") as timer:
            page = await self._account.client.list_runs(
                search_key=search_key, status=status, page=number, timeout=CALL_SECONDS
            )
            timer.status = page.status_code
        if page.outcome is ListClass.NOT_SUPPORTED:
            self._account.remember_no_list()
        elif page.outcome is not ListClass.DONE and not self._failure_told:
            self._failure_told = True
            log.warning(
                "run_list_failed",
                account=self._account.name,
                why=page.outcome.value,
                status=page.status_code,
            )
        return page

    async def without_owner(self, found: Iterable[ListedRun]) -> list[ListedRun]:
        """Return those of the runs that no job owns."""
        runs, free = list(found), []
        for start in range(0, len(runs), 1000):
            part = runs[start : start + 1000]
            owners = await self._account.send(
                stages.bound_runs(self._account.name, [run.run_id for run in part])
            )
            free += [run for run, owner in zip(part, owners, strict=True) if not owner]
        return free

    async def echoes_of(self, runs: list[ListedRun]) -> dict[str, Mapping[str, Any] | None]:
        """Return what the server echoes of each run, a few read at a time."""

        async def one(run: ListedRun) -> Mapping[str, Any] | None:
            async with self._slots:
                return await self.echo(run)

        echoed = await asyncio.gather(*map(one, runs))
        return {run.run_id: echo for run, echo in zip(runs, echoed, strict=True)}

    async def echo(self, run: ListedRun) -> Mapping[str, Any] | None:
        """Return the request of a run as the server echoes it; None if it could not be read."""
        if run.run_id not in self._echoes:
            await self._permit()
            with self._account.metrics.timed("get") as timer:
                reading = await self._account.client.get_run(run.run_id, CALL_SECONDS)
                timer.status = reading.status_code
            parsed = parse_json(reading.body) if reading.outcome is ReadClass.RUN else None
            if not isinstance(parsed, dict):
                return None
            echoed = parsed.get("run_request")
            while len(self._echoes) >= MAX_ECHOES:
                del self._echoes[next(iter(self._echoes))]
            self._echoes[run.run_id] = echoed if isinstance(echoed, dict) else {}
        return self._echoes[run.run_id]


def times_of(page: RunPage) -> dict[ListedRun, float]:
    """Return when each run of a page that was just read was made, by the monotonic clock.

    Their ages are told by the server's own clock; a run that does not say has none.
    """
    now = time.monotonic()
    server = page.server_date if page.server_date is not None else time.time()
    return {run: now - (0.0 if run.created is None else server - run.created) for run in page.runs}
