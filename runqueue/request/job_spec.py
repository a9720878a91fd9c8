"""One job as a producer enqueues it: a line of a batch file, or a request from Python.

    {"custom_id": "order-17", "kind": "task", "body": {"prompt": "…", "max_steps": 10},
     "priority": "high", "group": "shop-a", "delay": 30, "deadline": 3600}

Checked whole, before anything is stored: `parse_line` and `JobSpec.of` raise one `InvalidJob` that
names every field at fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Unpack, cast

import orjson
from pydantic import ValidationError

from runqueue.errors import FieldError, InvalidJob
from runqueue.request.job_keys import keys_of
from runqueue.request.job_options import (
    FIELDS,
    PLAIN_FIELDS,
    EnqueueOptions,
    GivenOptions,
    Priority,
    When,
    read_custom_id,
    read_options,
    unknown_fields,
)
from runqueue.request.json_values import holds_more_values
from runqueue.request.request_checks import RequestChecks, current_checks, judged
from runqueue.request.requests import (
    KINDS,
    MODELS,
    AnyRunRequest,
    Kind,
    RunRequest,
    too_many_entries,
)
from runqueue.request.run_limits import own_limit_us
from runqueue.request.server_rules import RULED, broken_rules
from runqueue.request.validation_errors import (
    UNKNOWN_FIELD,
    body_errors,
    did_you_mean,
    got,
    holds_nan,
    json_errors,
    required,
    size_words,
)

__all__ = ["MAX_PAYLOAD_BYTES", "JobSpec", "Kind", "Priority", "When", "parse_line"]

#: Largest body, in bytes of compact JSON.
MAX_PAYLOAD_BYTES: Final = 1_048_576

# A line may spell a character in six bytes ("\u0041"); past that it cannot hold a legal body.
_MAX_LINE_BYTES = 8 * MAX_PAYLOAD_BYTES
# The largest body has no more: 350,000 of the smallest, `[],`, which count twice. Parsed, more take
# hundreds of megabytes.
_MAX_VALUES = 700_000
_MAX_ERRORS = 20
_MODELS: dict[object, type[RunRequest]] = dict(MODELS.items())
_KIND_WORDS = '"task", "workflow", "login" or "download_files"'
#: Where requests of each kind say after how many steps their runs are stopped.
_MAX_STEPS = ("max_steps", "max_steps_override", "max_steps_per_run")
_FILES_ONCE = FieldError(
    "retry", "expected no retry beside file_ids: Skyvern deletes a file when its run is over"
)
# How this orjson writes a float's exponent: "1e+300" or "1e300".
_EXPONENT = b"e+" if b"e+" in orjson.dumps(1e300) else b"e"
# What orjson would write in its own format is left to the caller, who knows what it should be.
_DUMP = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


@dataclass(slots=True)
class JobSpec(GivenOptions):
    """A job that passed every check; made by `parse_line` or `JobSpec.of`, then only read.

    Its options are those of `GivenOptions`.

    Args:
        kind: what the body requests: `task`, `workflow`, `login` or `download_files`.
        body: the fields that were given, in the caller's order.
        canonical: the body as compact JSON with sorted keys, taken when it was checked; its digest
            decides "same body".
        custom_id: the caller's name for the job, its idempotency key; None if it has none.
        files: uploaded files that it holds: each serves one run, so no other job may name them.
    """

    kind: Kind
    body: dict[str, Any] = field(repr=False)
    canonical: bytes = field(repr=False)
    custom_id: str | None = None
    files: tuple[str, ...] = ()

    @property
    def all_keys(self) -> str:
        """Those that it names and those that follow from the request, with spaces between."""
        return keys_of(self.keys, self.kind, self.body)

    @property
    def max_steps(self) -> int | None:
        """Steps after which Skyvern stops its run; None = the request names none."""
        steps = next((self.body[name] for name in _MAX_STEPS if self.body.get(name)), None)
        return None if steps is None else int(steps)

    @property
    def max_run_us(self) -> int:
        """The longest that its run may take, microseconds; 0 = the account's limit."""
        return own_limit_us(self.max_run_seconds, self.body)

    @property
    def request(self) -> AnyRunRequest:
        """Build the request object; made anew each time, since enqueuing never needs it."""
        return cast(AnyRunRequest, MODELS[self.kind].model_validate(self.body))

    @classmethod
    def of(
        cls,
        request: AnyRunRequest,
        *,
        checks: RequestChecks | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> JobSpec:
        """Make a job of a request object.

        Args:
            request: the request to Skyvern.
            checks: what becomes of values that Skyvern is known not to take; None = this process's
                setting (`current_checks`).
            options: see `EnqueueOptions`.

        Raises:
            InvalidJob: an option, or a value inside the request, cannot be accepted.
        """
        if unknown := options.keys() - EnqueueOptions.__annotations__.keys():
            raise TypeError(f"got an unexpected keyword argument {min(unknown)!r}")
        if not isinstance(cast(object, request), RunRequest):
            raise TypeError(
                f"expected a run request, such as TaskRunRequest, got {type(request).__name__};"
                " a batch file's line goes to enqueue_many"
            )
        body = request.model_dump(exclude_unset=True)
        line: dict[str, Any] = {"kind": request.kind, "body": body, **options}
        line["custom_id"] = line.pop("idempotency_key", None)
        return _check(line, id_field="idempotency_key", checks=checks)


def parse_line(
    raw: bytes | str | Mapping[str, Any],
    account: str = "default",
    checks: RequestChecks | None = None,
) -> JobSpec:
    """Check one line of a batch file, as JSON text or already parsed.

    Args:
        raw: the line.
        account: whose it is if it does not say so itself.
        checks: what becomes of unknown fields of the body, and of values that Skyvern is known not
            to take; None = this process's setting (`current_checks`).

    Raises:
        InvalidJob: with every field at fault; the field `line` means the line as a whole.
    """
    if not isinstance(raw, (bytes, bytearray, str)):
        return _check(raw, account=account, checks=checks)
    spec = _check(_decode(raw), account=account, checks=checks)
    # orjson reads an integer over 64 bits as a float, and writes that with an exponent.
    if _EXPONENT in spec.canonical:
        _refuse(list(json_errors(json.loads(raw)["body"], "body")))
    return spec


def _decode(raw: bytes | str) -> object:
    if len(raw) > _MAX_LINE_BYTES:
        words = f"expected at most {size_words(_MAX_LINE_BYTES)}, got {size_words(len(raw))}"
        _refuse([FieldError("line", words)])
    if holds_more_values(raw, _MAX_VALUES):
        _refuse(
            [FieldError("line", f"expected at most {_MAX_VALUES:,} values and names of fields")]
        )
    try:
        return orjson.loads(raw)
    except json.JSONDecodeError as error:
        # Text that is not UTF-8 has no column.
        wrong = _not_utf_8(raw) or (
            f"an escape of half of a surrogate pair at column {error.colno}"
            if "surrogate" in error.msg
            else f"something else at column {error.colno}: {error.msg}"
        )
        message = f"expected JSON, got {wrong}"
        raise InvalidJob([FieldError("line", message)]) from None


def _not_utf_8(raw: bytes | str) -> str:
    """Return what of a line is not UTF-8; '' = all is."""
    try:
        if isinstance(raw, str):
            raw.encode()
        else:
            raw.decode()
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is no UTF-8"
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} at byte {error.start + 1}, which is no UTF-8"
    return ""


def _check(
    line: object,
    id_field: str = "custom_id",
    account: str = "default",
    checks: RequestChecks | None = None,
) -> JobSpec:
    """Turn a parsed line into a job; `id_field` is what the caller calls the custom_id."""
    if type(line) is not dict:  # a dict is by far the most common, and this test the cheapest
        if not isinstance(line, Mapping):
            raise InvalidJob([FieldError("line", f"expected an object, got {got(line)}")])
        line = dict(line)
    errors: list[FieldError] = []
    is_plain = PLAIN_FIELDS.issuperset(line)
    if not is_plain and not FIELDS.issuperset(line):
        errors += unknown_fields(line, _MODELS.values())
    custom_id = read_custom_id(line, id_field, errors)
    body, canonical = _checked_body(line, errors, checks)
    options = {} if is_plain else read_options(line, errors)
    if body.get("file_ids") and line.get("retry") is not None:
        errors += judged(line["kind"], [_FILES_ONCE], checks)
    if errors:
        _refuse(errors)
    # The kind as we write it, also where it was given as some enum of the caller's.
    spec = JobSpec(_MODELS[line["kind"]].kind, body, canonical, custom_id, **options)
    if line.get("account") is None:
        spec.account = account
    if body.get("file_ids") and (checks or current_checks()) is RequestChecks.REFUSE:
        spec.files = tuple(dict.fromkeys(body["file_ids"]))
    return spec


def _refuse(errors: list[FieldError]) -> None:
    """Raise if there is anything to refuse; a body of a thousand typos is not listed whole."""
    if len(errors) > _MAX_ERRORS:
        # Of very many fields at fault not all are searched for.
        more = FieldError("line", f"at least {len(errors) - _MAX_ERRORS} more fields are at fault")
        raise InvalidJob([*errors[:_MAX_ERRORS], more])
    if errors:
        raise InvalidJob(errors)


def _checked_body(
    line: dict[Any, Any], errors: list[FieldError], checks: RequestChecks | None
) -> tuple[dict[str, Any], bytes]:
    """Check the body against its kind; returns a copy, which a caller's next line cannot change."""
    kind, body = line.get("kind"), line.get("body")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        hint = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        expected = f"expected {_KIND_WORDS}"
        said = f"{expected}, got {got(kind)}{hint}" if "kind" in line else required(expected)
        errors.append(FieldError("kind", said))
    if not isinstance(body, (dict, Mapping)):  # of the two, dict is the cheaper question
        expected = "expected an object of run request fields"
        is_there = "body" in line
        said = f"{expected}, got {got(body, show=False)}" if is_there else required(expected)
        errors.append(FieldError("body", said))
    if model is None or not isinstance(body, (dict, Mapping)):
        return {}, b""
    body = dict(body)
    if wrong := too_many_entries(body):
        errors += wrong
        return {}, b""
    canonical = _canonical(model, body, errors, checks)
    if canonical and (b"null" in canonical or not RULED.isdisjoint(body)):
        errors += judged(model.kind, broken_rules(model.kind, body), checks)
    if len(canonical) > MAX_PAYLOAD_BYTES:
        most, size = size_words(MAX_PAYLOAD_BYTES), size_words(len(canonical))
        said = f"expected at most {most} of JSON, got {size}"
        errors.append(FieldError("body", said))
    elif b"null" in canonical and holds_nan(body):  # orjson writes NaN and Infinity as null
        errors += json_errors(body, "body")
    return body, canonical


def _canonical(
    model: type[RunRequest],
    body: dict[Any, Any],
    errors: list[FieldError],
    checks: RequestChecks | None,
) -> bytes:
    """Return the canonical form of a body, or say what is wrong with it."""
    try:
        try:
            model.__pydantic_validator__.validate_python(body)
        except ValidationError as refusal:
            if faults := _faults(model, body, refusal, checks):
                errors += faults
                return b""
        return orjson.dumps(body, option=_DUMP)
    except TypeError as refusal:  # orjson's; it does not say where
        # A few are enough; a structure that holds itself twice over would never come to an end.
        found = list(islice(json_errors(body, "body"), _MAX_ERRORS))
        errors += found or [FieldError("body", f"expected JSON values: {refusal}")]
    return b""


def _faults(
    model: type[RunRequest],
    body: dict[Any, Any],
    refusal: ValidationError,
    checks: RequestChecks | None,
) -> list[FieldError]:
    """Say what is wrong with a body; nothing if the checks let its only faults, fields, pass."""
    found = body_errors(model, MODELS, FIELDS, body, refusal)
    unknown = [fault for fault in found if fault.message.startswith(UNKNOWN_FIELD)]
    if not unknown or judged(model.kind, unknown, checks):
        return found
    known = {name: value for name, value in body.items() if name in model.model_fields}
    try:
        model.__pydantic_validator__.validate_python(known)
    except ValidationError as other:
        return body_errors(model, MODELS, FIELDS, known, other)
    return []
