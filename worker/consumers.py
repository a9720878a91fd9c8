"""An account at work: its consumers, one a stage, and how they end together."""

import asyncio
from typing import Any

from api_client import AsyncTransport
from config.settings import Account, Settings
from worker.process.account import AccountLink
from worker.process.script_client import DirectCalls
from worker.stages.callbacks import CallbackConsumer
from worker.stages.cancel import CancelConsumer
from worker.stages.consumer import Consumer
from worker.stages.deliver import WebhookConsumer
from worker.stages.inbox import InboxConsumer
from worker.stages.list_runs import ListConsumer, starter
from worker.stages.poll import PollConsumer
from worker.stages.reconcile import ReconcileConsumer
from worker.stages.submit import SubmitConsumer


class AccountWorker(AccountLink):
    """An `AccountLink` and one consumer of each stage; arguments as there."""

    def __init__(
        self,
        name: str,
        account: Account,
        settings: Settings,
        scripts: DirectCalls,
        transport: AsyncTransport,
    ) -> None:
        super().__init__(name, account, settings, scripts, transport)
        capacity = settings.max_open_calls
        poll, listing = PollConsumer(self, capacity), ListConsumer(self, capacity)
        listing.on_missing = starter(poll)
        others = (
            SubmitConsumer,
            CancelConsumer,
            ReconcileConsumer,
            WebhookConsumer,
            CallbackConsumer,
            InboxConsumer,
        )
        every = [poll, listing, *(stage(self, capacity) for stage in others)]
        #: By their kinds, which are the `STAGES` of `runqueue/store/live_processes.py`.
        self.consumers: dict[str, Consumer[Any]] = {one.kind: one for one in every}

    async def stop(self, seconds: float) -> None:
        """Drain the consumers, record what they brought, and end the lease.

        Args:
            seconds: how long calls on the wire may take to finish.
        """
        await asyncio.gather(*(one.drain(seconds) for one in self.consumers.values()))
        await self.goodbye()
