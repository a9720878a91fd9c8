"""What one process records for one account: a batch writer for each kind of outcome."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog

from runqueue.observe.run_spans import TracedRun, TracedRuns
from runqueue.records.claim_items import Finished, GivenBack, Lost, RunAccepted, RunAgain
from runqueue.store import delivery_calls, worker_calls
from runqueue.store.scripts import ScriptCall
from worker.process.batch_writer import BatchWriter

log = structlog.get_logger()

Item = TypeVar("Item")

#: Seconds after which a run is polled again whose end may not be final.
SOON_SECONDS = 5.0
#: Why a claim is given back, as `give_back.lua` has it.
_REASONS = ("void", "not_sent", "busy", "limited", "account", "later")


class Writers:
    """The batch writers of an account.

    Args:
        account: the account.
        send: runs a script.
        traces: where the ends of traced runs go.
        marked: whether submissions carry markers.
    """

    def __init__(
        self,
        account: str,
        send: Callable[[ScriptCall[Any]], Awaitable[Any]],
        traces: TracedRuns,
        *,
        marked: bool,
    ) -> None:
        self._account = account
        self._send = send
        self._traces = traces
        #: Every one of them: `_add` is what makes them.
        self.all: list[BatchWriter[Any]] = []
        add, calls = self._add, worker_calls
        self.running = add(calls.mark_running, self._log_orphans)
        self.dead = add(calls.mark_dead)
        self.unconfirmed: BatchWriter[Lost] = add(partial(calls.mark_unconfirmed, marked=marked))
        self.polled = add(calls.mark_polled)
        self.finished = add(calls.finish, self._trace_ends, size=_result_bytes)
        self.run_again = add(calls.retry_run, self._trace_ends, size=_result_bytes)
        self.overdue = add(calls.cancel_overdue)
        self.given_up = add(calls.give_up)
        self.ended_orphans = add(calls.drop_strays)
        self.over_orphans = add(calls.strays_over)
        self.poll_now = add(calls.poll_now)
        self.poll_soon: BatchWriter[str] = add(
            partial(calls.poll_now, after_us=int(SOON_SECONDS * 1e6))
        )
        self.deliveries = add(delivery_calls.record_delivery, size=lambda item: len(item.body))
        self.callbacks = add(delivery_calls.record_callback)
        self.returned: dict[str, BatchWriter[GivenBack]] = {
            why: add(partial(calls.give_back, why=why)) for why in _REASONS
        }

    def _add(
        self,
        call: Callable[[str, Sequence[Item]], ScriptCall[Any]],
        seen: Callable[[Sequence[Item], Any], None] | None = None,
        size: Callable[[Item], int] = lambda _: 0,
    ) -> BatchWriter[Item]:
        writer = BatchWriter[Item](partial(call, self._account), self._send, seen, size)
        self.all.append(writer)
        return writer

    async def settled(self) -> None:
        """Wait until everything that any of them took is recorded."""
        for writer in self.all:
            await writer.settled()

    def _trace_ends(self, items: Sequence[TracedRun], codes: Sequence[int]) -> None:
        recorded = [item for item, code in zip(items, codes, strict=True) if code]
        self._traces.over(recorded, "poll")

    def _log_orphans(self, items: Sequence[RunAccepted], codes: Sequence[int]) -> None:
        for item, code in zip(items, codes, strict=True):
            if code in {2, 3}:
                event = "stray_run" if code == 2 else "run_is_another_jobs"
                log.error(event, account=self._account, job_id=item.job_id, run_id=item.run_id)


def _result_bytes(item: Finished | RunAgain) -> int:
    return len(item.result)
