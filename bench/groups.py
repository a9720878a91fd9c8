"""What scripts cost by the number of groups: the slowest of each by SLOWLOG, and its commands."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import redis

from bench.intake import lines
from bench.stack import usual_allocator
from lab.valkeys import start_valkey
from runqueue import ids
from runqueue.producer.chunks import packets
from runqueue.records.claim_items import Claimed, GivenBack
from runqueue.store import groups, job_calls, operator_calls, sending, worker_calls
from runqueue.store import job_calls as calls
from runqueue.store.scripts import ScriptCall

ACCOUNT: Final = "default"
_DAY_US, _LEASE_US = 86_400_000_000, 15_000_000
#: As the worker's sweep takes them.
_A_STEP: Final = 100


@dataclass(slots=True)
class Cost:
    """What the calls of one kind cost at most.

    Args:
        calls: how many there were; the first thousand and every twentieth after them are looked at.
        worst_ms: the slowest of them by SLOWLOG, in milliseconds; what else the machine did counts.
        cpu_ms: the most of the server's CPU time that one of them took, in milliseconds.
        each_cpu_ms: what each that was looked at took.
        commands: the most that one of them ran.
    """

    calls: int = 0
    worst_ms: float = 0.0
    cpu_ms: float = 0.0
    each_cpu_ms: list[float] = field(default_factory=list)
    commands: int = 0

    @property
    def high_cpu_ms(self) -> float:
        """The 99th percentile of the CPU time, in milliseconds."""
        return sorted(self.each_cpu_ms)[len(self.each_cpu_ms) * 99 // 100]


def measure(count: int) -> dict[str, Cost]:
    """Seal, pause, resume, claim, list and remove a batch with one job in each of `count` groups.

    Args:
        count: groups.
    """
    with started_server() as client:
        seen = MeasuredCalls(client)
        batch = ids.new_id(ACCOUNT)
        seen.run("open", calls.open_batch(ACCOUNT, batch, "one job a group"))
        for start in range(0, count, 1_000):
            _enqueue(seen, batch, start, min(1_000, count - start))
        seen.run("heartbeat", worker_calls.heartbeat(ACCOUNT, "p1", _LEASE_US, 0, 0, first=True))
        seen.run("seal", calls.seal_batch(ACCOUNT, batch))
        _claim(seen, "claim after sealing", count // 10)
        _step(seen, "list its lanes", "step_lanes")
        seen.run("pause", job_calls.hold_batch(ACCOUNT, batch, "pause"))
        _claim(seen, "claim over held lanes", count)
        seen.run("resume", job_calls.hold_batch(ACCOUNT, batch, "resume", "paused"))
        _step(seen, "list its lanes", "step_lanes")
        _list(seen)
        for number in range(count):
            pause = groups.set_group(ACCOUNT, f"group-{number}", paused=True)
            seen.run("pause a group", pause, measured=number < 1_000)
        _claim(seen, "claim over paused groups", count)
        _list(seen)
        seen.run("stats", calls.stats(ACCOUNT))
        seen.run("cancel", operator_calls.cancel_batch(ACCOUNT, batch))
        _step(seen, "sweep canceled jobs", "sweep_canceled")
        _step(seen, "remove its lanes", "step_lanes")
        seen.now += 8 * _DAY_US
        seen.run("heartbeat", worker_calls.heartbeat(ACCOUNT, "p1", _LEASE_US, 0, 0, first=True))
        _step(seen, "retire", "retire")
        return seen.costs


class MeasuredCalls:
    """Runs calls and keeps what each kind costs at most."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.costs: dict[str, Cost] = {}
        self.now = int(time.time() * 1e6)
        client.config_set("slowlog-log-slower-than", 0)
        # Rewriting the file makes every page that is written after it dearer.
        client.config_set("auto-aof-rewrite-percentage", 0)
        sending.load_library(client, "{}")  # once a server's life, and no cost of a call
        about = cast("dict[str, int]", client.info("server"))
        self._cpu = Path(f"/proc/{about['process_id']}/schedstat")

    def run(self, what: str, call: ScriptCall[Any], *, measured: bool = True) -> Any:
        """Run a call at the clock's time; returns its reply."""
        cost = self.costs.setdefault(what, Cost())
        cost.calls += 1
        if not measured or (cost.calls > 1_000 and cost.calls % 20):
            return sending.run(self.client, call, now_us=self.now)
        self.client.config_resetstat()
        self.client.slowlog_reset()
        before = self._cpu_ms()
        reply = sending.run(self.client, call, now_us=self.now)
        cpu_ms = self._cpu_ms() - before
        slow = self.client.slowlog_get(10)
        stats = cast("dict[str, dict[str, int]]", self.client.info("commandstats"))
        ours = ("config|resetstat", "slowlog|reset", "slowlog|get", "fcall", "info")
        took = [row["duration"] for row in slow if row["command"].startswith(b"FCALL")]
        cost.worst_ms = max(cost.worst_ms, max(took) / 1000)
        cost.cpu_ms = max(cost.cpu_ms, cpu_ms)
        cost.each_cpu_ms.append(cpu_ms)
        commands = [n["calls"] for name, n in stats.items() if not name.endswith(ours)]
        cost.commands = max(cost.commands, sum(commands))
        return reply

    def _cpu_ms(self) -> float:
        """The CPU time of the thread that runs commands, so far, in milliseconds."""
        return int(self._cpu.read_text().split()[0]) / 1e6


def _enqueue(seen: MeasuredCalls, batch: str, first: int, count: int) -> None:
    jobs = lines(count)
    for number, line in enumerate(jobs, first):
        line.update(custom_id=f"row-{number}", group=f"group-{number}")
    for packet in packets(jobs):
        seen.run("enqueue", packet.call(batch))


def _claim(seen: MeasuredCalls, what: str, most: int) -> None:
    """Claim a hundred at a time, as a worker would, until so many were taken or nothing is left."""
    taken: list[Claimed] = []
    number = 0
    while len(taken) < most:
        number += 1
        claimed = seen.run(what, worker_calls.claim(ACCOUNT, "p1", f"{what} {number}", 100, 0))
        taken += claimed.items
        if claimed.consumer_left:
            break
    for start in range(0, len(taken), 100):
        back = [GivenBack(item.job_id, item.attempt) for item in taken[start : start + 100]]
        seen.run("give back", worker_calls.give_back(ACCOUNT, back, "void"))


def _list(seen: MeasuredCalls) -> None:
    names = seen.run("names of groups", groups.group_names(ACCOUNT))
    seen.run("list of groups", groups.read_groups(ACCOUNT, names[: groups.A_CALL]))


def _step(seen: MeasuredCalls, what: str, script: str, *arguments: int) -> None:
    """Run a script of the sweep until there is nothing more to do."""
    while seen.run(what, worker_calls.sweep(ACCOUNT, script, *arguments, _A_STEP)) >= _A_STEP:
        pass


@contextmanager
def started_server() -> Iterator[redis.Redis]:
    """Start a server as the embedded one is, with an append-only file; yields a client of it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = start_valkey(Path(folder), aof=True, environ=usual_allocator()[1])
        stack.callback(server.stop)
        with redis.Redis(port=server.port, socket_timeout=120) as client:
            yield client
