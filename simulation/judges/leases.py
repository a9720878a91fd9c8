"""Judges leases: who has none claims nothing and submits nothing, and its jobs are taken over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulation.fault_times import FaultTimes
from simulation.judges.ledger import InvariantLedger
from simulation.processes import SimulatedProcess

#: Seconds that a lease lasts; that its end, and the sweep which takes claims over, may add.
LEASE_SECONDS, TAKE_OVER_SECONDS = 15.0, 45.0


@dataclass(slots=True)
class _Lease:
    """A lease under one name.

    Args:
        process: whose it is.
        renewed: when it was renewed last, simulated seconds.
    """

    process: SimulatedProcess
    renewed: float


class LeaseJudge:
    """Judges leases.

    Args:
        ledger: receives what does not hold.
        times: when faults lasted.
    """

    def __init__(self, ledger: InvariantLedger, times: FaultTimes) -> None:
        self._ledger = ledger
        self._times = times
        self._leases: dict[str, _Lease] = {}
        self._reported: set[str] = set()
        #: The ids of the claims that were answered: one that is repeated takes nothing more.
        self._claims: set[str] = set()

    def note_reply(
        self, process: SimulatedProcess, script: str, arguments: Sequence[Any], reply: Any
    ) -> None:
        """Note a heartbeat, or judge that a claim is answered to a name with a lease only (I3)."""
        if script == "heartbeat" and reply != -1:
            self._leases[str(arguments[0])] = _Lease(process, self._ledger.clock())
        elif script == "claim" and reply[0] == b"ok" and len(reply) > 5:
            if arguments[1] in self._claims:
                return
            self._claims.add(arguments[1])
            lease = self._leases.get(str(arguments[0]))
            late = math.inf if lease is None else self._ledger.clock() - lease.renewed
            if late > LEASE_SECONDS + 1 and not self._is_clock_set():
                self._ledger.fail(f"leases: {arguments[0]} claims jobs {late:.1f} s after its last")

    def judge_submission(self, process: SimulatedProcess) -> None:
        """Judge that a process submits nothing after its lease has ended."""
        renewed = max(
            (one.renewed for one in self._leases.values() if one.process is process),
            default=-math.inf,
        )
        late = self._ledger.clock() - renewed
        if late > LEASE_SECONDS:
            self._ledger.fail(f"leases: {process.name} submits {late:.1f} s after its last lease")

    def judge_claims(self, claims: Mapping[int, str]) -> None:
        """Judge that the claims of a lost lease are taken over within a bound (I8).

        Args:
            claims: whose each claimed job is, by its number.
        """
        now = self._ledger.clock()
        for number, name in claims.items():
            lease = self._leases.get(name)
            if lease is None or name in self._reported or self._is_clock_set():
                continue
            if now > self._times.due(lease.renewed + LEASE_SECONDS, TAKE_OVER_SECONDS):
                self._reported.add(name)
                self._ledger.fail(
                    f"I8: job {number} is claimed by {name}, whose lease was renewed"
                    f" {now - lease.renewed:.0f} s ago"
                )

    def _is_clock_set(self) -> bool:
        return self._times.hindered(0.0, self._ledger.clock(), "redis's clock")
