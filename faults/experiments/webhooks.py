"""Webhooks: lost, late, to a gateway that is killed, to a receiver that is down."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bench.stack import until
from faults.lab import Lab
from faults.receivers import Gateway, WebhookTarget
from faults.registry import experiment
from runqueue.records.delivery import DeliveryState

_SETTINGS = {
    "RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS": "true",
    "RUNQUEUE_WEBHOOK_RETRY_SECONDS": "5,5,5,10,20,30,60,60,60",
}
_RUNS = ("--duration", "3", "--duration-spread", "0.3")
#: Seconds until every webhook is delivered, where Skyvern's own have to be waited for first.
_PATIENCE = 400.0


@contextmanager
def _receiving(lab: Lab, **settings: str) -> Iterator[tuple[Gateway, WebhookTarget]]:
    """Start a gateway, two workers that have webhooks sent to it, and a user's receiver."""
    environ = {
        **lab.worker().environ,
        "SKYVERN_BASE_URL": lab.simulator.url,
        "RUNQUEUE_REDIS_URL": f"{lab.valkey.url}/0",
    }
    gateway = Gateway(environ, lab.folder / "gateway.log").start()
    lab.settings |= {"RUNQUEUE_PUBLIC_URL": gateway.url, **settings}
    lab.workers.clear()
    receiver = WebhookTarget()
    try:
        for _ in range(2):
            lab.worker().start()
        yield gateway, receiver
    finally:
        gateway.kill()
        receiver.close()


def _submit(lab: Lab, jobs: int, url: str) -> None:
    lab.take(
        [
            {
                "custom_id": f"job-{number}",
                "kind": "task",
                "body": {
                    "prompt": f"job-{number}",
                    "url": f"https://shop.test/{number}",
                    "engine": "skyvern-1.0",
                    "webhook_url": url,
                },
            }
            for number in range(jobs)
        ]
    )


def _delivered(lab: Lab, receiver: WebhookTarget, jobs: int) -> None:
    """Wait until every webhook is delivered; each must have been taken exactly once."""

    def all_told() -> bool:
        stats = lab.stats()
        return stats is not None and stats.deliveries[DeliveryState.DELIVERED] >= jobs

    until(all_told, _PATIENCE, f"{jobs} webhooks to be delivered", every=0.1)
    lab.expect(len(receiver.ids) == jobs, f"{len(receiver.ids)} webhooks of {jobs} came")
    twice = [name for name, times in receiver.ids.items() if times > 1]
    lab.expect(not twice, f"{len(twice)} webhooks came twice")


def _note_times(lab: Lab, receiver: WebhookTarget | None = None) -> None:
    """Note how long after its run's end each job ended, and its webhook was taken."""
    ends = {str(run["run_id"]): float(run["ended"]) for run in lab.simulator.runs()}
    now, monotonic = time.time(), time.monotonic()
    results, told = [], []
    for job in lab.queue.get_many(list(lab.accepted), result=False):
        if job is None or job.ended_at is None or job.run_id is None:
            continue
        results.append(job.ended_at.timestamp() - ends[job.run_id])
        taken = receiver.times.get(f"msg_{job.id}_{job.attempts}") if receiver else None
        if taken is not None:
            told.append(now - (monotonic - taken) - ends[job.run_id])
    lab.note(f"result after {_shares(results)}")
    if told:
        lab.note(f"webhook after {_shares(told)}")


def _shares(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    return f"p50 {_shown(p50)}, p99 {_shown(p99)}"


def _shown(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _calls(lab: Lab) -> Mapping[str, int]:
    calls: Mapping[str, int] = lab.simulator.summary()["requests_by_route"]
    return calls


@experiment(
    "webhooks arrive",
    "none: what a run costs while its webhook does",
    jobs=500,
    simulator=_RUNS,
    settings={**_SETTINGS, "RUNQUEUE_MAX_CONCURRENT_RUNS": "100"},
)
def healthy(lab: Lab, jobs: int) -> None:
    """No run is polled: the submission is the only call."""
    with _receiving(lab) as (_, receiver):
        _submit(lab, jobs, receiver.url)
        lab.settle()
        _delivered(lab, receiver, jobs)
        _note_times(lab, receiver)
        calls = _calls(lab)
        lab.note(f"{sum(calls.values()) / jobs:.2f} calls a run")
        lab.expect(sum(calls.values()) <= 1.05 * jobs, f"the API was called: {dict(calls)}")


@experiment(
    "every webhook of Skyvern's lost",
    "Skyvern sends none, not even when it says that it did",
    jobs=200,
    simulator=_RUNS,
    settings=_SETTINGS,
)
def dropped(lab: Lab, jobs: int) -> None:
    """Runs are polled, and their webhooks asked for again."""
    with _receiving(lab) as (_, receiver):
        lab.simulator.faults({"match": {"route": "webhook"}, "action": {"drop": True}})
        _submit(lab, jobs, receiver.url)
        lab.settle(300)
        _delivered(lab, receiver, jobs)
        _note_times(lab, receiver)
        lab.meets()


@experiment(
    "Skyvern does not reach the gateway",
    "RUNQUEUE_PUBLIC_URL is wrong: webhooks, and those asked for again, go nowhere",
    jobs=100,
    simulator=_RUNS,
    settings=_SETTINGS,
)
def unreachable(lab: Lab, jobs: int) -> None:
    """What a replay tells of its payload is what is relayed."""
    with _receiving(lab, RUNQUEUE_PUBLIC_URL="http://127.0.0.1:9") as (_, receiver):
        _submit(lab, jobs, receiver.url)
        lab.settle(300)
        _delivered(lab, receiver, jobs)
        _note_times(lab, receiver)


@experiment(
    "gateway killed while runs end",
    "kill -9 three times, back after two seconds",
    jobs=300,
    simulator=_RUNS,
    settings=_SETTINGS,
)
def gateway_killed(lab: Lab, jobs: int) -> None:
    """What Skyvern sends again comes, and what it gave up is polled."""
    with _receiving(lab) as (gateway, receiver):
        _submit(lab, jobs, receiver.url)
        for round_ in (1, 2, 3):
            lab.until(lambda n=round_: lab.count("completed") > n * jobs // 5, 120, "some ends")  # type: ignore[misc]
            gateway.kill()
            time.sleep(2)
            gateway.start()
        lab.settle(300)
        _delivered(lab, receiver, jobs)
        _note_times(lab, receiver)


@experiment(
    "receiver down for half a minute",
    "the user's receiver answers 503 while runs end",
    jobs=300,
    simulator=_RUNS,
    settings={**_SETTINGS, "RUNQUEUE_MAX_WEBHOOKS_PER_SECOND": "50"},
)
def receiver_down(lab: Lab, jobs: int) -> None:
    """It gets every webhook once it is back, each once, and few tries before."""
    with _receiving(lab) as (_, receiver):
        receiver.is_down = True
        _submit(lab, jobs, receiver.url)
        lab.settle()
        time.sleep(30)
        receiver.is_down = False
        lab.mend()
        _delivered(lab, receiver, jobs)
        lab.note(f"{receiver.refused} tries while it was down")
        lab.expect(receiver.refused < jobs, f"{receiver.refused} tries at a dead receiver")


@experiment(
    "worker killed while it relays",
    "kill -9 every second while webhooks go out",
    jobs=300,
    simulator=_RUNS,
    settings=_SETTINGS,
)
def relay_killed(lab: Lab, jobs: int) -> None:
    """Every webhook comes; one that was on its way when its worker died may come again."""
    with _receiving(lab) as (_, receiver):
        _submit(lab, jobs, receiver.url)
        for round_ in range(6):
            lab.until(lambda n=round_: len(receiver.ids) > n * jobs // 8, 120, "webhooks")  # type: ignore[misc]
            worker = lab.workers[round_ % 2]
            worker.kill()
            worker.start()
        lab.settle()
        until(lambda: len(receiver.ids) >= jobs, _PATIENCE, "the webhooks", every=0.1)
        twice = sum(times > 1 for times in receiver.ids.values())
        lab.note(f"{twice} webhooks came twice, with one webhook-id")
