"""What `AsyncRunQueue` does with whole accounts; each method is told in `controls.py`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from runqueue.producer import pausing
from runqueue.producer.flows import drive_async
from runqueue.store import audit, limits, live_processes
from runqueue.store.audit import AuditNote
from runqueue.store.limits import AccountLimits
from runqueue.store.live_processes import GroupLine, Process
from runqueue.store.scripts import ScriptCall, T


class AsyncControls(ABC):
    """The part of `AsyncRunQueue` that is about whole accounts."""

    @abstractmethod
    async def send(self, call: ScriptCall[T]) -> T:
        """Run one script."""

    @abstractmethod
    async def _know(self, accounts: set[str]) -> None: ...

    async def pause(self, account: str = "default", reason: str = "") -> bool:
        """Submit nothing more of an account until it is resumed; runs under way go on."""
        await self._know({account})
        return await self.send(pausing.pause(account, reason))

    async def resume(self, account: str = "default") -> str:
        """End a person's pause of an account; where there is none, its hold."""
        await self._know({account})
        return await drive_async(pausing.resume(account), self.send)

    async def set_limits(
        self, values: Mapping[str, float | None], account: str = "default"
    ) -> AccountLimits:
        """Set limits live: they win over the workers' environments until they are reset."""
        call = limits.set_limits(account, values)
        await self._know({account})
        return await self.send(call)

    async def note(
        self, who: str, what: str, target: str = "", detail: str = "", *, account: str = "default"
    ) -> str:
        """Note what somebody did to an account, and return the note's id; see `AuditNote`."""
        return await self.send(audit.note(account, who, what, target, detail))

    async def audit(
        self, account: str = "default", *, before: str = "", limit: int = 50
    ) -> list[AuditNote]:
        """Read what people did, the newest first."""
        await self._know({account})
        return await self.send(audit.notes(account, before, limit))

    async def workers(self, account: str = "default") -> list[Process]:
        """Read the worker processes of an account, 200 at most, the one last heard of first."""
        await self._know({account})
        return await self.send(live_processes.processes(account))

    async def longest_lines(
        self, account: str = "default", count: int = 20, *, groups: int = live_processes.ALL_GROUPS
    ) -> tuple[int, list[GroupLine]]:
        """Read how many groups have ready jobs or settings, and the longest of their lines."""
        await self._know({account})
        return await self.send(live_processes.longest_lines(account, count, groups))
