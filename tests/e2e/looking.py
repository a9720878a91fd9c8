"""A browser window, and what it notices."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, Request, expect

#: Milliseconds that a change may take to be seen; a machine that is busy needs some.
PATIENCE = 15_000
expect.set_options(timeout=PATIENCE)
#: Texts whose contrast with what is behind them is less than 4.5 (WCAG AA), a few.
FAINT = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const c = parse(getComputedStyle(node).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest(".unseen, .skip, option")) continue;
    const style = getComputedStyle(node);
    const alpha = Number(style.opacity);
    const back = ground(node);
    const ink = parse(style.color).slice(0, 3).map((v, i) => v * alpha + back[i] * (1 - alpha));
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const text = node.textContent.trim().slice(0, 20);
    if (ratio < 4.5) found.push(`${node.tagName}.${node.className} ${text} ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)].slice(0, 5);
}"""


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

    def flaws(self, axe: Any, path: str) -> list[str]:
        """What a page that is open lacks: room, contrast, and what axe-core finds."""
        over = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        found = [f"{path}: {over} too wide"] if over > 0 else []
        found += [f"{path}: faint: {text}" for text in self.page.evaluate(FAINT)]
        for barrier in axe.run(self.page).response["violations"]:
            where = [node["html"][:200] for node in barrier["nodes"]][:3]
            found.append(f"{path}: {barrier['id']}: {json.dumps(where)}")
        return found

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith(f"{self.url}/"):
            self.complaints.append(f"asked for {request.url}")
