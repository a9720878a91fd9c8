"""The judge of leases."""

from random import Random

import pytest

from simulation.fault_times import FaultTimes
from simulation.judges.leases import LEASE_SECONDS, TAKE_OVER_SECONDS, LeaseJudge
from simulation.judges.ledger import InvariantLedger
from simulation.processes import SimulatedProcess
from simulation.virtual.loop import VirtualLoop


class World:
    """A worker has renewed its lease at 0 s."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ledger = InvariantLedger(lambda: self.now, lambda: 9.0, 600.0, lambda: 0.0)
        self.leases = LeaseJudge(self.ledger, FaultTimes(lambda: self.now))
        loop = VirtualLoop()
        self.process = SimulatedProcess("worker0", loop, Random(0))
        loop.close()
        self.leases.note_reply(self.process, "heartbeat", ["name"], 3)


@pytest.fixture
def world() -> World:
    return World()


def test_a_process_whose_lease_has_ended_submits_nothing(world: World) -> None:
    world.now = LEASE_SECONDS
    world.leases.judge_submission(world.process)
    assert not world.ledger.violations
    world.now += 1
    world.leases.judge_submission(world.process)
    assert "submits 16.0 s after its last lease" in world.ledger.violations[0]


def test_a_heartbeat_that_is_refused_renews_nothing(world: World) -> None:
    world.now = LEASE_SECONDS + 5
    world.leases.note_reply(world.process, "heartbeat", ["name"], -1)
    world.leases.judge_submission(world.process)
    assert len(world.ledger.violations) == 1


def test_jobs_are_claimed_with_a_lease_only(world: World) -> None:
    reply = [b"ok", b"1", b"0", b"", 0, b"job", b"1", b"{}"]
    world.leases.note_reply(world.process, "claim", ["name", "claim"], reply)
    assert not world.ledger.violations
    world.now = LEASE_SECONDS + 2
    world.leases.note_reply(world.process, "claim", ["name", "another"], reply[:5])
    # A claim that is repeated takes nothing more.
    world.leases.note_reply(world.process, "claim", ["name", "claim"], reply)
    assert not world.ledger.violations
    world.leases.note_reply(world.process, "claim", ["name", "another"], reply)
    assert "claims jobs" in world.ledger.violations[0]


def test_the_claims_of_a_lost_lease_are_taken_over_within_a_bound(world: World) -> None:
    world.now = LEASE_SECONDS + TAKE_OVER_SECONDS
    world.leases.judge_claims({7: "name"})
    assert not world.ledger.violations
    world.now += 1
    world.leases.judge_claims({7: "name"})
    assert "job 7 is claimed by name" in world.ledger.violations[0]
