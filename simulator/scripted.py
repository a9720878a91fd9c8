"""A simulated account without a web server, which does with each submission what a test says."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from simulator.api import RunApi
from simulator.delivery import DeliveryAttempt, WebhookSender, signed_headers
from simulator.direct import answer_of, find_call
from simulator.faults import Switchboard
from simulator.model.options import Options
from simulator.model.plan import SIMULATED, Plan
from simulator.model.releases import RELEASES
from simulator.model.runs import Run
from simulator.model.store import Clock, Store
from simulator.replies import RefusedError
from simulator.webhooks import Webhooks

NOTHING: Mapping[str, Any] = {}
#: Sends a webhook (URL, body, headers), and returns the status of the answer.
Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]

BadEnd = Literal["failed", "terminated", "timed_out"]


class ScriptedOutcome(NamedTuple):
    """What becomes of one submission.

    Args:
        plan: of its run; None = there is none.
        refusal: the status of the answer and its words; None = it is accepted.
        retry_after: seconds that a refusal asks to wait.
        is_lost: whether the answer is lost.
    """

    plan: Plan | None = Plan("completed", 0.0)
    refusal: tuple[int, str] | None = None
    retry_after: int | None = None
    is_lost: bool = False


class RecordedSubmission(NamedTuple):
    """One submission: which job's, the path of the call, the body as sent, what became of it."""

    job_id: str
    path: str
    body: dict[str, Any]
    outcome: ScriptedOutcome


class OutcomeScript:
    """What becomes of submissions, one after the other; the last outcome is repeated."""

    def __init__(self) -> None:
        self._outcomes: list[ScriptedOutcome] = []
        self._next = 0

    def completes(self, output: object = SIMULATED) -> Self:
        """Have the run complete.

        Args:
            output: what it brings; by default a text that names the run.
        """
        return self._then(ScriptedOutcome(Plan("completed", 0.0, output=output)))

    def fails(self, reason: str = "", *, status: BadEnd = "failed") -> Self:
        """Have the run end badly.

        Args:
            reason: why, as Skyvern says it.
            status: how.

        Raises:
            ValueError: the status is that of no bad end.
        """
        if status not in get_args(BadEnd):
            raise ValueError(f"status: expected {', '.join(get_args(BadEnd))}, got {status!r}")
        return self._then(ScriptedOutcome(Plan(status, 0.0, reason=reason)))

    def never_ends(self) -> Self:
        """Have the run work until it is canceled."""
        return self._then(ScriptedOutcome(Plan("never", 0.0)))

    def loses_the_answer(self, output: object = SIMULATED, *, makes_a_run: bool = True) -> Self:
        """Have the connection break before the submission is answered.

        Args:
            output: what the run brings.
            makes_a_run: whether the submission arrived; its run completes.
        """
        plan = Plan("completed", 0.0, output=output) if makes_a_run else None
        return self._then(ScriptedOutcome(plan, is_lost=True))

    def refuses(
        self, status: int, reason: str = "refused", *, retry_after: int | None = None
    ) -> Self:
        """Have the submission refused, without a run.

        Args:
            status: of the answer, such as 429 or 422.
            reason: the answer's words.
            retry_after: seconds to wait, which the answer names.

        Raises:
            ValueError: the status is that of no refusal.
        """
        if not 400 <= status < 600:
            raise ValueError(f"status: expected 400 to 599, got {status}")
        return self._then(ScriptedOutcome(None, (status, reason), retry_after))

    def _then(self, outcome: ScriptedOutcome) -> Self:
        self._outcomes.append(outcome)
        return self

    def next_outcome(self) -> ScriptedOutcome:
        """Return what becomes of the next submission."""
        self._next = min(self._next + 1, len(self._outcomes))
        return self._outcomes[self._next - 1] if self._outcomes else ScriptedOutcome()


class ScriptedSkyvern:
    """The account: runs take no time, and complete unless a script says otherwise.

    Args:
        clock: unix seconds.
        fits: says whether a job is one that `on` means.
    """

    #: What webhooks are signed with: the account's key, and the secret of standard-webhooks.
    api_key: ClassVar[str] = "skyvern-key-for-tests"
    webhook_secret: ClassVar[str] = "whsec_" + "dGVzdHMg" * 4

    def __init__(self, clock: Clock, fits: Callable[..., bool]) -> None:
        #: What it was sent, in order.
        self.submissions: list[RecordedSubmission] = []
        self._clock = clock
        self._fits = fits
        self._scripts: list[tuple[dict[str, Any], OutcomeScript]] = []
        self._plan: Plan | None = None
        #: Runs whose end is not reported.
        self._unreported: list[Run] = []
        options = Options(
            api_keys=(self.api_key,), duration=0.0, session_release=0.0, any_credential=True
        )
        self._store = Store(options, clock, self._on_change)
        self._sender = _Sender()
        self._webhooks = Webhooks(
            self._sender, clock, Switchboard(0), self._store, RELEASES[options.version]
        )
        self._api = RunApi(options, self._store, self._webhooks, clock)

    def on(
        self,
        *,
        kind: str | None = None,
        group: str | None = None,
        prompt: str | None = None,
        body: Mapping[str, Any] = NOTHING,
    ) -> OutcomeScript:
        """Begin a script for submissions of jobs; of several that fit, the newest one holds.

        Args:
            kind, group, body: which jobs, as in `assert_enqueued`; None = any.
            prompt: the prompt of the request; None = any.
        """
        part = {**body} if prompt is None else {**body, "prompt": prompt}
        script = OutcomeScript()
        self._scripts.insert(0, ({"kind": kind, "group": group, "body": part}, script))
        return script

    async def answer(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes, job: Any = None
    ) -> web.Response | None:
        """Answer a request; None = the answer is lost.

        Args:
            method, url, headers, content: the request's.
            job: which one a submission is of, with its request.
        """
        outcome = ScriptedOutcome(None)
        if job is not None:
            fitting = [script for criteria, script in self._scripts if self._fits(job, **criteria)]
            outcome = fitting[0].next_outcome() if fitting else ScriptedOutcome()
            path, body = urlsplit(url).path, orjson.loads(content)
            self.submissions.append(RecordedSubmission(job.job.id, path, body, outcome))
        if job is not None and outcome.plan is None:
            if outcome.refusal is None:
                return None
            reply = _refusal(*outcome.refusal).reply()
            if outcome.retry_after is not None:
                reply.headers["retry-after"] = str(outcome.retry_after)
        else:
            self._plan = outcome.plan
            try:
                call, parsed = find_call(method, url, headers, content, (self.api_key,))
                reply = await answer_of(call, self._api, parsed)
            except RefusedError as refusal:
                reply = refusal.reply()
        reply.headers["date"] = formatdate(int(self._clock()), usegmt=True)
        return None if outcome.is_lost else reply

    async def report(self, post: Post) -> None:
        """Send the webhooks of runs that have ended."""
        self._sender.post = post
        while self._unreported:
            run = self._unreported.pop(0)
            if run.is_over(self._clock()):
                await self._webhooks.report(run)

    def _on_change(self, run: Run) -> None:
        run.plan = self._plan or run.plan
        if run.plan.end == "never":
            run.ended = math.inf
        self._unreported.append(run)


class _Sender(WebhookSender):
    """Sends webhooks by a function."""

    def __init__(self) -> None:
        self._retry_delays = ()
        self.post: Post

    async def send(self, url: str, body: bytes, api_key: str) -> DeliveryAttempt:
        """Try once."""
        headers = signed_headers(body, api_key)
        return DeliveryAttempt(headers, await self.post(url, body, headers), 0, "", None)


def _refusal(status: int, words: str) -> RefusedError:
    """Return a refusal; that of a 422 names the field, else a run might exist."""
    if status != 422:
        return RefusedError(status, words)
    fault = {"type": "value_error", "loc": ["body"], "msg": words, "input": None}
    return RefusedError(status, [fault])
