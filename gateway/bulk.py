"""Reading many jobs from one body; it runs beside the event loop."""

import json
import re
from typing import Any, Final

import orjson

from gateway.content import too_large
from gateway.problems import Fault, FieldsRefused, faults_of
from runqueue.errors import FieldError, InvalidJob
from runqueue.spec import JobSpec, parse_line

#: Jobs, and bytes of them, in one body; a batch takes any number.
MAX_JOBS: Final = 10_000
MAX_BYTES: Final = 32 * 1024 * 1024
#: Faults that are told of one body.
MAX_FAULTS: Final = 100
#: Digits of an integer over 64 bits, which orjson reads as a float without a word.
_LONG_NUMBER = re.compile(rb"[0-9]{19}")


def read_jobs(raw: bytes, account: str) -> list[JobSpec]:
    """Check every job of a body.

    Args:
        raw: the body.
        account: whose jobs those are that do not say so themselves.

    Raises:
        FieldsRefused: fields are wrong, named `[index].field`.
        HTTPException: there are too many jobs.
    """
    jobs = _jobs(_parsed(raw))
    if len(jobs) > MAX_JOBS:
        raise too_large(f"expected at most {MAX_JOBS:,} jobs; POST /v1/batches takes any number")
    specs: list[JobSpec] = []
    faults: list[Fault] = []
    for index, job in enumerate(jobs):
        try:
            specs.append(_checked(job, account))
        except InvalidJob as error:
            faults += faults_of(error.errors, f"[{index}].")
            if len(faults) >= MAX_FAULTS:
                break
    if faults:
        raise FieldsRefused(*faults[:MAX_FAULTS])
    return specs


def _parsed(raw: bytes) -> Any:
    try:
        parsed = orjson.loads(raw)
        # Python's own reader keeps such a number whole, so that the check can name its field.
        return json.loads(raw) if _LONG_NUMBER.search(raw) else parsed
    except (ValueError, RecursionError):
        raise FieldsRefused(Fault("body", "expected JSON")) from None


def _jobs(parsed: Any) -> list[Any]:
    if isinstance(parsed, dict) and parsed.keys() == {"jobs"}:
        parsed = parsed["jobs"]
    if not isinstance(parsed, list) or not parsed:
        words = f"expected an array of 1 to {MAX_JOBS:,} jobs, or an object with one"
        raise FieldsRefused(Fault("jobs", words))
    return parsed


def _checked(job: Any, account: str) -> JobSpec:
    if not isinstance(job, dict):
        raise InvalidJob([FieldError("line", "expected an object")])
    return parse_line(job, account)
