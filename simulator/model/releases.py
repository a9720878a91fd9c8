"""The releases of Skyvern that the simulator imitates, and their differences."""

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    Args:
        version: as `GET /v1/version` reports it.
        has_tags: runs have tags, and `?tags=` filters by them; else it is ignored.
        searches_inputs: the list's search reads parameters, headers and webhook URLs of
            workflow runs; else only into titles, addresses and ids.
        filters: the list takes `run_type`, `workflow_permanent_id`, `failure_category` and the
            status `paused`; else it ignores the three and refuses the fourth.
        lacks: fields that its answers do not have yet.
        lacks_engines: what it refuses as an engine.
        loses_ends: a 2.0 task whose webhook cannot be delivered reads `failed` from then on.
    """

    version: str
    has_tags: bool = True
    searches_inputs: bool = True
    filters: bool = True
    lacks: frozenset[str] = frozenset()
    lacks_engines: frozenset[str] = frozenset()
    loses_ends: bool = False

    def shown(self, content: object) -> object:
        """An answer without what this release lacks."""
        if not self.lacks:
            return content
        return self._without(orjson.loads(orjson.dumps(content, default=str)))

    def _without(self, content: object) -> object:
        if isinstance(content, dict):
            shown = {
                name: self._without(value)
                for name, value in content.items()
                if name not in self.lacks
            }
            # It does not note when a workflow run was queued.
            return shown | {"queued_at": None} if _is_workflow_run(shown) else shown
        if isinstance(content, list):
            return [self._without(value) for value in content]
        return content


def _is_workflow_run(shown: dict[str, object]) -> bool:
    return "queued_at" in shown and shown.get("run_type") == "workflow_run"


DEFAULT_VERSION = "1.0.56"

#: What is imitated, by version.
RELEASES = {
    release.version: release
    for release in (
        Release(DEFAULT_VERSION),
        Release(
            "1.0.40",
            has_tags=False,
            searches_inputs=False,
            filters=False,
            lacks=frozenset(
                {
                    *("attempt", "attempts", "retry_pending", "next_attempt_at", "attempt_number"),
                    *("trigger_type", "created_by", "browser_seed_source", "file_ids"),
                    *("browser_settings_receipt", "start_fresh_browser", "reuse_browser_session"),
                    "browser_type",
                }
            ),
            lacks_engines=frozenset({"skyvern-3.0"}),
            loses_ends=True,
        ),
    )
}
