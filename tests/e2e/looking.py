"""A browser window, and what it notices."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Page, Request, expect

#: Milliseconds that a change may take to be seen; a machine that is busy needs some.
PATIENCE = 15_000
expect.set_options(timeout=PATIENCE)


@dataclass
class Eyes:
    """A window at a gateway.

    Args:
        page: the window's page.
        url: where the gateway is.
        complaints: what the browser complained of, and requests that went elsewhere.
    """

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Begin to notice."""
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def log_in(self, secret: str, path: str = "/") -> None:
        """Log in, and come to a page."""
        self.page.goto(f"{self.url}{path}")
        self.page.get_by_label("A token of").fill(secret)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(lambda url: "/login" not in url)

    def go(self, path: str) -> None:
        """Open a page."""
        self.page.goto(f"{self.url}{path}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith(f"{self.url}/"):
            self.complaints.append(f"asked for {request.url}")
