"""What the real tests share: one server for all of them.

`make test-real` runs them; docs/guarantees.md says what it installs, and how to have them run
against a server of your own.
"""

from collections.abc import Iterator

import pytest

from tests.real.listener import Listener, listener
from tests.real.target import Target, open_target


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server under test."""
    with open_target(tmp_path_factory.mktemp("skyvern")) as opened:
        print(f"\nSkyvern {opened.version} at {opened.base_url}")
        yield opened


@pytest.fixture
def ours(target: Target) -> Target:
    """The server under test, if it is one that may be restarted and looked into."""
    if target.server is None:
        pytest.skip("SKYVERN_BASE_URL names a server that is not ours to restart or look into")
    return target


@pytest.fixture
def with_a_browser(target: Target) -> None:
    """Skip what browses where the server cannot."""
    if not target.has_browser:
        pytest.skip("a page is browsed with a browser only: BROWSER=1")


@pytest.fixture
def hooks() -> Iterator[Listener]:
    """A receiver of webhooks, which has a page to browse too."""
    with listener() as made:
        yield made
