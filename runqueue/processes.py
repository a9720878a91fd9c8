"""The worker processes that serve an account, by their leases, and the call that reads them."""

from dataclasses import dataclass
from typing import Any

from runqueue.scripts import Call, load

#: Processes read in one call, at most.
MOST = 1000


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process whose lease holds.

    Args:
        name: host, process id, and chance.
        account: which account it serves under this name.
        lease_seconds: until its lease ends, if it is not heard of again; a heartbeat comes every
            five seconds and renews it to fifteen.
        submitting: submissions that it has under way.
    """

    name: str
    account: str
    lease_seconds: float
    submitting: int

    def as_dict(self) -> dict[str, Any]:
        """Return the process as JSON values."""
        return {
            "process": self.name,
            "account": self.account,
            "lease_seconds": round(self.lease_seconds, 3),
            "submitting": self.submitting,
        }


def list_processes(account: str, most: int = MOST) -> Call[list[Process]]:
    """Read the processes whose lease holds, the youngest lease first."""

    def parse(reply: list[Any]) -> list[Process]:
        now, rows = int(reply[0]), reply[1:]
        return [
            Process(
                name=rows[i].decode(),
                account=account,
                lease_seconds=(float(rows[i + 1]) - now) / 1e6,
                submitting=int(rows[i + 2]),
            )
            for i in range(0, len(rows), 3)
        ]

    return Call(load("list_processes"), account, [most], parse)
