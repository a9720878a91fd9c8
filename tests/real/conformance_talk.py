"""Talking to one server and noting how it behaves."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from tests.real.conformance_compare import normalised
from tests.real.conformance_servers import Server
from tests.real.listener import Listener

_LIVE = frozenset({"created", "queued", "running", "paused"})

#: Seconds within which every run of the test is over; a hanging receiver is not among them.
_PATIENCE = 300.0


class Talk:
    """Calls one server; what is compared stands in `behaviours`, by name.

    Args:
        server: which.
        receiver: where this server's webhooks go.
    """

    def __init__(self, server: Server, receiver: Listener) -> None:
        self.behaviours: dict[str, Any] = {}
        self.receiver = receiver
        self._known = {
            server.base_url: "<server>",
            receiver.url: "<receiver>",
            receiver.url.removeprefix("http://"): "<receiver's host>",
        }
        # No connection is kept: the real server closes some under its clients, and a submission
        # that is sent again is a second run.
        self._client = httpx.Client(
            base_url=server.base_url,
            headers={"x-api-key": server.api_key},
            timeout=120,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def note(self, name: str, value: Any) -> None:
        """Keep a behaviour for the comparison.

        Args:
            name: unlike any other's.
            value: JSON; ids, times and addresses in it are put aside.
        """
        assert name not in self.behaviours, name
        self.behaviours[name] = normalised(value, self._known)

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send one request, as JSON unless the headers say otherwise; bytes as they are."""
        headers = {"content-type": "application/json"} | (headers or {})
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        return self._client.request(method, path, content=content, headers=headers)

    def try_out(
        self,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Send one request, note status, headers that matter and body; gives the body."""
        answer = self.ask(method, path, body, headers=headers)
        content = json_of(answer)
        self.note(name, {"status": answer.status_code, "body": content})
        return content if answer.status_code == 200 else None

    def create_workflow(self, definition: dict[str, Any]) -> str:
        """Make a workflow; gives its `wpid_…`."""
        answer = self.ask("POST", "/v1/workflows", definition)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["workflow_permanent_id"])

    def submit(self, path: str, body: dict[str, Any]) -> str:
        """Submit a run; gives its id."""
        answer = self.ask("POST", path, body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["run_id"])

    def end_of(self, run_id: str) -> dict[str, Any]:
        """Wait until a run is over; gives what `get_run` shows then, or its refusal to."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            answer = self.ask("GET", f"/v1/runs/{run_id}")
            run: dict[str, Any] = answer.json()
            if answer.status_code != 200:
                return {"status": answer.status_code, "body": run}
            if run["status"] not in _LIVE and not run.get("retry_pending"):
                return run
            assert time.monotonic() < deadline, f"{run_id} does not end"
            time.sleep(0.05)

    def listed(self, run_id: str, *, over: bool = True) -> list[dict[str, Any]]:
        """A run's items in the list.

        Args:
            run_id: whose.
            over: wait until it is over there, too; else until it runs.
        """

        def items() -> list[dict[str, Any]]:
            found = self.ask("GET", f"/v1/runs?search_key={run_id}").json()
            own = [item for item in found if item["run_id"] == run_id]
            waits = _LIVE if over else {"created", "queued"}
            return [] if any(item["status"] in waits for item in own) else own

        found: list[dict[str, Any]] = self.until(items, f"{run_id} does not end in the list")
        return found

    def found(self, query: str) -> list[str]:
        """Ids of the runs that a query lists."""
        answer = self.ask("GET", f"/v1/runs?{query}")
        assert answer.status_code == 200, answer.text
        return [item["run_id"] for item in answer.json()]

    def until(self, holds: Any, what: str) -> Any:
        """Wait until a function gives something true; gives it."""
        deadline = time.monotonic() + _PATIENCE
        while not (result := holds()):
            assert time.monotonic() < deadline, what
            time.sleep(0.05)
        return result


def json_of(answer: httpx.Response) -> Any:
    """An answer's JSON, or its text where it is none."""
    try:
        return answer.json()
    except ValueError:
        return {"text": answer.text}
