"""The network on the way to Skyvern: the faults of a plan, and a proxy that changes answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from api_client.errors import AnswerLostError, SkyvernError
from api_client.http.messages import HttpAnswer, Request
from simulation.processes import SimulatedProcess
from simulator.model.runs import Run
from simulator.model.store import Store

#: Makes an answer with today's date: status, body, content type.
Answer = Callable[[int, bytes, str], HttpAnswer]

#: The names of calls, or their beginnings.
LIST, READ, SUBMIT = "GET /v1/runs", "GET /v1/runs/", "POST /v1/run/"
_HTML = b"<html><body><h1>Bad Gateway</h1></body></html>"
#: What comes in place of an answer whose call took effect: status, body, content type.
_SPOILED = (
    (502, _HTML, "text/html"),
    (503, _HTML, "text/html"),
    (504, _HTML, "text/html"),
    (500, b'{"detail":"Internal Server Error"}', "application/json"),
    (503, b'{"error":"Database temporarily unavailable"}', "application/json"),
    (200, b"<html><body>Please wait</body></html>", "text/html"),
    (200, b"", "application/json"),
    (404, b"", "application/json"),
    # A check within the server, which came after the run was made.
    (422, b'{"detail":"The webhook of the run could not be prepared"}', "application/json"),
)


@dataclass(slots=True)
class NetworkFaults:
    """What happens to calls on the way, as shares of them; changed by the faults of a plan."""

    #: The connection is refused.
    refused: float = 0.0
    #: The request is lost after it was written; it has no effect.
    lost: float = 0.0
    #: It takes effect, and the answer is lost.
    unanswered: float = 0.0
    #: The client is cut off, and the effect comes later.
    late: float = 0.0
    #: The answer breaks off, or is no JSON.
    garbled: float = 0.0
    #: A call takes effect, and something else answers: a proxy, or a check further within.
    spoiled: float = 0.0
    #: An answer is not waited for, and comes to the client's next call of that kind.
    mixed: float = 0.0
    #: A 500, without an effect; a 503; a 429.
    failing: float = 0.0
    unavailable: float = 0.0
    limited: float = 0.0
    #: Whether a 429 names a time to wait.
    asks_to_wait: bool = True
    #: A 500 to reads of single runs; to lists.
    unreadable: float = 0.0
    unlistable: float = 0.0
    #: The first page of which lists fail.
    unlistable_from: int = 1
    #: Whether cancels fail, without an effect.
    no_cancels: bool = False
    #: Whether the key is refused.
    no_key: bool = False
    #: Seconds that an answer takes longer; that an effect takes longer at most.
    slowness: float = 0.0
    delay: float = 0.0
    #: Seconds that the model takes at most which finds the address of a task without one.
    model_delay: float = 0.0
    #: Runs on a page of the list at most; 0 = as many as requested.
    page_size: int = 0
    #: Lists show the runs as they were then, unix seconds; 0 = as they are.
    listed_at: float = 0.0
    #: Whether a cache on the way answers lists.
    cached: bool = False
    #: Webhooks that are dropped; that are sent twice.
    dropped: float = 0.0
    doubled: float = 0.0
    #: Seconds by which such an effect is late at most.
    lateness: float = 50.0


class FaultyProxy:
    """A proxy on the way, which may keep answers and mix them up.

    Args:
        faults: what it does.
        chance: which answers meet a fault.
        faults_met: counts them.
        answer: makes an answer of its own.
    """

    def __init__(
        self, faults: NetworkFaults, chance: Random, faults_met: Counter[str], answer: Answer
    ) -> None:
        self._faults = faults
        self._chance = chance
        self._met = faults_met
        self._answer = answer
        #: Answers that come to a client's next call of the same kind.
        self._late: dict[tuple[SimulatedProcess, str], HttpAnswer] = {}
        #: What clients got answers to: the kind of call, and whether it carried a marker. A client
        #: recognises the answer to another call only once it has seen such an answer.
        self._seen: set[tuple[SimulatedProcess, str, bool]] = set()
        self._cache: dict[str, HttpAnswer] = {}

    def cached(self, request: Request) -> HttpAnswer | None:
        """Return the answer to a list that is in the cache."""
        if not self._faults.cached:
            self._cache.clear()
            return None
        found = self._cache.get(request.url) if request.name == LIST else None
        if found is not None:
            self._met["call: a list from a cache"] += 1
        return found

    def passed_on(
        self, client: SimulatedProcess, request: Request, answer: HttpAnswer
    ) -> HttpAnswer | SkyvernError:
        """Return what a client gets of an answer.

        One that it does not wait for may come to its next call of that kind, and so on.
        """
        if self._chance.random() < self._faults.spoiled:
            self._met["call: another answer in its place"] += 1
            return self._answer(*self._chance.choice(_SPOILED))
        if self._faults.cached and request.name == LIST and answer.is_success:
            self._cache[request.url] = answer
        key = client, _kind(request)
        seen = *key, b"rq_job" in request.content or b"[rq:" in request.content
        if seen not in self._seen:
            self._seen.add(seen)
            return answer
        late = self._late.pop(key, None)
        if late is not None:
            self._met["call: the answer of the call before"] += 1
            self._late[key] = answer
            return late
        if key[1] and self._chance.random() < self._faults.mixed:
            self._late[key] = answer
            return AnswerLostError("the connection broke")
        return answer

    def forget(self, client: SimulatedProcess) -> None:
        """Close a client's connections: what was on its way over them comes no more."""
        for key in [key for key in self._late if key[0] is client]:
            del self._late[key]


def _kind(request: Request) -> str:
    """Return which kind of call it is, of those whose answers show whose they are; '' = none."""
    name = request.name
    if name.startswith(SUBMIT):
        return "" if name.endswith("/login") else name
    return "GET" if name.startswith(READ) else ""


class StoreAsItWas(Store):
    """The runs as a list that stands still shows them.

    Args:
        store: the runs.
        at: since when, unix seconds.
    """

    def __init__(self, store: Store, at: float) -> None:
        # Nothing of the store but these two reads is used.
        self._of = store
        self._at = at

    def newest_first(self) -> Iterator[Run]:
        """Every run that had been made by then."""
        return (run for run in self._of.newest_first() if run.created <= self._at)

    def live_newest_first(self) -> Iterator[Run]:
        """Those that were not over."""
        return (run for run in self.newest_first() if not run.is_over(self._at))


class StoreWithoutWorkflows(Store):
    """The runs as a list without those of workflows shows them.

    Args:
        store: the runs.
    """

    def __init__(self, store: Store) -> None:
        self._of = store

    def newest_first(self) -> Iterator[Run]:
        """Every other run."""
        return (run for run in self._of.newest_first() if not _is_of_a_workflow(run))

    def live_newest_first(self) -> Iterator[Run]:
        """Those that are not over."""
        return (run for run in self._of.live_newest_first() if not _is_of_a_workflow(run))


def _is_of_a_workflow(run: Run) -> bool:
    return run.submission.run_type == "workflow_run"
