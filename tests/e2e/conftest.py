"""A real gateway process, a real headless Chromium, and a page that must stay clean.

Chromium is the system's (`apt-get install chromium`): nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, Page, sync_playwright

from launcher import supervisor
from runqueue import RunQueue
from tests.e2e.looking import Eyes
from tests.gateway.browsing import TOKENS
from tests.gateway.gating import KEY, Desk
from tests.real.server import CHROMIUM_ARGUMENTS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands here: `make test-e2e` runs it."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser process."""
    if not CHROMIUM:
        pytest.fail("these tests need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless", *CHROMIUM_ARGUMENTS]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def serve(
    valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., tuple[str, supervisor.Child]]]:
    """Start gateways; they end with the tests."""
    started: list[supervisor.Child] = []

    def start(tokens: bool = True, archive: str = "") -> tuple[str, supervisor.Child]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environ = {
            **kept,
            "RUNQUEUE_REDIS_URL": valkey,
            "RUNQUEUE_GATEWAY_PORT": "0",
            "SKYVERN_API_KEY": KEY,
        }
        if archive:
            environ["RUNQUEUE_ARCHIVE_URL"] = archive
        if tokens:
            set_up = (f"{t.name}:{'+'.join(sorted(t.scopes))}:{t.digest}" for t in TOKENS)
            environ["RUNQUEUE_API_TOKENS"] = ",".join(set_up)
        child = supervisor.gateway(environ, stop_seconds=10, cwd=tmp_path_factory.mktemp("gateway"))
        child.log = tmp_path_factory.mktemp("log") / "gateway.log"
        url = child.start(announces=True).removeprefix("gateway: ")
        started.append(child)
        return url, child

    yield start
    for child in started:
        child.terminate()
        child.wait_for_end()


@pytest.fixture(scope="session")
def gateway(serve: Callable[..., tuple[str, supervisor.Child]]) -> str:
    """The URL of a gateway with tokens."""
    return serve()[0]


@pytest.fixture
def desk(queue: RunQueue, client: redis.Redis) -> Desk:
    """Jobs in whatever state a test needs them."""
    return Desk(queue, client)


@pytest.fixture
def eyes(chromium: Browser, gateway: str, redis_url: str) -> Iterator[Eyes]:
    """A browser window at the gateway; whatever it complains of, or loads from elsewhere, fails."""
    del redis_url  # Redis, which holds who is logged in, was emptied before
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    found = Eyes(context.new_page(), gateway)
    found.watch()
    yield found
    context.close()
    assert found.complaints == []


@pytest.fixture
def axe() -> Any:
    """What finds barriers in a page (axe-core)."""
    name = "axe_playwright_python.sync_playwright"
    return pytest.importorskip(name, reason="axe-playwright-python is not installed").Axe()


@pytest.fixture
def page(eyes: Eyes) -> Page:
    """The window's page, with somebody logged in who may operate."""
    eyes.log_in("operate-secret")
    return eyes.page
