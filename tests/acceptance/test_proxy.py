"""Workers behind a proxy: they submit and poll through it, lose answers there, and go on."""

import time
from contextlib import ExitStack
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab.waiting import until
from tests.acceptance.factory import Factory, factory, settled_by_newer_jobs, task
from tests.api_client.rawserver import CERTIFICATE, server_tls
from tests.proxying import ForwardingProxy, proxying, tls_before

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(480)]

JOBS = 40
FAST = {
    "RUNQUEUE_MAX_DISPATCHES_PER_SECOND": "20",
    "RUNQUEUE_MAX_BURST_SIZE": "5",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0.5",
    "RUNQUEUE_POLL_MAX_SECONDS": "2",
}
#: After so many answers, and so many bytes of a tunnel, the proxy breaks off.
EVERY, BYTES = 5, 12_000


def start(
    parts: Factory, scheme: str, proxy: ForwardingProxy, stack: ExitStack, *, is_own: bool = False
) -> None:
    """Start a worker that knows of the proxy by its environment, or by its account's setting."""
    if scheme == "https":
        port = urlsplit(parts.base_url).port
        assert port is not None
        parts.settings["SKYVERN_BASE_URL"] = stack.enter_context(tls_before(port, server_tls()))
        parts.settings["SSL_CERT_FILE"] = str(CERTIFICATE)
    parts.settings[f"{scheme.upper()}_PROXY"] = "http://127.0.0.1:1" if is_own else proxy.url
    if is_own:
        parts.settings["RUNQUEUE_PROXY"] = proxy.url
    parts.start_worker()


@pytest.mark.parametrize("scheme", ["http", pytest.param("https", marks=pytest.mark.slow)])
def test_jobs_behind_a_proxy_that_breaks_off_within_answers_complete_and_none_runs_twice(
    tmp_path: Path, scheme: str
) -> None:
    # Its clock is an hour ahead, and it dates what it passes on by that.
    proxy = ForwardingProxy(user="user:pass", date=formatdate(time.time() + 3600, usegmt=True))
    with factory(tmp_path, ("--duration", "1"), **FAST) as parts, ExitStack() as stack:
        stack.enter_context(proxying(proxy))
        proxy.cuts = EVERY if scheme == "http" else BYTES
        jobs = parts.queue.enqueue_many([task(f"job-{i}") for i in range(JOBS)])
        start(parts, scheme, proxy, stack)
        until(lambda: len(parts.simulator.runs()) == JOBS, 120, "every job to be submitted")
        proxy.cuts = None
        jobs += settled_by_newer_jobs(parts, JOBS)

        runs = parts.simulator.runs_per_job()
        print(f"{runs.total()} runs, broken off {proxy.broken} times, {len(proxy.heads)} heads")
        assert set(runs) == {job.job_id for job in jobs}
        assert set(runs.values()) == {1}
    assert proxy.broken > 3
    assert bool(proxy.tunnels) == (scheme == "https")
    assert (len(proxy.requests) > 2 * JOBS) == (scheme == "http")


@pytest.mark.parametrize("scheme", ["http", pytest.param("https", marks=pytest.mark.slow)])
def test_what_a_proxy_refuses_was_not_submitted_and_goes_on_once_it_is_let_through(
    tmp_path: Path, scheme: str
) -> None:
    proxy = ForwardingProxy(user="user:pass")
    with factory(tmp_path, ("--duration", "0.2"), **FAST) as parts, ExitStack() as stack:
        stack.enter_context(proxying(proxy))
        parts.queue.enqueue_many([task(f"job-{i}") for i in range(3)])
        start(parts, scheme, proxy, stack, is_own=True)
        proxy.user = "user:another"
        refused = len(proxy.heads)
        until(lambda: len(proxy.heads) > refused + 3, 60, "the proxy to refuse some")
        until(
            lambda: "answered 407" in (parts.queue.stats()["default"].hold_reason or ""),
            60,
            "the hold to say why",
        )
        assert not parts.simulator.runs()
        assert set(parts.states()) <= {"ready", "submitting", "scheduled"}
        proxy.user = "user:pass"
        until(lambda: parts.states() == {"completed": 3}, 120, "the jobs to complete")
        assert set(parts.simulator.runs_per_job().values()) == {1}
