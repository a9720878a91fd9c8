"""What is stored of a job: its rows, made of what Redis has of it."""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from archive.errors import ErrorKind, generic
from archive.tables import HOUR_US
from runqueue.records.job import Job, JobState, parse_result, read_job
from runqueue.store import codec, compression, pack_calls

#: Words that a job is found by, at most, and letters of one.
MOST_WORDS, LONGEST_WORD = 400, 60
_WORD: Final = re.compile(r"[^\W_]+")
#: Fields of a request, and values of a job, that it is found by.
_SEARCHED: Final = ("prompt", "title", "url", "navigation_goal")
#: Characters of each that are read for words.
_READ: Final = 20_000
#: The buckets of durations: 2^(k/2) seconds and more, up to 90 days.
LEAST_BUCKET, _MOST_BUCKET = -8, 46
_FAILED: Final = {JobState.FAILED, JobState.DEAD}
#: What of a row is summed, beside jobs.
AMOUNTS: Final = ("steps", "credits", "cached_credits")

#: The key of a sum: account, dimension, value, hour, measure; see `tables.sums`.
SumKey = tuple[str, str, str, int, str]


class EndedJob(NamedTuple):
    """A job that is over, as Redis has it.

    Args:
        record: the fields of its record.
        body: its envelope and its request, packed or plain.
        result: its last run's answer, packed or plain; b"" = none, or it is packed in the body.
        batch_metadata: its batch's entries, which count for it unless it has its own.
        is_final: whether no more of it is to come: its webhook is settled, and its costs are read.
    """

    account: str
    id: str
    record: Mapping[str, bytes]
    body: bytes
    result: bytes
    batch_metadata: Mapping[str, str] = {}
    is_final: bool = True


class Rows(NamedTuple):
    """The rows of a job, whose key is not known yet.

    Args:
        job, document: its rows of `jobs` and `documents`.
        words: those of `words`.
        labels: names and values.
        error: the group of errors that it belongs to.
    """

    ended_us: int
    job: dict[str, Any]
    document: tuple[bytes, bytes, bytes | None]
    words: str
    labels: list[tuple[str, str]]
    error: ErrorKind | None


def rows_of(ended: EndedJob) -> Rows:
    """Return a job's rows.

    Raises:
        ValueError, KeyError, TypeError: its record cannot be read.
    """
    ended_us = int(ended.record["ended"])
    job = job_of(ended.account, ended.id, ended.record, ended.body, ended.result)
    request = _request(ended.body)
    error = None
    if job.state in _FAILED:
        error = ErrorKind(
            job.account,
            clean(job.failure_category or "", 80),
            generic(clean(job.failure_reason or "", _READ)),
        )
    row = {
        "id": job.id,
        "account": job.account,
        "state": job.state.value,
        "job_group": job.group,
        "batch": job.batch,
        "workflow": job.workflow and clean(job.workflow, 200),
        "error": error and error.id,
        "created_us": int(ended.record["created"]),
        "started_us": int(ended.record["started"]) if "started" in ended.record else None,
        **{name: getattr(job.usage, name) for name in AMOUNTS},
        "is_final": int(ended.is_final),
    }
    document = (stored_record(ended.record), *_packed(ended, ended_us))
    texts = [request.get(name) for name in _SEARCHED]
    words = words_of([job.custom_id, job.failure_reason, *texts])
    return Rows(ended_us, row, document, words, _labels(ended), error)


def job_of(
    account: str, job_id: str, record: Mapping[str, bytes], body: bytes, result: bytes
) -> Job:
    """Return a job as it was when it ended.

    Args:
        account, job_id, record, body, result: as in `EndedJob`, from Redis or from the archive.

    Raises:
        ValueError, KeyError, TypeError: its record cannot be read.
    """
    line, _, rest = body.partition(b"\n")
    stored = result or (rest if compression.is_packed(rest) else b"")
    found = compression.result_of(stored, int(record["ended"]))
    envelope = codec.read_envelope(line)
    return read_job(account, job_id, record, envelope, result=parse_result(found))


def _request(body: bytes) -> dict[str, Any]:
    try:
        return codec.read_request(body)[1]
    except (ValueError, KeyError):
        return {}  # it was dropped, or is broken: the job is found by the rest


def _packed(ended: EndedJob, ended_us: int) -> tuple[bytes, bytes | None]:
    """Return the columns of the body and the result, as small as Redis has them later."""
    job = pack_calls.PlainJob(ended.id, ended_us, ended.body, ended.result)
    rest = ended.body.partition(b"\n")[2]
    packed = None if compression.is_packed(rest) else pack_calls.packed(job)
    if packed is None:
        return ended.body, ended.result or None
    return packed.body, packed.result or None


def stored_record(record: Mapping[str, bytes]) -> bytes:
    """Return a record as it is stored: as plain JSON, which lists read by the hundred."""
    # Latin-1 has a character for each byte: a field may hold what is no UTF-8.
    texts = {name: value.decode("latin-1") for name, value in record.items()}
    return orjson.dumps(texts)


def unpacked_record(stored: bytes) -> dict[str, bytes]:
    """Return a record that was stored, as Redis had it."""
    texts = orjson.loads(stored)
    return {name: value.encode("latin-1") for name, value in texts.items()}


def _labels(ended: EndedJob) -> list[tuple[str, str]]:
    own = ended.record.get("metadata")
    metadata = dict(ended.batch_metadata) | (orjson.loads(own) if own else {})
    return [(f"metadata.{name}", clean(str(value), 256)) for name, value in metadata.items()]


def clean(text: str, most: int) -> str:
    """Return a text as each database takes it: no NUL, no half of a surrogate pair, cut off."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()[:most]


def words_of(texts: list[str | None]) -> str:
    """Return the words of texts, each once: letters and digits, in lower case, without accents."""
    found: dict[str, None] = {}
    for text in texts:
        if isinstance(text, str):
            plain = unicodedata.normalize("NFKD", text[:_READ]).casefold()
            if not plain.isascii():
                plain = "".join(c for c in plain if not unicodedata.combining(c))
            found.update(dict.fromkeys(word[:LONGEST_WORD] for word in _WORD.findall(plain)))
    return " ".join(list(found)[:MOST_WORDS])


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration: k, for 2^(k/2) seconds and more."""
    if seconds <= 0:
        return LEAST_BUCKET
    return max(LEAST_BUCKET, min(_MOST_BUCKET, math.floor(2 * math.log2(seconds))))


def sums_of(row: Mapping[str, Any], ended_us: int) -> Iterator[tuple[SumKey, int]]:
    """Yield what a job adds to sums.

    Args:
        row: of `jobs`.
        ended_us: when it ended.
    """
    amounts = {row["state"]: 1} | {name: row[name] for name in AMOUNTS if row[name]}
    if (started := row["started_us"]) is not None:
        amounts[f"waited:{bucket_of((started - row['created_us']) / 1e6)}"] = 1
        amounts[f"ran:{bucket_of((ended_us - started) / 1e6)}"] = 1
    dimensions = {"group": row["job_group"], "workflow": row["workflow"], "batch": row["batch"]}
    for dimension, value in {"": "", **dimensions}.items():
        if value is not None:
            key = (row["account"], dimension, value, ended_us // HOUR_US)
            yield from (((*key, measure), amount) for measure, amount in amounts.items())
