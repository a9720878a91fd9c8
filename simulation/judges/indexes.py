"""Whether each job is in the indexes of its state, and in no other, once a seed is over."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import redis

from runqueue.store.keys import Keys

_LIVE = ("submitting", "unconfirmed", "running")
_ENDED = ("completed", "failed", "canceled", "dead")
#: The indexes that hold the jobs of some states, and those only.
_OF_STATES: Mapping[str, tuple[str, ...]] = {
    "due": ("scheduled",),
    "poll": ("running",),
    "dead": ("dead",),
    "reconcile": ("unconfirmed",),
}
_Record = dict[str, str]


def judge_indexes(client: redis.Redis, account: str, fail: Callable[[str], None]) -> None:
    """Compare the records of an account with its indexes and counters, while nothing changes.

    Args:
        client: the simulated server's Redis.
        account: the account.
        fail: takes what is wrong.
    """
    for wrong in _Indexes(client, Keys(account).prefix).differences():
        fail(f"indexes: {wrong}")


class _Indexes:
    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client: Any = client
        self._prefix = prefix
        self._jobs: dict[str, _Record] = {
            key.removeprefix("job:"): _decoded(self._client.hgetall(prefix + key))
            for key in self._keys("job:*")
        }

    def differences(self) -> Iterator[str]:
        """Yield what does not agree."""
        yield from self._of_states()
        yield from self._of_claims()
        yield from self._of_lanes()
        yield from self._of_counters()

    def _keys(self, pattern: str) -> list[str]:
        found = cast("Iterator[bytes]", self._client.scan_iter(self._prefix + pattern))
        return sorted({key.decode().removeprefix(self._prefix) for key in found})

    def _members(self, zset: str) -> set[str]:
        return {member.decode() for member in self._client.zrange(self._prefix + zset, 0, -1)}

    def _in(self, *states: str) -> set[str]:
        return {job for job, record in self._jobs.items() if record["state"] in states}

    def _of_states(self) -> Iterator[str]:
        for index, states in _OF_STATES.items():
            members, jobs = self._members(index), self._in(*states)
            if missing := jobs - members:
                yield f"{sorted(missing)} are {'/'.join(states)}, and not in {index}"
            # Entries without a record are passed over.
            if others := (members & self._jobs.keys()) - jobs:
                yield f"{sorted(others)} are in {index}, and not {'/'.join(states)}"
        unconfirmed = self._in("unconfirmed")
        without_slot = {job for job in unconfirmed if self._jobs[job].get("slot") == "0"}
        for index, jobs in (
            ("unconfirmed_no_slot", without_slot),
            ("unconfirmed", unconfirmed - without_slot),
        ):
            if self._members(index) != jobs:
                yield f"{index} has {sorted(self._members(index))}, expected {sorted(jobs)}"
        late = {
            job
            for job, record in self._jobs.items()
            if "deadline" in record and record["state"] in ("ready", "scheduled")
        }
        allowed = self._members("deadlines") | self._members("ends_after_recovery")
        if missing := late - allowed:
            yield f"{sorted(missing)} have a deadline, and are not in deadlines"

    def _of_claims(self) -> Iterator[str]:
        claims: Counter[str] = Counter()
        for key in self._keys("claims:*"):
            process = key.removeprefix("claims:")
            for job in self._members(key):
                claims[job] += 1
                if self._jobs.get(job, {}).get("process", process) != process:
                    yield f"{job} is claimed by {process}, and its record names another"
        if set(claims) != self._in("submitting") or max(claims.values(), default=1) > 1:
            yield f"claims have {dict(claims)}, submitting are {sorted(self._in('submitting'))}"

    def _of_lanes(self) -> Iterator[str]:
        lanes: dict[str, set[str]] = {}
        for key in self._keys("lane:*"):
            ids = cast("list[bytes]", self._client.lrange(self._prefix + key, 0, -1))
            lanes[key] = {job.decode() for job in ids}
        for job in self._in("ready"):
            record = self._jobs[job]
            where = f"lane:{record.get('priority', '2')}:{record.get('group', 'default')}:"
            if not any(key.startswith(where) and job in ids for key, ids in lanes.items()):
                yield f"{job} is ready, and in no lane of {where}"

    def _of_counters(self) -> Iterator[str]:
        counted = {
            name: int(value)
            for name, value in _decoded(self._client.hgetall(self._prefix + "counters")).items()
            if name.partition(":")[0] in {*_LIVE, *_ENDED, "ready", "scheduled"} and ":" in name
        }
        there = Counter(
            f"{record['state']}:{record.get('priority', '2')}" for record in self._jobs.values()
        )
        for name in sorted(there.keys() | counted.keys()):
            if there[name] != counted.get(name, 0):
                yield f"{name} counts {counted.get(name, 0)}, and there are {there[name]}"
        live: Counter[str] = Counter(
            record.get("group", "default")
            for record in self._jobs.values()
            if record["state"] in _LIVE and record.get("slot") != "0"
        )
        for group in sorted(
            {*live, *(key.removeprefix("group:") for key in self._keys("group:*"))}
        ):
            slots = int(self._client.hget(f"{self._prefix}group:{group}", "live") or 0)
            if slots != live[group]:
                yield f"group {group} counts {slots} live, and there are {live[group]}"


def _decoded(record: Mapping[Any, Any]) -> _Record:
    return {name.decode(): value.decode(errors="replace") for name, value in record.items()}
