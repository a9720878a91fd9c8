"""The rules of faults: which request gets which one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, model_validator

from simulator.model.store import Clock
from simulator.replies import Json

Route = Literal[
    "run_task",
    "run_workflow",
    "login",
    "download_files",
    "retry_run",
    "continue_run",
    "get_run",
    "list_runs",
    "cancel_run",
    "cancel_runs",
    "retry_webhook",
    "workflow_runs",
    "agent_runs",
    "workflow_run",
    "task",
    "workflows",
    "tags",
    "timeline",
    "artifacts",
    "sessions",
    "version",
    "unknown",
    "webhook",
]
ROUTES: tuple[str, ...] = get_args(Route)

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

#: The faults that replace the answer; an action holds at most one of them.
_REQUEST_ANSWERS = (
    *(None, "status", "reset", "close", "truncate", "empty200", "html200"),
    *("drip", "huge", "unavailable", "garbage"),
)
_WEBHOOK_ANSWERS = (None, "drop", "duplicate")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """The requests of a rule: those that match all given fields.

    Args:
        method: HTTP method, in capitals.
        route: the call's name; every call if left out, but no webhook.
        contains: a text in the request's body, or in a webhook's.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None
    route: Route | None = None
    contains: Annotated[str, Field(min_length=1)] | None = None


class Action(_Strict):
    """The fault: it replaces, delays or spoils the answer.

    Args:
        latency: seconds before the request is worked on.
        answer_latency: seconds between working on it and answering.
        committed: the request takes effect although its answer is spoiled. If the true answer is
        spoiled (`mid_answer`, `truncate`, `drip`, `huge`) it always does.
        status: answer with this code, and `body` (JSON, or a text as it is; none if left out),
            `content_type`, `headers`.
        reset: RST `before` the body is read, `after_body`, or `mid_answer`.
        close: FIN without an answer, the body having been read.
        truncate: `length` promises more bytes than come, `json` breaks off inside the JSON.
        empty200: 200 without a body.
        html200: 200 with a page of HTML.
        drip: bytes a second at which the true answer comes.
        huge: bytes of filler added to the true answer.
        unavailable: 503 `no_run` (No run was created, Retry-After: 5), `database` or `plain`.
        garbage: an invalid status line.
        drop: a webhook is not sent, and the server does not know it.
        duplicate: a webhook is sent twice.
    """

    latency: Seconds = 0.0
    answer_latency: Seconds = 0.0
    committed: bool = False
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: JsonValue = None
    content_type: str | None = None
    headers: dict[str, str] = {}
    reset: Literal["before", "after_body", "mid_answer"] | None = None
    close: bool = False
    truncate: Literal["length", "json"] | None = None
    empty200: bool = False
    html200: bool = False
    drip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    huge: Annotated[int, Field(gt=0)] | None = None
    unavailable: Literal["no_run", "database", "plain"] | None = None
    garbage: bool = False
    drop: bool = False
    duplicate: bool = False

    @model_validator(mode="after")
    def _at_most_one_answer(self) -> Action:
        if len(self._given()) > 1:
            raise ValueError(f"{' and '.join(self._given())} exclude each other")
        if self.status is None and (self.body is not None or self.headers or self.content_type):
            raise ValueError("body, content_type and headers need a status to go with")
        if self.committed and self.reset == "before":
            raise ValueError("a request that is not read cannot be committed")
        return self

    @property
    def answer(self) -> str | None:
        """The name of the fault that replaces the answer; None = the answer stays."""
        return next(iter(self._given()), None)

    def _given(self) -> list[str]:
        names = filter(None, (*_REQUEST_ANSWERS, *_WEBHOOK_ANSWERS))
        return [name for name in names if getattr(self, name) not in {None, False}]


class Rule(_Strict):
    """One fault and the requests it is for.

    Args:
        match: the requests.
        action: the fault.
        times: after so many hits the rule is spent.
        share: 0 to 1, the part of the matching requests that it hits.
        seconds: how long it is in force, from when it was set.
    """

    match: Match = Match()
    action: Action
    times: Annotated[int, Field(ge=1)] | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    seconds: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _webhooks_have_their_own_faults(self) -> Rule:
        kinds = _WEBHOOK_ANSWERS if self.match.route == "webhook" else _REQUEST_ANSWERS
        if self.action.answer not in kinds:
            raise ValueError(f"{self.action.answer} is no fault of the route {self.match.route}")
        return self


RULES: TypeAdapter[list[Rule]] = TypeAdapter(list[Rule])


@dataclass(slots=True)
class _Standing:
    rule: Rule
    until: float
    hits: int = 0


class Switchboard:
    """The rules in force; the first that matches a request decides.

    Args:
        seed: makes the draws of `share` the same each time.
        clock: seconds, of any origin.
    """

    def __init__(self, seed: int, clock: Clock = time.monotonic) -> None:
        self._random = Random(seed)
        self._clock = clock
        self._standing: list[_Standing] = []
        #: Whether any rule is set: the only check of a request without faults.
        self.armed = False
        #: Whether a rule reads bodies, so that they must be read before deciding.
        self.reads_bodies = False

    def add(self, rules: list[Rule]) -> None:
        """Add rules, after those in force."""
        now = self._clock()
        for rule in rules:
            until = float("inf") if rule.seconds is None else now + rule.seconds
            self._standing.append(_Standing(rule, until))
        self._note_what_stands()

    def clear(self) -> None:
        """Remove every rule."""
        self._standing.clear()
        self._note_what_stands()

    def hit(self, method: str, route: str, body: bytes) -> Action | None:
        """Choose the fault of a request, and count the hit.

        Args:
            method: HTTP method.
            route: the call's name.
            body: the request's, or empty while no rule reads bodies.
        """
        if not self.armed:
            return None
        now = self._clock()
        for standing in self._standing:
            rule = standing.rule
            spent = rule.times is not None and standing.hits >= rule.times
            if spent or now >= standing.until or not _fits(rule.match, method, route, body):
                continue
            if rule.share < 1 and self._random.random() >= rule.share:
                continue
            standing.hits += 1
            return rule.action
        return None

    def show(self) -> list[Json]:
        """Every rule as it was set, with its hits."""
        return [
            standing.rule.model_dump(exclude_unset=True) | {"hits": standing.hits}
            for standing in self._standing
        ]

    def _note_what_stands(self) -> None:
        self.armed = bool(self._standing)
        self.reads_bodies = any(item.rule.match.contains for item in self._standing)


def _fits(match: Match, method: str, route: str, body: bytes) -> bool:
    return (
        (match.method is None or match.method == method)
        and (route != "webhook" if match.route is None else match.route == route)
        and (match.contains is None or match.contains.encode() in body)
    )
