"""Running the command line for real, and a worker that needs no Skyvern."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from typer.testing import CliRunner, Result

from api_client.elapsed import elapsed_us
from runqueue import RunQueue
from runqueue.cli.app import app
from runqueue.operator.decisions import Settled
from runqueue.records import claim_items
from runqueue.store import worker_calls
from runqueue.store.keys import ACCOUNTS
from runqueue.store.sending import run

_MINUTE_US = 60_000_000


def line(key: str | None, **options: Any) -> dict[str, Any]:
    """Return a good line; `prompt` tells bodies apart."""
    prompt = options.pop("prompt", "Read the price.")
    named = {} if key is None else {"custom_id": key}
    return {**named, "kind": "task", "body": {"prompt": prompt}, **options}


def lines(count: int) -> list[dict[str, Any]]:
    """Return good lines with keys of their own."""
    return [line(f"order-{number}") for number in range(count)]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a test gives its commands: a queue of its own, a folder for its files."""

    url: str
    folder: Path
    client: redis.Redis
    queue: RunQueue
    environ: dict[str, str] = field(default_factory=dict)

    def file(self, rows: list[Any], name: str = "jobs.jsonl") -> str:
        """Write a batch file; a row that is text goes in as it is."""
        path = self.folder / name
        texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(f"{text}\n" for text in texts))
        return str(path)

    def run(self, *arguments: str, stdin: bytes | None = None) -> Result:
        """Give a command."""
        environ = {"RUNQUEUE_REDIS_URL": self.url, "COLUMNS": "100", **self.environ}
        return CliRunner().invoke(app, list(arguments), env=environ, input=stdin)

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """What a group's `list` shows to programs; its name, and options."""
        group, *options = arguments
        result = self.run(group, "list", "--json", *options)
        assert result.exit_code == 0
        return [json.loads(row) for row in result.stdout.splitlines()]

    def json(self, *arguments: str) -> Any:
        """Give a command with --json and read what it says."""
        result = self.run(*arguments, "--json")
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return json.loads(result.stdout)

    def know(self, account: str) -> None:
        """Announce an account, as its worker would."""
        self.client.sadd(ACCOUNTS, account)

    def states(self, account: str = "default") -> dict[str, int]:
        """Return how many jobs of an account stand where."""
        return {s.value: n for s, n in self.queue.stats()[account].states.items() if n}

    def claim(self, account: str = "default") -> list[claim_items.Claimed]:
        """Take every ready job, as a worker would."""
        run(
            self.client,
            worker_calls.heartbeat(account, "test", _MINUTE_US, -1, elapsed_us(), first=True),
        )
        claim_id = str(self.client.incr("test:claims"))
        return list(run(self.client, worker_calls.claim(account, "test", claim_id, 500, 0)).items)

    def end(
        self, jobs: list[claim_items.Claimed], state: str = "completed", *, runs_are: str = "run"
    ) -> None:
        """Record a run for each claimed job, and its end; a job done again has another run."""
        if not jobs:
            return
        runs = [
            claim_items.RunAccepted(j.job_id, j.attempt, f"{runs_are}-{j.job_id}", "", 0)
            for j in jobs
        ]
        run(self.client, worker_calls.mark_running("default", runs))
        ends = [
            claim_items.Finished(
                j.job_id, j.attempt, f"{runs_are}-{j.job_id}", state, state, "", b'{"output": "42"}'
            )
            for j in jobs
        ]
        run(self.client, worker_calls.finish("default", ends))

    def lose(self, jobs: list[claim_items.Claimed]) -> None:
        """Lose the answers to the submissions of claimed jobs."""
        lost = [claim_items.Lost(job.job_id, job.attempt, "no answer") for job in jobs]
        run(self.client, worker_calls.mark_unconfirmed("default", lost))

    def refuse(self, jobs: list[claim_items.Claimed], reason: str = "No such engine") -> None:
        """Have the server refuse claimed jobs: they are dead."""
        lost = [claim_items.Lost(job.job_id, job.attempt, reason) for job in jobs]
        run(self.client, worker_calls.mark_dead("default", lost))
        # Twenty in a row hold the account.
        self.queue.resume()

    def dead(self, rows: list[Any], reason: str = "No such engine") -> list[str]:
        """Hand in jobs that the server refuses; returns their ids, in order."""
        ids = [answer.job_id for answer in self.queue.enqueue_many(rows)]
        while jobs := self.claim():
            self.refuse(jobs, reason)
        return ids

    def unconfirmed(self, rows: list[Any]) -> list[str]:
        """Hand in jobs whose submissions' answers are lost; returns their ids, in order."""
        ids = [answer.job_id for answer in self.queue.enqueue_many(rows)]
        while jobs := self.claim():
            self.lose(jobs)
        return ids

    def bring(self, kind: str, rows: list[Any]) -> list[str]:
        """Hand in jobs that become `dead` or `unconfirmed`; returns their ids, in order."""
        return self.dead(rows) if kind == "dead" else self.unconfirmed(rows)

    def orphan(self, run_id: str, job_id: str) -> None:
        """Find a run of a job that is gone, or has moved on."""
        found = claim_items.RunAccepted(job_id, 1, run_id, "running", 0)
        assert run(self.client, worker_calls.mark_running("default", [found])) == [2]

    @contextmanager
    def working(self, act: Callable[["Desk", list[claim_items.Claimed]], None]) -> Iterator[None]:
        """Let a worker do something with each job that becomes ready, in the background."""
        told = threading.Event()

        def work() -> None:
            while not told.wait(0.02):
                act(self, self.claim())

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            told.set()
            thread.join()


#: What a command for many jobs says if none is chosen, and if some are both ways.
NOTHING_CHOSEN = "name jobs, or choose some by filters (--group, --since and others) or --all"
BOTH_WAYS = "by name or by filters (--group, --since and others) or --all, not by both"


def counts(canceled: int = 0, will_be: int = 0, over: int = 0) -> dict[str, int]:
    """What --json says of a cancel."""
    return {"canceled": canceled, "will_be_canceled": will_be, "over": over}


def done(settled: dict[str, Settled]) -> int:
    """How many decisions were carried out."""
    return list(settled.values()).count(Settled.DONE)


def ready(desk: Desk, *rows: dict[str, Any]) -> list[str]:
    """Hand in jobs; returns their ids, in order."""
    return [answer.job_id for answer in desk.queue.enqueue_many(rows)]


def running(desk: Desk, row: dict[str, Any]) -> claim_items.Claimed:
    """Hand in a job that is submitted."""
    ready(desk, row)
    (job,) = desk.claim()
    return job


def batch_of(desk: Desk, *rows: dict[str, Any]) -> str:
    """Hand in a file; returns its batch."""
    batch = desk.queue.open_batch("jobs.jsonl")
    desk.queue.enqueue_many(rows, batch=batch)
    desk.queue.seal_batch(batch)
    return batch
