"""What must hold after every step: the whole database says what the model says."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

from hypothesis.stateful import invariant

from runqueue.store import codec, compression, job_calls
from tests.runqueue.lua.clockwork import ACCOUNT, dump
from tests.runqueue.lua.machine.base import Base
from tests.runqueue.lua.machine.mbatch import FINAL
from tests.runqueue.lua.machine.model import GROUPS, LIVE, OVER, WAITING


def members(data: dict[str, Any], name: str) -> set[str]:
    """The members of a zset."""
    return {member.decode() for member, _ in data.get(name, ())}


def scores(data: dict[str, Any], name: str) -> dict[str, float]:
    """The members of a zset with their scores."""
    return {member.decode(): score for member, score in data.get(name, ())}


class Checks(Base):
    """The invariants."""

    @invariant()
    def agrees(self) -> None:
        """The whole database says what the model says."""
        everything = dump(self.client)
        prefix = self.clock.key("")
        data = {key.removeprefix(prefix): value for key, value in everything.items()}
        assert all(key.startswith(prefix) for key in everything)
        self.check_records(data)
        self.check_counters(data)
        self.check_charges(data)
        self.check_indexes(data)
        self.check_doubts(data)
        self.check_suspects(data)
        self.check_hold(data)
        self.check_lanes(data)
        self.check_runs(data)
        self.check_batches(data)
        self.check_times(data)
        self.check_webhooks(data)
        assert not re.search(r"\de\+\d", repr(everything)), "Lua's way to write large numbers"
        assert len(data.get("wake", ())) <= 1
        sequence = int(data["meta"].get(b"sequence", 0)) if "meta" in data else 0
        assert sequence == self.claims

    def check_records(self, data: dict[str, Any]) -> None:
        self.watch()
        self.judge()
        for job in self.jobs.values():
            record = data[f"job:{job.id}"]
            state = record[b"state"].decode()
            assert state == job.state, job
            assert int(record.get(b"attempt", 0)) == job.attempt
            assert record.get(b"cancel", b"").decode() == (job.cancel or "")
            assert record.get(b"run_id", b"").decode() == (job.run_id or "")
            assert record.get(b"process", b"").decode() == (job.process or "")
            body = data[f"body:{job.id}"]
            is_dropped = self.is_request_dropped(job)
            assert (b"body_dropped" in record) == is_dropped
            assert codec.read_request(body)[1].get("prompt") == (None if is_dropped else job.digest)
            within = body.partition(b"\n")[2]
            stored = data.get(f"result:{job.id}", within if compression.is_packed(within) else b"")
            assert compression.result_of(stored, job.ended) == (job.result or b""), job
            assert int(record.get(b"runs", 0)) == job.runs
            assert (b"canary" in record) == job.canary
            assert int(record.get(b"deaths", 0)) == job.deaths
            assert record.get(b"on_unconfirmed", b"auto").decode() == job.on_unconfirmed
        for kind in ("job", "body", "result"):
            found = {key.split(":")[1] for key in data if key.startswith(f"{kind}:")}
            assert found <= self.jobs.keys()

    def check_counters(self, data: dict[str, Any]) -> None:
        counters = {k.decode(): int(v) for k, v in data.get("counters", {}).items()}
        records = Counter(f"{job.state}:{job.priority}" for job in self.jobs.values())
        by_state = {
            name: n
            for name, n in counters.items()
            if name[-2:] in {":0", ":1", ":2", ":3"} and not name.startswith("time:")
        }
        assert {name: n for name, n in by_state.items() if n} == records
        for state in OVER:
            assert counters.get(f"ended:{state}", 0) == self.ends[state]
        assert counters.get("live", 0) == self.live()
        assert counters.get("strays", 0) == self.strays_counted
        settled = {group for group in GROUPS if self.caps[group] or group in self.paused}
        assert {raw.decode() for raw in data.get("groups", ())} == settled
        for group in GROUPS:
            record = data.get(f"group:{group}", {})
            assert int(record.get(b"cap", 0)) == self.caps[group]
            assert (b"paused" in record) == (group in self.paused)
            assert int(data.get(f"group:{group}", {}).get(b"live", 0)) == self.live(group)
        ready = Counter(job.group for job in self.jobs.values() if job.state == "ready")
        loads = {group: ready[group] + self.live(group) for group in GROUPS}
        busy = {member.decode(): int(score) for member, score in data.get("busy", ())}
        assert busy == {group: n for group, n in loads.items() if n}

    def check_charges(self, data: dict[str, Any]) -> None:
        """What waits is what such jobs are charged with, and no more."""
        charges: Counter[str] = Counter()
        for job in self.jobs.values():
            if who := data[f"job:{job.id}"].get(b"charged", b"").decode():
                assert job.state in WAITING
                charges["bytes"] += len(data[f"body:{job.id}"])
                if who != "-":
                    charges[f"jobs:{who}"] += 1
                    charges[f"bytes:{who}"] += len(data[f"body:{job.id}"])
        counted = {name.decode(): int(n) for name, n in data.get("charged", {}).items()}
        assert {name: n for name, n in counted.items() if n} == charges

    def check_indexes(self, data: dict[str, Any]) -> None:
        def jobs(*states: str) -> set[str]:
            return {job.id for job in self.jobs.values() if job.state in states}

        assert scores(data, "due") == {
            job.id: job.run_at for job in self.jobs.values() if job.state == "scheduled"
        }
        assert members(data, "poll") == jobs("running")
        assert members(data, "dead") == jobs("dead")
        assert members(data, "cancels") == {
            j.id for j in self.jobs.values() if j.cancel and j.state == "running"
        } | {f"stray {run_id}" for run_id in self.stray_cancels}
        assert scores(data, "deadlines") == {
            job.id: job.deadline
            for job in self.jobs.values()
            if job.deadline is not None and job.state not in OVER and not job.flagged
        }
        claims: dict[str, str] = {}
        for name in data:
            if name.startswith("claims:"):
                assert not claims.keys() & members(data, name), "claimed twice"
                claims.update(dict.fromkeys(members(data, name), name.removeprefix("claims:")))
        assert claims == {
            job.id: job.process for job in self.jobs.values() if job.state == "submitting"
        }
        ended = Counter(
            i.decode() for key, ids in data.items() if key.startswith("ended:") for i in ids
        )
        for job in self.jobs.values():
            assert ended[job.id] >= (job.state in OVER)

    def check_doubts(self, data: dict[str, Any]) -> None:
        """Every unconfirmed job is looked for, and shown, with the slot or without."""
        doubtful = [job for job in self.jobs.values() if job.state == "unconfirmed"]
        assert scores(data, "unconfirmed") == {job.id: job.since for job in doubtful if job.slot}
        assert scores(data, "parked") == {job.id: job.since for job in doubtful if not job.slot}
        assert members(data, "reconcile") == {job.id for job in doubtful}
        for job in self.jobs.values():
            record = data[f"job:{job.id}"]
            assert int(record.get(b"negatives", 0)) == job.negatives, job
            assert int(record.get(b"negative_at", 0)) == job.negative_at
            assert record.get(b"slot", b"1") == str(int(job.slot)).encode()

    def check_suspects(self, data: dict[str, Any]) -> None:
        """Suspects stand apart, and a process that has one has nothing else."""
        assert scores(data, "suspects") == self.suspects
        alone = {
            key.removeprefix("alone:"): value.decode()
            for key, value in data.items()
            if key.startswith("alone:")
        }
        assert alone == self.alone
        meta = data.get("meta", {})
        assert meta.get(b"suspects_by", b"").decode() == self.turn.process
        assert int(meta.get(b"suspects_until", 0)) == self.turn.until
        for process, job_id in alone.items():
            mine = {job.id for job in self.jobs.values() if job.process == process}
            assert job_id not in mine or mine == {job_id}, "claimed beside others"

    def check_hold(self, data: dict[str, Any]) -> None:
        """Submissions are held for as long as they must be."""
        meta = data.get("meta", {})
        held = [int(meta.get(f"hold_{name}".encode(), 0)) for name in ("until", "step", "probe")]
        assert held == [self.hold.until, self.hold.step, self.hold.probe]
        for name in ("troubles", "refusals"):
            assert int(meta.get(name.encode(), 0)) == self.hold.rows.get(name, 0)

    def check_lanes(self, data: dict[str, Any]) -> None:
        """Each ready job of a running batch can be claimed."""
        listed: dict[str, list[str]] = defaultdict(list)
        for key, value in data.items():
            if key.startswith("lanes:"):
                listed[key.removeprefix("lanes:")] = [batch.decode() for batch in value]
        for name, batches in listed.items():
            assert len(batches) == len(set(batches)), f"{name} lists a lane twice"
            priority, group = name.split(":")
            ring = members(data, f"ring:{priority}")
            capped = b"capped" in data.get(f"group:{group}", {})
            assert group in ring or capped
            if capped and group not in self.paused:
                assert self.live(group) >= self.caps[group] > 0
        for job in self.jobs.values():
            if job.state != "ready":
                continue
            lane = [i.decode() for i in data.get(f"lane:{self.lane(job)}", ())]
            assert job.id in lane or job.id in self.suspects
            if job.id in lane and self.runs(job):
                assert self.lane_name(job) in listed[f"{job.priority}:{job.group}"]
        live_lanes = {key for key in data if key.startswith("lane:")}
        for key in live_lanes:
            batch = key.split(":")[3].removesuffix("+")
            assert batch == "-" or batch in self.batches, f"{key} has no owner"

    def check_runs(self, data: dict[str, Any]) -> None:
        """No run is ever forgotten: it is a job's, or a stray."""
        strays = {run.decode(): told.decode() for run, told in data.get("strays", {}).items()}
        assert {
            run: (told.split()[0], int(told.split()[1])) for run, told in strays.items()
        } == self.strays
        assert scores(data, "stray_looks") == self.stray_looks
        by_job = {job.decode(): run.decode() for job, run in data.get("stray_jobs", {}).items()}
        assert {job: runs.split() for job, runs in by_job.items()} == self.stray_jobs
        index = {
            run.decode(): owner.decode()
            for key, runs in data.items()
            if key.startswith("runs:")
            for run, owner in runs.items()
        }
        assert index == self.owners()
        for run_id, job_id in self.reported.items():
            assert run_id in strays or index.get(run_id) in {job_id, f"~{job_id}"}

    def check_batches(self, data: dict[str, Any]) -> None:
        for name, batch in self.batches.items():
            record = data[f"batch:{name}"]
            assert record[b"sealed"] == str(int(batch.sealed)).encode()
            assert record.get(b"held", b"").decode() == batch.held, batch
            assert (b"finished_at" in record) == batch.finished, batch
            assert (b"canary" in record) == batch.canary
            counts = Counter(self.jobs[i].state for i in batch.jobs)
            over = sum(n for state, n in counts.items() if state in OVER)
            stored = {
                key.decode().removeprefix("count:"): int(n)
                for key, n in record.items()
                if key.startswith(b"count:")
            }
            for state in LIVE | WAITING:
                assert stored.get(state, 0) == counts[state], (name, state)
            assert sum(stored.get(state, 0) for state in OVER) == over + batch.retired
            read = self.clock.run(job_calls.get_batch(ACCOUNT, name))
            assert read is not None
            assert read.total == len(batch.jobs) + batch.retired
            waiting = sum(counts[state] for state in WAITING) if batch.canceled else 0
            assert read.is_over == (batch.sealed and over + waiting == len(batch.jobs))
            live = sum(counts[state] for state in LIVE)
            if batch.held in FINAL:
                assert read.status == ("finalizing" if live else FINAL[batch.held])
            elif batch.sealed:
                assert read.status == ("completed" if batch.finished else "in_progress")
            else:
                assert read.status == "validating"
            self.check_told(name, record)
            listed = data.get(f"batch_jobs:{name}", ())
            assert batch.retired or len(listed) == len(set(listed)), "one stands there twice"
        for kind in ("batch", "batch_jobs", "batch_lanes", "batch_left"):
            found = {key.split(":")[1] for key in data if key.startswith(f"{kind}:")}
            assert found <= self.batches.keys(), f"{kind} without a batch"

    def check_times(self, data: dict[str, Any]) -> None:
        """Each batch is looked at in its time, and each callback is tried in its own."""
        assert scores(data, "expiring") == {
            name: batch.expires for name, batch in self.batches.items() if batch.expires
        }
        looks = scores(data, "unsealed")
        for name, batch in self.batches.items():
            assert looks.get(name) == batch.look, batch
        due = {f"{n} {e}": t.due for n, b in self.batches.items() for e, t in b.waiting.items()}
        tries = scores(data, "callbacks")
        assert tries.keys() == due.keys() | self.dropped
        for one, at in due.items():
            assert tries[one] == at or (not at and tries[one] <= self.now)

    def check_told(self, name: str, record: dict[bytes, bytes]) -> None:
        """Each event of a batch is on its way, delivered or given up, exactly once."""
        batch = self.batches[name]
        tries = {
            field.decode().removeprefix("callback:"): int(value.split()[0])
            for field, value in record.items()
            if field.startswith(b"callback:")
        }
        assert tries == {event: told.tries for event, told in batch.waiting.items()}, batch
        counts = {
            "made": batch.made,
            "pending": len(batch.waiting),
            "delivered": batch.told["delivered"],
            "gave_up": batch.told["gave_up"],
        }
        for what, n in counts.items():
            assert int(record.get(f"callbacks:{what}".encode(), 0)) == n, (what, batch)
        assert batch.made == len(batch.waiting) + batch.told.total()

    def check_webhooks(self, data: dict[str, Any]) -> None:
        """Each job that is over stands where its webhook does, and is counted there."""
        hooks = {job.id: job.hook for job in self.jobs.values()}
        for index in ("relays", "watches"):
            assert scores(data, index) == {i: h.due for i, h in hooks.items() if h.index == index}
        for index in ("gave_up", "unknown"):
            assert members(data, index) == {i for i, h in hooks.items() if h.index == index}
        counters = data.get("counters", {})
        stand = Counter(hook.delivery for hook in hooks.values())
        for state in ("pending", "delivered", "gave_up", "unknown"):
            assert int(counters.get(f"delivery:{state}".encode(), 0)) == stand[state]
        for job_id, hook in hooks.items():
            record = data[f"job:{job_id}"]
            assert not hook.delivery or self.jobs[job_id].state in OVER
            for name in ("via", "delivery", "signed", "url"):
                assert record.get(name.encode(), b"").decode() == getattr(hook, name), name
            for name in ("tries", "looks", "forced", "sending"):
                assert int(record.get(name.encode(), 0)) == getattr(hook, name), name
            assert data.get(f"webhook:{job_id}") == hook.kept
        kept = {key.split(":")[1] for key in data if key.startswith("webhook:")}
        assert kept <= hooks.keys()
        stored = [value for key, value in data.items() if key.startswith("endpoint:")]
        assert sorted(int(breaker[b"fails"]) for breaker in stored) == sorted(
            breaker.fails for breaker in self.breakers.values()
        )
