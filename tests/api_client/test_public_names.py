"""What the package offers by name, and what its errors are to each other."""

import inspect
import pickle
import re
from typing import Any

import pytest

import api_client
from api_client import SkyvernError, errors
from api_client.answers.parsing import parse_run

ANSWER: dict[str, Any] = {"status_code": 429, "body": {"detail": ["a"]}, "headers": {"X-A": "b"}}
ERRORS: list[SkyvernError] = [
    errors.ApiError("words", **ANSWER),
    errors.ApiError(status_code=418),
    errors.BadRequestError("words", **ANSWER),
    errors.ForbiddenError("words", **ANSWER),
    errors.NotFoundError("words", **ANSWER),
    errors.ConflictError("words", **ANSWER),
    errors.UnprocessableEntityError("words", **ANSWER),
    errors.RateLimitError("words", **ANSWER, retry_after=5.0),
    errors.ServerError("words", **ANSWER, retry_after=None),
    errors.NotSentError("words"),
    errors.LocalLimitError("words"),
    errors.AnswerLostError("words"),
    errors.BodyTooLargeError("words"),
    errors.NotSupported("words"),
    errors.NotSupported("words", is_certain=False),
    errors.WaitTimeoutError(
        "words", parse_run({"run_id": "tsk_1", "status": "running", "new": [1]})
    ),
    errors.WaitTimeoutError("words"),
]


def test_the_public_names_are_there() -> None:
    assert all(hasattr(api_client, name) for name in api_client.__all__)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_travels_to_another_process_whole(error: SkyvernError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.args, copy.__dict__) == (str(error), error.args, error.__dict__)


def test_each_public_error_is_made_here_and_drawn_in_the_tree() -> None:
    public = {
        name: value
        for name, value in vars(api_client).items()
        if inspect.isclass(value) and issubclass(value, SkyvernError)
    }
    assert {type(error) for error in ERRORS} | {SkyvernError} == set(public.values())
    assert set(public) <= set(api_client.__all__)
    assert errors.__doc__ is not None
    assert set(_parents(errors.__doc__)) == set(public)


def _parents(drawing: str) -> dict[str, str]:
    """Read a drawn tree: each name, and the name it hangs under ("" for the root)."""
    path: list[str] = []
    parents: dict[str, str] = {}
    for line in drawing.splitlines():
        found = re.match(r"((?:│   |    )*(?:[├└]── )?)([A-Z]\w+)(?:   |$)", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            parents[found[2]] = path[depth - 1] if depth else ""
    return parents
