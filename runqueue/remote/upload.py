"""Uploading a batch over HTTP: compressed as it is sent, in constant memory.

An upload that breaks off is nothing, and is sent again. If all of it was sent and the answer was
lost, the batch may be there: it is sent again only if every line has a `custom_id`, since these
make no second job.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import orjson
from pydantic import TypeAdapter

from runqueue.errors import FieldError, InvalidBatch
from runqueue.producer.chunks import Handed
from runqueue.producer.upload import as_line
from runqueue.producer.upload_report import LineConflict, Uploaded
from runqueue.records.batch import NO_RULES, BatchRules
from runqueue.remote.connection import GatewayLink
from runqueue.remote.models import known_values, read_strictly
from runqueue.request.metadata import stored_metadata

_PATH = "/v1/batches"
#: Takes a batch's `callback_url`.
_CALLBACK = b"runqueue-callback-url"
_HEADERS = {b"content-type": b"application/x-ndjson", b"content-encoding": b"gzip"}
#: Packed bytes that are sent at once, and seconds after which less is: the gateway does not wait
#: for ever.
_PART, _LATEST = 64 * 1024, 5.0
#: Little is gained by compressing harder, and much time lost.
_LEVEL = 3
_GZIP = 31
_UNSURE = (
    "the answer was lost when all was sent, and not every line has a custom_id: the batch may be"
    " accepted; check (list_batches, `runqueue batch list`) before it is sent again"
)


_UPLOADED = TypeAdapter(Uploaded)


def upload(
    link: GatewayLink, lines: Iterable[Handed], query: dict[str, Any], rules: BatchRules
) -> Uploaded:
    """Upload a batch.

    Args:
        link: the connection to the gateway.
        lines: the jobs; sent a second time only if they can be gone through again.
        query: name, account, namespace, skip_invalid, metadata.
        rules: what the batch does by itself.

    Raises:
        InvalidJob: lines are bad, named `line N: field`; nothing was accepted.
        InvalidBatch: the gateway does not know these rules.
        BatchMismatch, BatchNotFound, BatchExpired: as `RunQueue.upload`; nothing was accepted.
        GatewayUnavailable: it cannot be reached; the reason says so if the batch may be there.
    """
    params = {name: value for name, value in query.items() if value not in ("", False)}
    ruled, headers = rules_given(rules)
    params |= ruled
    sending = _SendingLines(lines)
    answer = link.patiently(
        lambda: link.post_stream(_PATH, params, sending.parts(), {**_HEADERS, **headers}),
        lambda: sending.may_repeat,
        can_repeat=lambda: sending.can_repeat,
        unsure=lambda: _UNSURE if sending.is_whole and not sending.is_named else "",
    )
    return link.read(answer, lambda values: _read(values, is_new=answer.status_code == 201))


class _SendingLines:
    """Packs lines, and knows how far they were sent."""

    def __init__(self, lines: Iterable[Handed]) -> None:
        self._lines = lines
        self._once = iter(lines) is lines
        self._has_begun = False
        #: Whether the last byte was passed on, and whether every line has a `custom_id`.
        self.is_whole, self.is_named = False, True

    @property
    def may_repeat(self) -> bool:
        """Whether sending it again makes no job twice."""
        return not self.is_whole or self.is_named

    @property
    def can_repeat(self) -> bool:
        """Whether all lines are there to be sent."""
        return not (self._once and self._has_begun)

    def parts(self) -> Iterator[bytes]:
        """Yield the compressed lines."""
        self._has_begun = True
        self.is_whole, self.is_named = False, True
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        sent = time.monotonic()
        parts: list[bytes] = []
        size = 0
        for number, job in enumerate(self._lines, 1):
            line = as_line(job, number)
            self.is_named = self.is_named and _has_name(line)
            parts.append(packer.compress(line + b"\n"))
            size += len(parts[-1])
            late = time.monotonic() - sent > _LATEST
            if size >= _PART or late:
                if late:
                    parts.append(packer.flush(zlib.Z_SYNC_FLUSH))
                yield b"".join(parts)
                parts.clear()
                size, sent = 0, time.monotonic()
        parts.append(packer.flush())
        self.is_whole = True
        yield b"".join(parts)


def _has_name(line: bytes) -> bool:
    if not line.strip():
        return True
    try:
        return bool(orjson.loads(line)["custom_id"])
    except (ValueError, TypeError, KeyError):
        return False


def rules_given(rules: BatchRules) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """Return the rules as a query and headers."""
    wanted = {
        one.name: getattr(rules, one.name)
        for one in fields(rules)
        if getattr(rules, one.name) != getattr(NO_RULES, one.name)
    }
    # Proxies log a query, and this URL may hold a secret.
    url = wanted.pop("callback_url", None)
    hidden = {} if url is None else callback_header(url)
    return wanted, hidden


def metadata_given(metadata: Mapping[str, str] | None) -> dict[str, list[str]]:
    """Return a batch's metadata as a query.

    Raises:
        InvalidBatch: it is not valid.
    """
    if not stored_metadata(metadata):
        return {}
    return {"metadata": [f"{name}={text}" for name, text in (metadata or {}).items()]}


def callback_header(url: str) -> dict[bytes, bytes]:
    """Return a batch's `callback_url` as a header, where no log shows it.

    Raises:
        InvalidBatch: none does; HTTP's own error would show it.
    """
    if "\x7f" in url:
        raise InvalidBatch([FieldError("callback_url", "expected printable characters")])
    return {_CALLBACK: url.encode()}


def _read(values: Any, *, is_new: bool) -> Uploaded:
    counts = values["counts"]
    given = {**values, **counts, "is_new": is_new, "conflict": counts["conflicts"]}
    conflicts = [known_values(one, LineConflict) for one in values["conflicts"]]
    return read_strictly(_UPLOADED, given | {"conflicts": conflicts})
