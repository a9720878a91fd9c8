"""Copies ended jobs from Redis into the archive: one process of an account at a time, which has a
lease for it.

No other part of a worker waits for it, and nothing is written for it when jobs end: Redis has how
far it is in the lists of ends. Jobs are recorded as archived after they are written. A process that
dies in between has them written again, which changes nothing.
"""

import asyncio
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from archive import calls, retention
from archive.calls import DueJob, Kept, Read, Use
from archive.database import ArchiveAwayError, ArchiveError, engine_of, set_up
from archive.reader import Reader
from archive.rows import EndedJob
from archive.tables import HOUR_US, ended_us, key_of
from archive.writer import Writer
from config.archive import seconds_of
from config.settings import Settings
from runqueue.errors import RunQueueError
from runqueue.store.job_calls import job_states
from runqueue.store.scripts import AsyncSend

log = structlog.get_logger()

T = TypeVar("T")

#: Seconds between two rounds: while nothing is left, and while another process archives.
EVERY, OTHERS_EVERY = 1.0, 5.0
#: Seconds for which a process that died keeps the others from archiving.
LEASE_SECONDS = 30.0
#: Seconds after which an archive that is away, or refused, is tried again: at first, doubled up to.
FIRST_RETRY, LAST_RETRY = 1.0, 30.0
#: Entries and bytes of one call, in which Redis serves nothing else; and of one transaction.
CALL_JOBS, CALL_BYTES = 100, 1024 * 1024
GROUP_JOBS, GROUP_BYTES = 500, 4 * 1024 * 1024
#: Seconds after which a job that could not be stored is tried again.
ASIDE_SECONDS = 3600
#: Seconds between two looks for rows whose retention is over.
RETIRE_EVERY = 3600.0
#: Seconds between two counts of new groups of errors, and how many of these are recorded.
ERRORS_EVERY, MOST_NEW = 60.0, 100
#: Seconds that closing the database may take.
CLOSE_SECONDS = 5.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def host_id() -> str:
    """Return what tells this machine from others; its containers have the same."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return socket.gethostname()


class Archive:
    """The archive of one process. Its database has a thread, whose work delays no job.

    Args:
        url: as `RUNQUEUE_ARCHIVE_URL` has it.
    """

    def __init__(self, url: str) -> None:
        self.host = host_id() if url.startswith("sqlite") else ""
        #: "" = it is not known yet.
        self.id = ""
        #: Its file's number (0 = it has none); None = it may be another database by now.
        self.known: int | None = None
        self._file = Path(url.removeprefix("sqlite:///")) if self.host else None
        self._engine = engine_of(url)
        self._opening = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="runqueue-archive", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def run(self, act: Callable[[AsyncEngine], Awaitable[T]]) -> T:
        """Have its thread use the database."""

        async def acted() -> T:
            return await act(self._engine)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(acted(), self._loop))

    async def open(self) -> None:
        """Set it up and read its id, unless that was done since the last error.

        Raises:
            ArchiveError: it cannot be used.
        """
        async with self._opening:
            if self.known != self._file_number():
                # A connection would go on with a file that was deleted.
                await self.run(lambda engine: engine.dispose())
                self.id = await self.run(set_up)
                self.known = self._file_number()

    def _file_number(self) -> int:
        return self._file.stat().st_ino if self._file and self._file.exists() else 0

    async def write(self, jobs: Sequence[EndedJob], archive_id: str) -> list[str]:
        """Write jobs; raises and returns as `Writer.write`."""
        return await self.run(lambda engine: Writer(engine, archive_id).write(jobs))

    async def close(self) -> None:
        """Close the database."""
        with suppress(Exception):  # the process ends anyway
            await asyncio.wait_for(self.run(lambda engine: engine.dispose()), CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)


class Archiver:
    """Archives the jobs of one account, in one process; lives on its event loop.

    Args:
        account: which.
        settings: the worker's.
        archive: the process's.
        send: runs scripts.
    """

    def __init__(self, account: str, settings: Settings, archive: Archive, send: AsyncSend) -> None:
        self._account, self._archive, self._send = account, archive, send
        self._keep_us = seconds_of(settings.archive_keep) * 1_000_000
        self._drop_after_us = seconds_of(settings.archive_only_after) * 1_000_000
        self._process = secrets.token_hex(8)
        self._retry, self._id = FIRST_RETRY, ""
        #: What keeps it from archiving, and what else failed, in words; the log has each once.
        self._trouble = self._failed = ""
        #: Up to which key of the archive Redis has dropped all, and when the oldest left ended.
        self._dropped: tuple[int, int] | None = None
        self._drops_more = False
        self._drop_at = self._retire_at = self._errors_at = 0.0
        self._has_lease = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End, and let another process go on at once."""
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        if self._has_lease:
            with suppress(RedisError, RunQueueError, OSError):
                nothing = Read(0, "ok")
                call = calls.archived(self._account, self._process, nothing, 0, (), leaves=True)
                await self._send(call)

    async def _run(self) -> None:
        while True:
            try:
                pause = await self.round()
            except (RedisError, RunQueueError, OSError):  # Redis is away, which others say
                pause = EVERY
            except Exception as error:  # noqa: BLE001 - a bug must not end it for good
                # Its words may hold what was to be written.
                log.warning("archiving_failed", account=self._account, error=type(error).__name__)
                pause = LAST_RETRY
            await asyncio.sleep(pause)

    async def round(self) -> float:
        """Archive once; returns the seconds until the next time."""
        try:
            await self._archive.open()
            self._id = self._archive.id
            self._has_lease = True  # also if it is canceled before the reply comes
            read = await self._read()
            self._has_lease = read.state == "ok"
            if not self._has_lease:
                self._dropped = None  # another process may drop on
                return OTHERS_EVERY if read.state == "busy" else await self._wait(read.why)
            await self._write(read)
        except ArchiveError as error:
            self._archive.known = None
            return await self._wait(str(error), reports=True)
        if self._trouble:
            log.info("archive_back", account=self._account)
        self._retry, self._trouble = FIRST_RETRY, ""
        is_kept_up = await self._keep_up(read)
        return 0.0 if read.more or (is_kept_up and self._drops_more) else EVERY

    async def _keep_up(self, read: Read) -> bool:
        """Do what is no archiving; says whether all of it was done: it delays no archiving."""
        failed = ""
        for step in (self._drop, self._retire, self._count_errors):
            try:
                await step(read)
            except ArchiveError as error:
                self._archive.known, failed = None, str(error)
        if failed not in {"", self._failed}:
            self._failed = failed
            log.warning("archive_not_kept_up", account=self._account, why=failed)
        return not failed

    @property
    def _use(self) -> Use:
        lease_us = int(LEASE_SECONDS * 1e6)
        return Use(self._process, self._id, self._archive.host, lease_us)

    async def _wait(self, why: str, *, reports: bool = False) -> float:
        """Log what is wrong, and have Redis say it; returns the seconds until the next try."""
        if why != self._trouble:
            self._trouble = why
            log.warning("archive_not_written", account=self._account, why=why)
        if reports:
            await self._send(calls.trouble(self._account, self._use, why))
        pause, self._retry = self._retry, min(2 * self._retry, LAST_RETRY)
        return pause

    async def _read(self) -> Read:
        """Read what is written in one transaction."""
        read = await self._unarchived("")
        jobs, position = [*read.jobs], read.position
        while read.more and len(jobs) < GROUP_JOBS and _size(jobs) < GROUP_BYTES:
            read = await self._unarchived(read.then)
            if read.state != "ok":
                return read
            jobs += read.jobs
        return read._replace(position=position, jobs=tuple(jobs))

    async def _unarchived(self, start: str) -> Read:
        call = calls.unarchived(self._account, self._use, start, CALL_JOBS, CALL_BYTES)
        return await self._send(call)

    async def _write(self, read: Read) -> None:
        """Write what was read, and record it.

        Raises:
            ArchiveAwayError: the database is away; nothing was recorded.
        """
        aside = await self._store([job.ended for job in read.jobs])
        retry_at = str(read.now_us + ASIDE_SECONDS * 1_000_000)
        kept = []
        for job in read.jobs:
            why = aside.get(job.ended.id, "")
            again = retry_at if why else job.again
            if again or job.due:
                kept.append(Kept(job.ended.id, job.due, again, why))
        for job_id, why in aside.items():
            log.error("job_not_archived", account=self._account, job_id=job_id, why=why)
        await self._remove_discarded(read)
        await self._drop_passed(read, aside)
        written = len(read.jobs) - len(aside)
        if kept or read.position != read.then:
            account, process = self._account, self._process
            await self._send(calls.archived(account, process, read, written, kept, leaves=False))

    async def _remove_discarded(self, read: Read) -> None:
        """Remove dead jobs that were discarded after they were read."""
        # Retention takes those that ended a day ago, or before.
        since = read.now_us - 24 * HOUR_US
        both = [(job.ended.id, job.ended.record) for job in read.jobs]
        dead = [name for name, one in both if one["state"] == b"dead" and int(one["ended"]) > since]
        states = await self._send(job_states(self._account, dead)) if dead else []
        gone = [job_id for job_id, (state, _) in zip(dead, states, strict=True) if state is None]
        if gone:
            await self._archive.run(lambda engine: Writer(engine).discard(self._account, gone))

    async def _store(self, jobs: Sequence[EndedJob]) -> dict[str, str]:
        """Write jobs; returns those that cannot be stored, and why: these delay no other."""
        if not jobs:
            return {}
        try:
            unread = await self._archive.write(jobs, self._id)
        except ArchiveAwayError:
            raise
        except Exception as error:  # noqa: BLE001 - what one of them is
            if len(jobs) == 1:
                # Words may hold what was to be written.
                words = str(error) if isinstance(error, ArchiveError) else type(error).__name__
                return {jobs[0].id: f"the database refuses it: {words}"}
            half = len(jobs) // 2
            return await self._store(jobs[:half]) | await self._store(jobs[half:])
        return dict.fromkeys(unread, "its record cannot be read")

    async def _drop_passed(self, read: Read, aside: Mapping[str, str]) -> None:
        """Drop jobs that dropping has passed: they came late, or more of them was to come."""
        before = read.now_us - self._drop_after_us
        late = [
            (job.ended.id, ended, job.due)
            for job in read.jobs
            if (ended := int(job.ended.record["ended"])) < before and job.ended.is_final
        ]
        if self._drop_after_us and (held := [job for job in late if job[0] not in aside]):
            await self._send(calls.drop_archived(self._account, self._process, "", held))

    async def _drop(self, read: Read) -> None:
        """Drop what the archive alone has to have, one step."""
        now, self._drops_more = asyncio.get_running_loop().time(), False
        if not self._drop_after_us or now < self._drop_at:
            return
        self._drop_at = now + LAST_RETRY
        account, process = self._account, self._process
        if self._dropped is None:
            self._dropped = await self._send(calls.drop_archived(account, process, "", ()))
        if self._dropped is not None:
            low = max(self._dropped[0], key_of(self._dropped[1]))
            high = key_of(read.now_us - self._drop_after_us)
            found = await self._archive.run(
                lambda engine: retention.archived_as_final(engine, account, low, high, CALL_JOBS)
            )
            held = ((job.id, ended_us(job.n), "") for job in found)
            if found:
                call = calls.drop_archived(account, process, found[-1].n, held)
                self._dropped = await self._send(call)
            self._drops_more = len(found) == CALL_JOBS
            if self._dropped is not None and not self._drops_more:
                self._dropped = high - 1, self._dropped[1]
        self._drop_at = 0.0

    async def _count_errors(self, read: Read) -> None:
        """Record the groups of errors that are new and grow, once a minute."""
        now = asyncio.get_running_loop().time()
        if now >= self._errors_at:
            account, self._errors_at = self._account, now + ERRORS_EVERY
            new = self._archive.run(lambda engine: Reader(engine).new_errors(account, read.now_us))
            await self._send(calls.new_errors(account, self._process, (await new)[:MOST_NEW]))

    async def _retire(self, read: Read) -> None:
        """Remove some of what the archive has had for as long as it is to have it."""
        now = asyncio.get_running_loop().time()
        if not self._keep_us or now < self._retire_at:
            return
        self._retire_at, before = now + LAST_RETRY, read.now_us - self._keep_us
        is_more = await self._archive.run(lambda engine: retention.remove_older(engine, before))
        self._retire_at = 0.0 if is_more else now + RETIRE_EVERY


def _size(jobs: Sequence[DueJob]) -> int:
    return sum(len(job.ended.body) + len(job.ended.result) for job in jobs)
