"""An account at work: its pumps, and how they end together."""

import asyncio

from api_client import AsyncTransport
from config.settings import Account, Settings
from worker.process.account import AccountLink
from worker.process.script_client import DirectCalls
from worker.stages.callbacks import CallbackPump
from worker.stages.cancel import CancelPump
from worker.stages.consumer import Pump
from worker.stages.deliver import WebhookPump
from worker.stages.inbox import InboxPump
from worker.stages.list_runs import ListPump, beginner
from worker.stages.poll import PollPump
from worker.stages.reconcile import ReconcilePump
from worker.stages.submit import SubmitPump

KINDS = (
    SubmitPump,
    PollPump,
    CancelPump,
    ReconcilePump,
    WebhookPump,
    CallbackPump,
    InboxPump,
)


class AccountWorker(AccountLink):
    """An `AccountLink` and one pump of each kind; arguments as there."""

    def __init__(
        self,
        name: str,
        account: Account,
        settings: Settings,
        scripts: DirectCalls,
        transport: AsyncTransport,
    ) -> None:
        super().__init__(name, account, settings, scripts, transport)
        self.pumps: dict[str, Pump] = {kind.kind: kind(self, settings.places) for kind in KINDS}
        listing = ListPump(self, settings.places)
        listing.on_missing = beginner(self.pumps["poll"])
        self.pumps[listing.kind] = listing

    async def stop(self, seconds: float) -> None:
        """Drain the pumps, record what they brought, and end the lease.

        Args:
            seconds: how long calls on the wire may take to finish.
        """
        await asyncio.gather(*(pump.drain(seconds) for pump in self.pumps.values()))
        await self.goodbye()
