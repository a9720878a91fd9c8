"""Redis killed, full, cut off, and replaced, also by one that knows less."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from faults.lab import Lab
from faults.registry import experiment
from lab.valkeys import start_valkey
from runqueue import QueueFull, RunQueue

_RUNS = ("--duration", "2", "--duration-spread", "0.5")
_PACED = {"RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "20", "RUNQUEUE_MAX_BURST_SIZE": "5"}
#: Seconds after a fault within which work goes on where the same Redis server answers; and where
#: another one does: what may still be on its way is waited for, and then the runs are listed.
AGAIN, RECOVERED = 10.0, 120.0


def _at_work(lab: Lab, jobs: int) -> None:
    """Have two workers at work, some runs over and more to come."""
    for _ in range(2):
        lab.worker().start()
    lab.submit(jobs)
    lab.until_state("completed", jobs // 10 or 1)


@experiment(
    "Redis kill -9",
    "in mid-write, away for 3 s; its file is written once a second",
    jobs=200,
    simulator=_RUNS,
    settings=_PACED,
)
def kill(lab: Lab, jobs: int) -> None:
    """What was acknowledged in its last second may be gone; the process' death alone loses none."""
    _at_work(lab, jobs)
    lab.valkey.kill()
    time.sleep(3)
    lab.valkey.start()
    lab.mend()
    lab.goes_on(RECOVERED)
    lab.settle()


@experiment(
    "Redis out of memory",
    "it may not grow any more for 15 s while runs are under way",
    jobs=200,
    simulator=_RUNS,
    settings=_PACED,
)
def out_of_memory(lab: Lab, jobs: int) -> None:
    """Enqueuing is refused whole, runs under way are finished and recorded."""
    _at_work(lab, jobs)
    with lab.valkey.client() as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 1_000_000)
        running = lab.count("running", "submitting")
        done = lab.count("completed")
        refused = 0
        for number in range(20):
            try:
                lab.submit(1, prefix=f"full-{number}")
            except QueueFull:
                refused += 1
        lab.until(lambda: lab.count("completed") >= done + running, 30, "what runs to finish")
        lab.note(f"{refused} of 20 refused, {running} under way finished")
        lab.expect(refused == 20, f"only {refused} of 20 were refused")
        time.sleep(5)
        client.config_set("maxmemory", 0)
    lab.mend()
    lab.goes_on(AGAIN)
    lab.settle()


@contextmanager
def _no_snapshots(lab: Lab) -> Iterator[None]:
    """Have snapshots fail: a folder stands where the file is to go."""
    blocked = lab.valkey.folder / "dump.rdb"
    blocked.mkdir()
    with lab.valkey.client() as client:
        client.config_set("save", "3600 1")
        client.bgsave()
        try:
            lab.until(
                lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
                20,
                "the snapshot to fail",
            )
            yield
        finally:
            client.config_set("save", "")
            blocked.rmdir()


@experiment(
    "Redis with a full disk",
    "it refuses every write (MISCONF) for 6 s while answers come in",
    jobs=100,
    simulator=("--no-list", *_RUNS),
)
def disk_full(lab: Lab, jobs: int) -> None:
    """What a worker knows waits until it can be written; nothing is unconfirmed, no worker ends."""
    workers = [lab.worker().start() for _ in range(2)]
    lab.simulator.faults({"match": {"method": "POST"}, "action": {"answer_latency": 3}})
    lab.submit(jobs // 2, on_unconfirmed="resubmit")
    lab.submit(jobs - jobs // 2, prefix="later")
    lab.until(lambda: lab.count("submitting") > 0, 30, "claims")
    with _no_snapshots(lab):
        delayed = sum(worker.words("record_delayed") for worker in workers)
        lab.until(
            lambda: sum(worker.words("record_delayed") for worker in workers) > delayed,
            30,
            "a record to be refused",
        )
        time.sleep(6)
    lab.simulator.no_faults()
    lab.mend()
    lab.submit(1, prefix="after")
    lab.goes_on(AGAIN)
    lab.settle()
    refusals = [
        word for word in ("record_refused", "record_lost") if sum(w.words(word) for w in workers)
    ]
    lab.expect(not refusals, f"run ids were thrown away: {refusals}")
    lab.expect(sum(w.words("MISCONF") for w in workers) > 0, "nobody met the full disk")
    died = [w.name for w in workers if w.process is None or w.process.poll() is not None]
    lab.expect(not died, f"{died} died of it")
    lab.expect(
        not lab.unconfirmed.seen, f"{len(lab.unconfirmed.seen)} submissions were unconfirmed"
    )


@experiment(
    "planned switchover behind one address",
    "the replica becomes the primary, and the old primary its replica: both stay up",
    jobs=200,
    simulator=_RUNS,
    settings=_PACED,
)
def switchover(lab: Lab, jobs: int) -> None:
    """Producers and workers leave the old primary with the first write that it refuses."""
    address = lab.network.proxy("127.0.0.1", lab.valkey.port)
    lab.queue.close()
    lab.queue = RunQueue(f"redis://127.0.0.1:{address.port}/0")
    old, new = lab.valkey, start_valkey(lab.folder / "second", aof=True)
    lab.servers.append(new)
    with old.client() as primary, new.client() as replica:
        new.follow(old)
        _at_work(lab, jobs)
        # As `CLUSTER FAILOVER` or an operator does it: writes stop until the replica has them all.
        primary.client_pause(5000, all=False)
        lab.until(lambda: _offset(primary) == _offset(replica), 5, "the replica to have all")
        replica.replicaof("NO", "ONE")
        for proxy in (address, *(worker.redis for worker in lab.workers)):
            proxy.target = ("127.0.0.1", new.port)
        primary.replicaof("127.0.0.1", new.port)
        primary.client_unpause()
        switched = time.monotonic()
        lab.valkey = new
        lab.mend()
        lab.submit(10, prefix="after")
        lab.goes_on(RECOVERED)
        lab.settle()
        # One that was idle since then leaves with its next write.
        seconds = time.monotonic() - switched - 1
        peers = primary.client_list(_type="normal")
        left = [peer for peer in peers if _is_writer(peer) and int(peer["idle"]) < seconds]
    lab.expect(not left, f"{len(left)} connections still write to the old primary")


def _offset(server: redis.Redis) -> int:
    return int(server.info("replication")["master_repl_offset"])


def _is_writer(peer: dict[str, Any]) -> bool:
    return peer["cmd"] in {"fcall", "brpop", "blpop", "lpush"}


@experiment(
    "partition of 60 s, both ways, one of two workers",
    "the other goes on meanwhile",
    jobs=600,
    simulator=_RUNS,
    settings=_PACED,
)
def partition_one(lab: Lab, jobs: int) -> None:
    """The claims of the one that is cut off are taken over; its run ids are adopted later."""
    # Answers that take a while, so that claims are under way when it is cut off.
    lab.simulator.faults({"match": {"method": "POST"}, "action": {"answer_latency": 0.5}})
    _at_work(lab, jobs)
    lab.workers[0].redis.hold()
    before = lab.simulator.summary()["submissions"]
    time.sleep(60)
    went_on = lab.simulator.summary()["submissions"] - before
    lab.note(f"{went_on} submissions meanwhile")
    lab.expect(went_on > 0, "nobody went on meanwhile")
    lab.note(f"{len(lab.unconfirmed.seen)} claims taken over")
    lab.expect(bool(lab.unconfirmed.seen), "it had no claims that had to be taken over")
    lab.workers[0].redis.heal()
    lab.settle()


@experiment(
    "failover to a replica, a worker dies with the primary",
    "the last claims were not copied, and who made them is gone; the other worker saw fewer",
    jobs=120,
    simulator=("--duration", "3"),
    settings={**_PACED, "RUNQUEUE_MAX_CONCURRENT_RUNS": "100"},
)
def failover_replica(lab: Lab, jobs: int) -> None:
    """Nobody remembers the claims: the runs are listed before anything is submitted."""
    lost, survivor = lab.worker().start(), lab.worker().start()
    replica = start_valkey(lab.folder / "replica", aof=True)
    try:
        replica.follow(lab.valkey)
        lab.submit(jobs, kinds=("titled", "hooked"))
        lab.until(lambda: lab.simulator.summary()["runs"] >= jobs // 4, 60, "the first runs")
        survivor.signal(signal.SIGSTOP)
        replica.promote()
        before = lab.simulator.summary()["runs"]
        lab.until(lambda: lab.simulator.summary()["runs"] >= before + 10, 30, "lost claims")
        lost.kill()
        lab.valkey.kill()
        lab.valkey.succeed(replica)
    finally:
        replica.kill()
    survivor.signal(signal.SIGCONT)
    lab.mend()
    lab.note(f"{lab.simulator.summary()['runs'] - before} runs of claims that were not copied")
    lab.goes_on(RECOVERED)
    lab.settle(240)


@experiment(
    "failover to a file from before the claims, every worker killed",
    "nobody is left who remembers the last claims",
    jobs=120,
    simulator=("--duration", "3"),
    settings={**_PACED, "RUNQUEUE_MAX_CONCURRENT_RUNS": "100"},
)
def failover_forgotten(lab: Lab, jobs: int) -> None:
    """Nothing is submitted by guess: the account is held until the last runs were gone through."""
    first = lab.worker()
    lab.worker().start()
    first.start()
    lab.submit(jobs // 4 or 1, prefix="before", kinds=("titled", "hooked"))
    lab.until(lambda: lab.simulator.summary()["runs"] >= jobs // 4, 60, "the first runs")
    lab.submit(jobs - jobs // 4, kinds=("titled", "hooked"), delay=2)
    time.sleep(1.2)  # the file is written once a second
    copy = lab.valkey.copy("older")
    lab.until(lambda: lab.simulator.summary()["runs"] >= jobs // 2, 60, "half of the runs")
    lab.valkey.kill()
    for worker in lab.workers:
        worker.kill()
    lab.valkey.restore(Path(copy))
    lab.valkey.start()
    lab.mend()
    made = lab.simulator.summary()["runs"]
    lab.note(f"{made - jobs // 4} claims lost")
    lab.worker().start()
    time.sleep(20)
    _held(lab, made)
    lab.goes_on(RECOVERED)
    lab.settle(240)


def _held(lab: Lab, made: int) -> None:
    """Expect that submissions are held, and that there was none after those that were made."""
    stats = lab.stats()
    lab.expect(lab.simulator.summary()["runs"] == made, "it submitted by guess")
    lab.expect(bool(stats and stats.hold_reason), "the account is not held")
    lab.note(f"held: {stats.hold_reason if stats else ''}")


@experiment(
    "an older copy restored under the embedded server",
    "copied while a worker ran; all is stopped in good order, and the copy is put in its place",
    jobs=120,
    simulator=("--duration", "3"),
    settings={**_PACED, "RUNQUEUE_MAX_CONCURRENT_RUNS": "100"},
)
def embedded_restored(lab: Lab, jobs: int) -> None:
    """The copy is consistent in itself, and not the latest: the runs are listed first."""
    lab.valkey.stop()
    try:
        lab.valkey.start_embedded()
        first = lab.worker().start()
        lab.submit(jobs, kinds=("titled", "hooked"))
        lab.until(lambda: lab.simulator.summary()["runs"] >= jobs // 4, 60, "the first runs")
        copied = lab.simulator.summary()["runs"]
        copy = lab.valkey.copy("older")
        lab.until(lambda: lab.simulator.summary()["runs"] >= jobs // 2, 60, "half of the runs")
        first.stop()
        lab.valkey.stop()
        lab.valkey.restore(copy)
        lab.valkey.start_embedded()
        lab.note(f"{lab.simulator.summary()['runs'] - copied} runs since the copy")
        lab.worker().start()
        lab.mend()
        lab.goes_on(RECOVERED)
        lab.settle(240)
    finally:
        lab.valkey.stop()
        lab.valkey.start()
