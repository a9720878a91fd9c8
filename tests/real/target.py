"""The server that the real tests speak to: one of ours, or one that is there already."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from lab.waiting import until
from tests.real.server import DEFAULT_VERSION, SkyvernServer, skyvern_server

#: Seconds for one call; a cancel sends webhooks before it answers.
CALL_SECONDS = 120.0
#: Where the server's database has a run.
_ROWS_OF_RUNS = (
    ("task_runs", "run_id"),
    ("workflow_runs", "workflow_run_id"),
    ("tasks", "task_id"),
)
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(slots=True)
class Target:
    """A Skyvern server under test.

    Args:
        base_url, api_key: where it is, and the key of the account that is used up.
        version: what it says of itself.
        server: the process, if it is ours; None = it was there before us, and is not to be
            restarted or looked into.
        has_browser: whether its tasks can complete.
    """

    base_url: str
    api_key: str = field(repr=False)
    version: str
    server: SkyvernServer | None
    has_browser: bool
    _http: httpx.Client = field(init=False, repr=False)
    _workflows: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # The server closes connections under its clients after some of its own failures.
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"x-api-key": self.api_key},
            timeout=CALL_SECONDS,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def close(self) -> None:
        """Remove the workflows that were made, and the connections."""
        for workflow in self._workflows:
            self._http.post(f"/v1/workflows/{workflow}/delete")
        self._http.close()

    def post(
        self, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """POST a body as JSON; None sends none."""
        return self._http.post(path, json=body, headers=headers)

    def upload(self, name: str, content: bytes) -> str:
        """Upload a file; return its id."""
        answer = self._http.post("/v1/upload_file", files={"file": (name, content)})
        uploaded: str = answer.raise_for_status().json()["file_id"]
        return uploaded

    def get(self, path: str, **query: Any) -> httpx.Response:
        """GET a path; the query's lists become repeated parameters."""
        return self._http.get(path, params=query)

    def run(self, run_id: str) -> dict[str, Any]:
        """Return what the server shows of a run."""
        shown: dict[str, Any] = self.get(f"/v1/runs/{run_id}").raise_for_status().json()
        return shown

    def listed(self, **query: Any) -> list[dict[str, Any]]:
        """Return a page of its list of runs, 100 unless the query says otherwise."""
        items: list[dict[str, Any]] = (
            self.get("/v1/runs", **{"page_size": 100, **query}).raise_for_status().json()
        )
        return items

    def workflow_runs(self) -> dict[str, dict[str, Any]]:
        """Return its list of workflow runs, by their ids; its pages have no upper bound."""
        items = self.get("/v1/workflows/runs", page_size=100_000).raise_for_status().json()
        return {item["workflow_run_id"]: item for item in items}

    def all_run_ids(self) -> set[str]:
        """Return every run of the account, by its list; at most 10,000."""
        found: set[str] = set()
        for number in range(1, 101):
            page = self.listed(page=number)
            found |= {item["run_id"] for item in page}
            if len(page) < 100:
                break
        return found

    def wait_over(self, run_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a run is over; return it."""
        return until(lambda: over(self.run(run_id)), seconds, f"{run_id} to be over")

    def workflow(
        self, title: str, parameters: Sequence[Mapping[str, Any]] = (), blocks: Any = None
    ) -> str:
        """Make a workflow, of one block that waits a second unless others are given.

        Args:
            title: its title.
            parameters: what it declares: `key`, `workflow_parameter_type`, `default_value`.
            blocks: its blocks.

        Returns:
            Its id, wpid_….
        """
        wait = {"block_type": "wait", "label": "wait", "wait_sec": 1}
        definition = {
            "parameters": [{"parameter_type": "workflow", **p} for p in parameters],
            "blocks": [wait] if blocks is None else blocks,
        }
        body = {"json_definition": {"title": title, "workflow_definition": definition}}
        made = self.post("/v1/workflows", body).raise_for_status().json()
        self._workflows.append(made["workflow_permanent_id"])
        return self._workflows[-1]

    def forget(self, run_id: str) -> None:
        """Delete a run's rows in the server's own database, which only one of ours opens to us."""
        assert self.server is not None
        with sqlite3.connect(self.server.database, timeout=60) as database:
            for table, column in _ROWS_OF_RUNS:
                database.execute(f"DELETE FROM {table} WHERE {column} = ?", (run_id,))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the server's own database, which only one of ours opens to us."""
        assert self.server is not None
        with sqlite3.connect(f"file:{self.server.database}?mode=ro", uri=True) as database:
            return database.execute(query).fetchall()


def over(run: dict[str, Any]) -> dict[str, Any] | None:
    """Return a run that is over for good, else None."""
    ended = run["status"] in {"completed", "failed", "terminated", "timed_out", "canceled"}
    return run if ended and not run.get("retry_pending") else None


@contextmanager
def open_target(folder: Path, **settings: str) -> Iterator[Target]:
    """Have the server that the environment names, or one of ours.

    SKYVERN_BASE_URL and SKYVERN_API_KEY name a server that is there (one that is not on this
    machine only with CERTIFY=1, since hundreds of runs are made on it); SKYVERN_VERSION a version
    to install; BROWSER=1 gives that the system's Chromium.

    Args:
        folder: for the state of one of ours.
        settings: further settings of one of ours.

    Raises:
        RuntimeError: the environment names a server that is not to be used, or half of one.
    """
    base_url, api_key = os.environ.get("SKYVERN_BASE_URL"), os.environ.get("SKYVERN_API_KEY")
    has_browser = os.environ.get("BROWSER") == "1"
    if base_url is None:
        version = os.environ.get("SKYVERN_VERSION") or DEFAULT_VERSION
        with skyvern_server(folder, version, browser=has_browser, **settings) as server:
            yield from _opened(server.base_url, server.api_key, server, has_browser)
        return
    if api_key is None:
        raise RuntimeError("SKYVERN_BASE_URL is set: expected its SKYVERN_API_KEY, too")
    if urlsplit(base_url).hostname not in _LOOPBACK and os.environ.get("CERTIFY") != "1":
        raise RuntimeError(
            f"SKYVERN_BASE_URL is {base_url}: these tests make hundreds of runs there, which the "
            "account pays for; set CERTIFY=1 if that is wanted"
        )
    yield from _opened(base_url.rstrip("/"), api_key, None, has_browser)


def _opened(
    base_url: str, api_key: str, server: SkyvernServer | None, has_browser: bool
) -> Iterator[Target]:
    answer = httpx.get(f"{base_url}/v1/version", timeout=30)
    version = json.loads(answer.text).get("version", "") if answer.status_code == 200 else ""
    target = Target(base_url, api_key, version, server, has_browser)
    try:
        yield target
    finally:
        target.close()
