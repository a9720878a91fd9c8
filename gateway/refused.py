"""What raises a problem of the gateway's own."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException

from runqueue.problem_types import ProblemType


class Refused(HTTPException):
    """A request is refused.

    Args:
        kind: the type of the problem.
        detail: what is wrong.
        headers: of the answer.
        members: what else the problem has.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: str,
    ) -> None:
        super().__init__(kind.status, detail, headers)
        self.kind = kind
        self.members = members
