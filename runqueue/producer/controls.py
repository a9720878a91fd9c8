"""What `RunQueue` does with whole accounts: pausing, limits, and what people did (audit).

`async_controls.py` has its twin.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from runqueue.producer import pausing
from runqueue.producer.flows import drive
from runqueue.store import audit, limits, live_processes
from runqueue.store.audit import AuditNote
from runqueue.store.limits import AccountLimits
from runqueue.store.live_processes import GroupLine, Process
from runqueue.store.scripts import ScriptCall, T


class Controls(ABC):
    """The part of `RunQueue` that is about whole accounts."""

    @abstractmethod
    def send(self, call: ScriptCall[T]) -> T:
        """Run one script."""

    @abstractmethod
    def _know(self, accounts: set[str]) -> None: ...

    def pause(self, account: str = "default", reason: str = "") -> bool:
        """Submit nothing more of an account until it is resumed; runs under way go on.

        Args:
            account: which.
            reason: shown to all who look.

        Returns:
            Whether it was not paused before.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        self._know({account})
        return self.send(pausing.pause(account, reason))

    def resume(self, account: str = "default") -> str:
        """End a person's pause of an account; where there is none, its hold.

        Who ends a hold has looked at what it was for, and says that submissions may go on.

        Returns:
            The reason of what was ended, '' if there was nothing.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        self._know({account})
        return drive(pausing.resume(account), self.send)

    def set_limits(
        self, values: Mapping[str, float | None], account: str = "default"
    ) -> AccountLimits:
        """Set limits live: they win over the workers' environments until they are reset.

        Args:
            values: by name (`concurrent_runs`, …), 0 = none, None = reset to the environment's;
                those that are not named stay. Empty: only reads them.
            account: whose.

        Raises:
            UnknownAccount: no worker ever served this account.
            InvalidLimits: a name or a value is none; nothing was changed.
        """
        call = limits.set_limits(account, values)
        self._know({account})
        return self.send(call)

    def note(
        self, who: str, what: str, target: str = "", detail: str = "", *, account: str = "default"
    ) -> str:
        """Note what somebody did to an account, and return the note's id; see `AuditNote`."""
        return self.send(audit.note(account, who, what, target, detail))

    def audit(
        self, account: str = "default", *, before: str = "", limit: int = 50
    ) -> list[AuditNote]:
        """Read what people did, the newest first.

        Args:
            account: to which account.
            before: the id of the last note of the page before; '' = the first page.
            limit: how many.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        self._know({account})
        return self.send(audit.notes(account, before, limit))

    def workers(self, account: str = "default") -> list[Process]:
        """Read the worker processes of an account, 200 at most, the one last heard of first.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        self._know({account})
        return self.send(live_processes.processes(account))

    def longest_lines(
        self, account: str = "default", count: int = 20, *, groups: int = live_processes.ALL_GROUPS
    ) -> tuple[int, list[GroupLine]]:
        """Read how many groups have ready jobs or settings, and the longest of their lines.

        Args:
            account: whose.
            count: lines, at most.
            groups: groups that are looked at, at most.

        Raises:
            UnknownAccount: no worker ever served this account.
        """
        self._know({account})
        return self.send(live_processes.longest_lines(account, count, groups))
