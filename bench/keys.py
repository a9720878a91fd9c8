"""What keys cost: claims of a million jobs that name keys, against jobs that name none."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bench.groups import ACCOUNT, MeasuredCalls, started_server
from runqueue.producer.chunks import packets
from runqueue.records.claim_items import Claimed, Finished, RunAccepted
from runqueue.store import key_limits, worker_calls
from runqueue.store.key_limits import KeyLimit

#: Jobs that wait, keys of each first segment, and jobs that are claimed.
JOBS, KEYS, CLAIMED = 1_000_000, 100_000, 20_000
_LEASE_US: Final = 3_600_000_000
_A_CLAIM: Final = 100
#: Keys that follow from a request, beside the four that a job may name: its site, browser session
#: and profile.
OF_REQUEST: Final = "hsp"
_IMPLIED: Final = {"h": "host", "s": "session", "p": "profile"}
#: What is compared: the keys that a job names, by first segment, whether they are limited to one at
#: a time, and how many jobs in a row name the same.
CASES: Final = {
    "no key": ("", False, 1),
    "one key": ("a", False, 1),
    "one key with a limit": ("a", True, 1),
    "one key with a limit, ten jobs in a row": ("a", True, 10),
    "four keys with limits": ("abcd", True, 1),
    "four keys with limits, ten jobs in a row": ("abcd", True, 10),
    "seven keys with limits": ("abcd" + OF_REQUEST, True, 1),
    "seven keys with limits, ten jobs in a row": ("abcd" + OF_REQUEST, True, 10),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis did for jobs of one kind.

    Args:
        claim_us, end_us: its CPU time a job: of claims, and of the runs' begins and ends together,
            in microseconds.
        commands: the most that one claim ran.
        high_ms, worst_ms: its CPU time a script: the 99th percentile of the dearest kind, and the
            most; in milliseconds.
    """

    claim_us: float
    end_us: float
    commands: int
    high_ms: float
    worst_ms: float


def measure(jobs: int = JOBS, keys: int = KEYS, claimed: int = CLAIMED) -> dict[str, Seen]:
    """Claim jobs, and end their runs, of each of `CASES` in a server of its own.

    Args:
        jobs: how many wait.
        keys: of each first segment.
        claimed: how many are claimed.
    """
    return {what: _measure(case, jobs, keys, claimed) for what, case in CASES.items()}


def _measure(case: tuple[str, bool, int], jobs: int, keys: int, claimed: int) -> Seen:
    segments, limited, in_row = case
    with started_server() as client:
        seen = MeasuredCalls(client)
        for segment in segments if limited else "":
            pattern = f"{_IMPLIED.get(segment, segment)}:*"
            seen.run("set a limit", key_limits.set_limit(ACCOUNT, pattern, KeyLimit(1)))
        for packet in packets(_lines(segments, in_row, jobs, keys)):
            seen.run("enqueue", packet.call(None), measured=False)
        seen.run("heartbeat", worker_calls.heartbeat(ACCOUNT, "p1", _LEASE_US, 0, 0, first=True))
        taken = 0
        while taken < claimed:
            seen.now += 10_000
            call = worker_calls.claim(ACCOUNT, "p1", str(seen.now), _A_CLAIM, 0)
            items = seen.run("claim", call).items
            taken += len(items)
            _end(seen, items)
        costs = seen.costs
        return Seen(
            sum(costs["claim"].each_cpu_ms) / taken * 1000,
            sum(costs["begin"].each_cpu_ms + costs["end"].each_cpu_ms) / taken * 1000,
            costs["claim"].commands,
            max(cost.high_cpu_ms for cost in costs.values() if cost.each_cpu_ms),
            max(cost.cpu_ms for cost in costs.values()),
        )


def _lines(segments: str, in_row: int, jobs: int, keys: int) -> Iterator[dict[str, Any]]:
    for number in range(jobs):
        body: dict[str, Any] = {"workflow_id": "wpid_1", "parameters": {"number": number}}
        line: dict[str, Any] = {"custom_id": f"row-{number}", "kind": "workflow", "body": body}
        # Keys that meet in one job meet in others in other ways.
        numbers = [number // in_row * (1 + 2 * at) % keys for at in range(len(segments))]
        if segments.endswith(OF_REQUEST):
            host, session, profile = numbers[-len(OF_REQUEST) :]
            line["kind"] = "task"
            line["body"] = {
                "prompt": f"row-{number}",
                "url": f"https://s{host}.example",
                "browser_session_id": f"pbs_{session}",
                "browser_profile_id": f"bp_{profile}",
                "engine": "skyvern-2.0",
            }
        if segments:
            named = zip(segments.removesuffix(OF_REQUEST), numbers, strict=False)
            line["keys"] = [f"{segment}:{n}" for segment, n in named]
        yield line


def _end(seen: MeasuredCalls, items: list[Claimed]) -> None:
    runs = [
        RunAccepted(item.job_id, item.attempt, f"r{item.job_id}", "created", 1_000_000)
        for item in items
    ]
    seen.run("begin", worker_calls.mark_running(ACCOUNT, runs))
    ends = [
        Finished(run.job_id, run.attempt, run.run_id, "completed", "completed", "", b"{}")
        for run in runs
    ]
    seen.run("end", worker_calls.finish(ACCOUNT, ends))
