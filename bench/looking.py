"""Looking at a full queue: how long a scrape of its metrics takes, and its page in a browser."""

import shutil
import statistics
import time
from dataclasses import dataclass

import httpx
from playwright.sync_api import sync_playwright

from bench.intake import lines
from bench.stack import cpu_seconds, running
from lab.gateways import Gateway
from lab.waiting import until
from runqueue import RunQueue

#: Jobs that are submitted at a time: their lines are held in memory.
_AT_ONCE = 50_000
_LOOKS = 100
_PAINTS = 10
_FIRST_PAINT = """() => new Promise(told => new PerformanceObserver(seen =>
    told(seen.getEntriesByName("first-contentful-paint")[0].startTime)
).observe({type: "paint", buffered: true}))"""


@dataclass(frozen=True, slots=True)
class Looking:
    """What looking takes, in milliseconds.

    Args:
        jobs, groups: what is in the queue.
        scrape, worst_scrape: a GET of `/metrics/queue`, the median and the worst of 100.
        scrape_cpu: the gateway's CPU time of one.
        first_byte: the page's first byte, the median of 100.
        first_paint: from a browser's navigation to its first contentful paint, the median of 10;
            None = there is no Chromium here.
    """

    jobs: int
    groups: int
    scrape: float
    worst_scrape: float
    scrape_cpu: float
    first_byte: float
    first_paint: float | None


def measure(jobs: int = 1_000_000, groups: int = 1_000) -> Looking:
    """Fill a queue, then look at it."""
    with running() as stack, RunQueue(stack.redis_url) as queue:
        for start in range(0, jobs, _AT_ONCE):
            made = lines(min(_AT_ONCE, jobs - start))
            for number, line in enumerate(made, start):
                line.update(custom_id=f"row-{number}", group=f"group-{number % groups}")
            queue.enqueue_many(made)
        gateway = Gateway(stack.environment(), stack.folder / "gateway.log").start()
        try:
            until(lambda: "default" in queue.accounts(), 10, "the account")
            assert gateway.process is not None
            with httpx.Client(base_url=gateway.url, headers=gateway.headers) as client:
                assert client.get(_login(gateway)).is_redirect
                scrapes, cpu = _scrapes(client, gateway.process.pid, jobs)
                pages = [_timed(client, "/") for _ in range(_LOOKS)]
            paint = _first_paint(gateway)
            middle = statistics.median
            return Looking(jobs, groups, middle(scrapes), max(scrapes), cpu, middle(pages), paint)
        finally:
            gateway.kill()


def _scrapes(client: httpx.Client, pid: int, jobs: int) -> tuple[list[float], float]:
    text = client.get("/metrics/queue").text  # what is loaded late
    ready = [line for line in text.splitlines() if line.startswith("runqueue_jobs{")]
    assert sum(float(line.split()[-1]) for line in ready) == jobs, ready
    before = cpu_seconds(pid)
    taken = [_timed(client, "/metrics/queue") for _ in range(_LOOKS)]
    return taken, 1000 * (cpu_seconds(pid) - before) / _LOOKS


def _timed(client: httpx.Client, path: str) -> float:
    """Return the milliseconds to all of a scrape, and to the page's first bytes."""
    start = time.perf_counter()
    with client.stream("GET", path) as answer:
        answer.raise_for_status()
        parts = answer.iter_raw()
        next(parts)
        took = 1000 * (time.perf_counter() - start)
        for _ in parts:
            took = 1000 * (time.perf_counter() - start) if path != "/" else took
        return took


def _login(gateway: Gateway) -> str:
    """Return the link that logs in to the page."""
    return f"{gateway.url}/login?token={gateway.token}"


def _first_paint(gateway: Gateway) -> float | None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        paints = []
        for _ in range(_PAINTS):
            context = browser.new_context()  # nothing is cached
            context.request.get(_login(gateway), max_redirects=0)
            page = context.new_page()
            page.goto(gateway.url)
            paints.append(page.evaluate(_FIRST_PAINT))
            context.close()
        browser.close()
    return float(statistics.median(paints))
