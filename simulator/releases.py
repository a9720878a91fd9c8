"""The releases of Skyvern that the simulator imitates, and what tells them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.runs import Run


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    Args:
        version: as `GET /v1/version` tells it.
        has_tags: runs have tags, and `?tags=` filters by them; else it is ignored.
        searches_webhook_urls: a search looks into the webhook URLs of workflow runs.
        loses_ends: a 2.0 task whose webhook cannot be delivered reads `failed` from then on.
    """

    version: str
    has_tags: bool = True
    searches_webhook_urls: bool = True
    loses_ends: bool = False

    def lose_end(self, run: Run) -> None:
        """Note that a run's webhook met an error of the network, not an answer."""
        if self.loses_ends and run.submission.run_type == "task_v2" and not run.canceled:
            sent = f"Failed to send webhook. task_v2_id={run.run_id}"
            run.end_replaced = f"Failed to run task 2.0: {sent}"


DEFAULT_VERSION = "1.0.56"

#: What is imitated, by version.
RELEASES = {
    release.version: release
    for release in (
        Release(DEFAULT_VERSION),
        Release("1.0.40", has_tags=False, searches_webhook_urls=False, loses_ends=True),
    )
}
