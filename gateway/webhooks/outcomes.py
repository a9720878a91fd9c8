"""The outcomes of a webhook, and the answer to each.

Skyvern tries again on a 5xx (and on some 4xx), and gives up on a 400, 404, 409, 413 and 422.
"""

from typing import Final

import orjson
from starlette.responses import Response

from gateway.http.problems import AWAY, NOTHING_HERE, problem
from gateway.metrics import WebhookOutcome
from runqueue.errors import FieldError
from runqueue.problem_types import ProblemType

#: Expected outcomes: all others are logged.
QUIET: Final = frozenset(
    {WebhookOutcome.ENDED, WebhookOutcome.NOTED, WebhookOutcome.DUPLICATE, WebhookOutcome.RETRIED}
)


class WebhookRefused(Exception):  # noqa: N818 - it refuses a webhook, which is no error of ours
    """A webhook is refused; holds its outcome."""

    def __init__(self, outcome: WebhookOutcome) -> None:
        self.outcome = outcome
        super().__init__(outcome)


def _taken(outcome: WebhookOutcome) -> Response:
    return Response(orjson.dumps({"verdict": outcome}), media_type="application/json")


_UNREADABLE: Final = FieldError("body", "expected a JSON object with the run's run_id and status")
#: Made once: each is the same whatever was wrong in particular.
ANSWERS: Final = {
    **{outcome: _taken(outcome) for outcome in (*QUIET, WebhookOutcome.ORPHAN)},
    WebhookOutcome.OTHER: problem(ProblemType.RUN_MISMATCH, "the run is another job's"),
    WebhookOutcome.UNKNOWN: problem(ProblemType.ADDRESS_NOT_FOUND, NOTHING_HERE),
    WebhookOutcome.BAD_ADDRESS: problem(ProblemType.ADDRESS_NOT_FOUND, NOTHING_HERE),
    WebhookOutcome.BAD_SIGNATURE: problem(
        ProblemType.WRONG_SIGNATURE,
        "expected x-skyvern-signature to be the body's, made with the account's API key",
    ),
    WebhookOutcome.TOO_LARGE: problem(
        ProblemType.BODY_TOO_LARGE, "expected a body of 8 MiB and 250,000 values at most"
    ),
    WebhookOutcome.UNREADABLE: problem(
        ProblemType.INVALID_REQUEST, _UNREADABLE.message, [_UNREADABLE]
    ),
    WebhookOutcome.MISMATCH: problem(
        ProblemType.RUN_MISMATCH, "the run was submitted for another attempt than this address"
    ),
    WebhookOutcome.UNAVAILABLE: problem(ProblemType.QUEUE_UNAVAILABLE, AWAY),
}
