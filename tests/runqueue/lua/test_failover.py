"""Another Redis server answers: the runs are listed before anything is submitted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from lab.valkeys import start_valkey
from lab.waiting import until
from runqueue.records.claim_items import ClaimAnswer, Taken
from runqueue.store import job_calls, worker_calls
from tests.runqueue.lua.clockwork import CLAIM_AGE, LEASE, SECOND, Clockwork


class Pair:
    """A primary, and a replica of it that has all of its data."""

    def __init__(self, primary: redis.Redis, replica: redis.Redis) -> None:
        self.primary, self.replica = primary, replica

    def copy(self) -> None:
        """Wait until the replica has what the primary has."""
        until(lambda: offset(self.replica) == offset(self.primary), 30, "the replica to follow")

    def cut(self) -> None:
        """Promote the replica: what is written to the primary from now on is not copied."""
        self.copy()
        self.replica.replicaof("NO", "ONE")


def offset(client: redis.Redis) -> tuple[str, int]:
    told = client.info("replication")
    is_up = told["role"] == "master" or told["master_link_status"] == "up"
    return (told["master_replid"] if is_up else "", told["master_repl_offset"])


def follow(replica: redis.Redis, primary: redis.Redis) -> None:
    """Make one server a replica of another, and wait until it has its data."""
    primary.config_set("repl-diskless-sync-delay", 0)
    replica.replicaof("127.0.0.1", primary.connection_pool.connection_kwargs["port"])
    until(lambda: offset(replica) == offset(primary), 30, "the replica to follow")


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    servers = [start_valkey(tmp_path_factory.mktemp(name)) for name in ("primary", "replica")]
    clients = [redis.Redis(port=server.port) for server in servers]
    try:
        follow(clients[1], clients[0])
        yield Pair(*clients)
    finally:
        for client, server in zip(clients, servers, strict=True):
            client.close()
            server.stop()


def a_working_account(client: redis.Redis, jobs: int) -> tuple[Clockwork, list[str]]:
    """Have two workers, w1 and w2, know an account that has ready jobs."""
    clock = Clockwork(client)
    for worker in ("w1", "w2"):
        clock.heartbeat(worker, first=True)
    clock.tick("w2")
    ids = clock.enqueue(jobs)
    return clock, ids


def recovery(clock: Clockwork) -> Taken[Any]:
    return clock.run(worker_calls.reconcile_claim(clock.account, "w2", 10, 0, LEASE))


def test_a_survivor_that_saw_no_later_claim_does_not_vouch_for_the_replica(pair: Pair) -> None:
    clock, jobs = a_working_account(pair.primary, 20)
    seen = len(clock.claimed(5, "w2"))
    clock.heartbeat("w2", seen)
    pair.cut()
    lost = clock.claimed(10, "w1")  # w1 submits these, and dies with the primary
    clock.client = pair.replica

    for _ in range(40):
        clock.wait(0.5)
        clock.heartbeat("w2", seen)
        clock.tick("w2")
        assert clock.claim(20, "w2").answer is ClaimAnswer.MOVED

    assert recovery(clock).recover_from_us
    assert [clock.found(job, 1, f"r-{job}") for job in lost] == [1] * len(lost)
    taken = recovery(clock)
    assert clock.run(
        worker_calls.recovered(clock.account, taken.recover_from_us, taken.recover_since_us)
    )
    assert [job.job_id for job in clock.claim(20, "w2").items] == jobs[15:]


def test_a_worker_whose_lease_was_not_copied_either_is_not_forgotten(pair: Pair) -> None:
    clock, _ = a_working_account(pair.primary, 3)
    pair.cut()
    clock.heartbeat("new", first=True)
    assert clock.claimed(2, "new")
    clock.client = pair.replica
    clock.wait(20)
    clock.heartbeat("w2", first=True)
    clock.tick("w2")
    assert clock.claim(20, "w2").answer is ClaimAnswer.MOVED
    assert recovery(clock).recover_from_us


def test_a_primary_that_was_a_replica_meanwhile_is_another_server(pair: Pair) -> None:
    clock, _ = a_working_account(pair.primary, 3)
    pair.cut()
    assert clock.claimed(2, "w1")  # on the old primary alone, which takes over the other's data
    follow(pair.primary, pair.replica)
    pair.primary.replicaof("NO", "ONE")

    clock.heartbeat("w2", 0)

    assert clock.claim(20, "w2").answer is ClaimAnswer.MOVED


def test_a_server_that_gets_its_first_replica_stays_the_server_that_it_was(
    clock: Clockwork, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (job,) = clock.enqueue(1)
    clock.heartbeat(first=True)
    clock.tick()
    before = offset(clock.client)[0]
    server = start_valkey(tmp_path_factory.mktemp("replica"))
    try:
        with redis.Redis(port=server.port) as replica:
            follow(replica, clock.client)
            assert offset(clock.client)[0] != before, "it has a new replication id"
            assert clock.claimed() == [job]
    finally:
        server.stop()


def test_a_backup_that_was_put_back_by_replication_long_ago_is_another_server(
    clock: Clockwork, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clock.heartbeat(first=True)
    clock.tick()
    clock.enqueue(1)
    server = start_valkey(tmp_path_factory.mktemp("backup"))
    try:
        with redis.Redis(port=server.port) as backup:
            follow(backup, clock.client)
            backup.replicaof("NO", "ONE")
            assert clock.claimed()
            clock.client.config_set("repl-backlog-ttl", 1)
            follow(clock.client, backup)
            clock.client.replicaof("NO", "ONE")
        until(lambda: has_no_second_id(clock.client), 30, "the second id to expire")
    finally:
        server.stop()
        clock.client.config_set("repl-backlog-ttl", 3600)
    clock.wait(61)

    clock.heartbeat("p2", first=True)

    assert clock.claim(process="p2").answer is ClaimAnswer.MOVED
    assert recovery(clock).recover_from_us < clock.now - 60 * SECOND


def has_no_second_id(client: redis.Redis) -> bool:
    return not str(client.info("replication")["master_replid2"]).strip("0")


def test_a_change_that_a_tick_does_not_notice_first_is_counted_from_the_last_tick_before(
    clock: Clockwork,
) -> None:
    clock.heartbeat(first=True)
    clock.enqueue(1)
    clock.tick()
    ticked = clock.now
    clock.another_server()
    clock.wait(60)
    notice: list[Callable[[], object]] = [
        lambda: clock.heartbeat(first=True),
        clock.claim,
        clock.tick,
        clock.tick,
    ]
    for look in notice:
        look()
    assert ticked - 10 * SECOND < recovery_of(clock).recover_from_us < ticked


def recovery_of(clock: Clockwork) -> Taken[Any]:
    return clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))


def test_a_second_change_of_server_waits_again_for_what_may_be_on_its_way(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.heartbeat(first=True)
    clock.tick()
    clock.another_server()
    clock.tick()
    first = recovery_of(clock)
    clock.wait(80)
    clock.heartbeat(first=True)
    clock.another_server()
    done = worker_calls.recovered(clock.account, first.recover_from_us, first.recover_since_us)
    assert not clock.run(done), "another server answers than the one whose runs were listed"
    clock.tick()
    second = recovery_of(clock)
    assert second.recover_from_us == first.recover_from_us
    assert second.recover_since_us == clock.now
    assert not clock.run(done)
    assert clock.claim().answer is ClaimAnswer.MOVED
    assert clock.state(job) == "ready"


def test_a_recovery_that_lasts_too_long_calls_a_person_and_goes_on(clock: Clockwork) -> None:
    clock.heartbeat(first=True)
    clock.tick()
    clock.another_server()
    clock.tick()
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.hold_kind, stats.waits_for_a_person) == ("redis", False)
    for _ in range(12):
        clock.wait(60)
        clock.heartbeat(first=True)
        clock.tick()
        assert clock.run(job_calls.stats(clock.account)).hold_reason
    stats = clock.run(job_calls.stats(clock.account))
    assert (stats.hold_kind, stats.waits_for_a_person) == ("person", True)
    taken = recovery_of(clock)
    assert clock.run(
        worker_calls.recovered(clock.account, taken.recover_from_us, taken.recover_since_us)
    )
    assert clock.run(job_calls.stats(clock.account)).hold_reason is None


def test_a_recovery_that_began_while_the_clock_was_ahead_does_not_wait_for_that_time(
    clock: Clockwork,
) -> None:
    clock.heartbeat(first=True)
    clock.tick()
    clock.another_server()
    clock.wait(3_600)
    clock.claim()
    clock.wait(-3_600)
    clock.tick()
    assert recovery_of(clock).recover_since_us == clock.now
    assert clock.run(job_calls.stats(clock.account)).hold_seconds < 100


def test_a_goodbye_that_an_older_copy_knows_does_not_make_it_the_latest(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    try:
        with redis.Redis(port=server.port) as client:
            clock = Clockwork(client)
            clock.enqueue(3)
            assert clock.claimed(0) == []
            clock.tick()
            clock.run(worker_calls.bye(clock.account, "p1"))
            client.save()
            clock.wait(60)
            clock.heartbeat("p2", first=True)
            assert len(clock.claimed(2, "p2")) == 2
            client.config_set("save", "")
            client.shutdown(nosave=True)
    except redis.ConnectionError:
        pass
    server.kill()
    server = start_valkey(tmp_path)
    try:
        with redis.Redis(port=server.port) as client:
            clock.client = client
            clock.wait(60)
            clock.heartbeat("p3", -1, first=True)
            clock.tick("p3")
            assert clock.claim(10, "p3").answer is ClaimAnswer.MOVED
    finally:
        server.stop()


@pytest.mark.parametrize("end", ["dies", "stops", "lives"])
@pytest.mark.parametrize("swept", [True, False])
def test_a_recovery_is_told_whether_a_process_died_with_claims_that_may_be_lost(
    clock: Clockwork, end: str, *, swept: bool
) -> None:
    for process in ("p1", "p2"):
        clock.run(worker_calls.heartbeat(clock.account, process, LEASE, -1, 0, first=True))
    clock.tick()
    clock.another_server()
    clock.run(worker_calls.heartbeat(clock.account, "p2", LEASE, 0, 0, first=False))
    if end == "stops":
        clock.run(worker_calls.bye(clock.account, "p1"))
    clock.wait(LEASE / SECOND - 1)
    for process in ("p2",) if end != "lives" else ("p1", "p2"):
        clock.run(worker_calls.heartbeat(clock.account, process, LEASE, 0, 0, first=False))
    clock.wait(2)
    if swept:
        clock.sweep("expire_leases", CLAIM_AGE)

    taken = clock.run(worker_calls.reconcile_claim(clock.account, "p2", 10, 0, LEASE))

    assert taken.recover_from_us
    assert taken.has_deaths == (end == "dies")


def test_a_server_that_knows_of_no_time_before_cannot_say_that_no_process_died(
    clock: Clockwork,
) -> None:
    clock.run(worker_calls.heartbeat(clock.account, "p1", LEASE, 7, 0, first=False))
    clock.run(worker_calls.heartbeat(clock.account, "p1", LEASE, 7, 0, first=True))

    taken = clock.run(worker_calls.reconcile_claim(clock.account, "p1", 10, 0, LEASE))

    assert taken.recover_from_us
    assert taken.has_deaths
