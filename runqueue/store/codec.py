"""How a run request lies in Redis and goes to Skyvern.

A stored body is one line of JSON, the *envelope* (what is not part of the request's body, or is
only known at submission), a newline, and the request body as it will be sent. Title and webhook URL
wait in the envelope: the attempt's marker is spliced into them, and they go last. The body of a job
that is over may be packed (`compression.py`), and stays so when the job is done again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any

import orjson

from runqueue import ids
from runqueue.request.job_spec import JobSpec
from runqueue.request.requests import KINDS, MODELS, Kind
from runqueue.request.server_rules import MAX_METADATA, entry_fault
from runqueue.store import compression

#: Body fields that travel elsewhere: as a header, or in the query.
_HEADERS = {"user_agent": "x-user-agent", "max_steps_override": "x-max-steps-override"}
_SPLICED = ("title", "webhook_url")
_OUTSIDE = (*_HEADERS, *_SPLICED, "template")
#: Those that each kind has; another kind's stay in the body, if unknown fields are let pass.
_OUTSIDE_OF = {
    kind: frozenset(_OUTSIDE).intersection(model.model_fields) for kind, model in MODELS.items()
}
#: The digest of each kind, up to the body; a copy goes on.
_BEGUN = {kind: blake2b(kind.encode(), digest_size=16) for kind in KINDS}
#: How an envelope names a kind: by its first letter.
_TAG_KEY = b'"%s"' % ids.TAG_KEY.encode()
_KINDS: dict[str, Kind] = {kind[0]: kind for kind in KINDS}


@dataclass(slots=True)  # not frozen: it is made for each job, in half the time so
class Post:
    """One POST, ready to send.

    Args:
        kind: what is requested.
        content, headers, query: what is sent.
        traceparent: which trace the job belongs to; it is not sent.
        is_tagged: whether the run is to have the attempt's tag.
        marker: what every marker in it contains; '' = there are none.
    """

    kind: Kind
    content: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)
    traceparent: str = ""
    is_tagged: bool = False
    marker: str = ""


def encode(spec: JobSpec, traceparent: str = "") -> tuple[bytes, bytes]:
    """Return (digest, stored body) of a checked job; a traceparent of its own comes first.

    The digest (16 bytes) covers the kind and the canonical body: it decides whether an idempotency
    key comes with the same request again. Priority, options and dates are no part of it, nor is the
    job's metadata, although a workflow's run gets it. What is
    sent keeps the caller's order of keys: a schema's order means something to a model.
    """
    body = rest = spec.body
    digest = _BEGUN[spec.kind].copy()
    digest.update(spec.canonical)
    envelope: dict[str, Any] = {"k": spec.kind[0]}
    outside = _OUTSIDE_OF[spec.kind]
    if not outside.isdisjoint(body):
        rest = body.copy()
        for name in _OUTSIDE:
            if name in outside and name in rest:
                envelope[name] = rest.pop(name)
    if spec.custom_id is not None:
        envelope["c"] = spec.custom_id
    if spec.namespace:
        envelope["n"] = spec.namespace
    if spec.metadata and (passed := _passed_on(spec)):
        envelope["m"] = passed
    if found := spec.traceparent or traceparent:
        envelope["t"] = found
    if spec.kind == "workflow":  # lists read no bodies
        envelope["w"] = body.get("workflow_id") or body.get("agent_id")
    return digest.digest(), b"%b\n%b" % (orjson.dumps(envelope), orjson.dumps(rest))


def _passed_on(spec: JobSpec) -> dict[str, str]:
    """Return the entries of a job's metadata that its `run_metadata` gets, beside the tag.

    These are those that it lacks, of names and values that the server takes, as long as it has
    room. They stay outside the body: the request is the caller's, and equal to another job's.
    """
    own = spec.body.get("run_metadata")
    if not can_tag(spec.kind, own):
        return {}
    names = {ids.TAG_KEY, *(name.strip() for name in own or ())}
    lacking = (
        (name, text)
        for name, text in orjson.loads(spec.metadata).items()
        if name not in names and text.strip() and not entry_fault(name, text)
    )
    return dict(islice(lacking, max(0, MAX_METADATA - len({ids.TAG_KEY, *(own or ())}))))


def read_envelope(line: bytes) -> tuple[Kind, str | None, str, str, str | None]:
    """Return (kind, custom_id, namespace, traceparent, workflow) of a stored body's first line."""
    envelope = orjson.loads(line)
    kind, get = _KINDS[envelope["k"]], envelope.get
    return kind, get("c"), get("n", ""), get("t", ""), get("w")


def traceparent(line: bytes) -> str:
    """Return which trace a job belongs to, of a stored body's first line; '' = none."""
    return orjson.loads(line).get("t") or ""


def parts(stored: bytes) -> tuple[bytes, bytes]:
    """Return (envelope, request) of a stored body, packed or plain.

    Raises:
        ValueError: the request cannot be read.
    """
    line, _, rest = stored.partition(b"\n")
    return line, compression.request_of(rest)


def read_request(stored: bytes) -> tuple[Kind, dict[str, Any]]:
    """Return (kind, fields) of a stored body: the request as it was submitted.

    Raises:
        ValueError, KeyError: it is none.
    """
    line, content = parts(stored)
    envelope = _object(line)
    kind = _KINDS[str(envelope["k"])]
    fields = {name: envelope[name] for name in _OUTSIDE if name in envelope}
    return kind, fields | _object(content)


def _object(text: bytes) -> dict[str, Any]:
    """Read a JSON object; anything else is a ValueError."""
    parsed = orjson.loads(text)
    if not isinstance(parsed, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - as what is no JSON at all
    return parsed


def webhook_url(line: bytes) -> str:
    """Return where the end of a run is reported to, of a stored body's first line; '' = nowhere."""
    return orjson.loads(line).get("webhook_url") or ""


def can_tag(kind: Kind, metadata: object) -> bool:
    """Say whether a submission can carry the attempt's tag.

    Args:
        kind: of the request; only workflow runs are tagged.
        metadata: its `run_metadata`, None if it has none. One that is full, that is no object, or
            that uses our key for something else, is left as it is.
    """
    if kind != "workflow":
        return False
    if metadata is None:
        return True
    if not isinstance(metadata, dict):
        return False
    if ids.TAG_KEY in metadata:
        return ids.is_tag_value(metadata[ids.TAG_KEY])  # it was copied from another run
    return len(metadata) < MAX_METADATA


def _tagged(content: bytes, tags: Mapping[str, str]) -> bytes:
    """Return a workflow's request whose `run_metadata` has these tags of ours, if it can have one.

    Args:
        content: the request, which has `run_metadata`.
        tags: the attempt's, with the job's metadata, or none; they replace another attempt's.
    """
    fields = orjson.loads(content)
    metadata = fields.get("run_metadata")
    if not can_tag("workflow", metadata) or not (metadata or tags):
        return content
    own = {name: value for name, value in (metadata or {}).items() if name != ids.TAG_KEY}
    fields["run_metadata"] = {**own, **tags}
    return orjson.dumps(fields)


def _own_title(title: str) -> dict[str, str]:
    """Return a title without the markers of other attempts, {} if nothing else is in it."""
    own = ids.without_title_markers(title)
    return {"title": own} if own else {}


def submission(
    stored: bytes,
    job_id: str,
    attempt: int,
    *,
    mark: bool = True,
    queue: str = "",
    tag: bool = False,
    receiver: str | None = None,
) -> Post:
    """Return the POST of a stored body, carrying the markers of the attempt.

    A task's title ends with the marker (a title is searched; a workflow's is not); any webhook URL
    carries it as a query parameter, before the fragment. A workflow's `run_metadata` has it as an
    entry, of which Skyvern makes a tag of the run, beside the job's metadata. Another attempt's
    marker, which came with a request that was copied from its run, is removed, with `mark` off as
    well.

    Args:
        stored: what was stored of the request.
        job_id, attempt: what the marker names.
        mark: whether to put markers in.
        queue: the queue's configured name, which they name, too; '' = none.
        tag: whether to put the marker into `run_metadata`, too, and the job's metadata.
        receiver: our address for the webhook; it replaces the user's, which the
            webhook is relayed to.

    Raises:
        ValueError, KeyError: the stored body is broken.
    """
    line, content = parts(stored)
    envelope = _object(line)
    kind = _KINDS[str(envelope["k"])]
    last: dict[str, Any] = {name: envelope[name] for name in _SPLICED if name in envelope}
    if receiver:
        last["webhook_url"] = receiver
    if last.get("title"):
        last |= _own_title(last.pop("title"))
    title, url = last.get("title"), last.get("webhook_url")
    if mark and kind == "task":
        marker = ids.title_marker(job_id, attempt, queue)
        last["title"] = f"{title} {marker}" if title else marker
    if url:
        url = ids.without_url_markers(url)
        parameter = ids.url_marker(job_id, attempt, queue)
        last["webhook_url"] = with_parameter(url, parameter) if mark else url
    is_tagged = mark and tag and kind == "workflow"
    tags: dict[str, str] = (
        {**envelope.get("m", {}), ids.TAG_KEY: ids.tag_value(job_id, attempt, queue)}
        if is_tagged
        else {}
    )
    if kind == "workflow" and b'"run_metadata"' in content:
        if tags or _TAG_KEY in content:
            tagged = _tagged(content, tags)
            is_tagged, content = is_tagged and tagged is not content, tagged
    elif is_tagged:
        last["run_metadata"] = tags
    if last:
        head = content[:-1] if content == b"{}" else content[:-1] + b","
        content = head + orjson.dumps(last)[1:]
    headers = {
        header: str(envelope[name])
        for name, header in _HEADERS.items()
        if envelope.get(name) is not None
    }
    query = ""
    if envelope.get("template") is not None:
        query = f"template={'true' if envelope['template'] else 'false'}"
    marker = ids.tag_value(job_id, attempt) if mark else ""
    return Post(kind, content, headers, query, envelope.get("t", ""), is_tagged, marker)


def with_parameter(url: str, parameter: str) -> str:
    """Return the URL with one more query parameter, before its fragment."""
    base, hash_, fragment = url.partition("#")
    joiner = "" if base.endswith(("?", "&")) else "&" if "?" in base else "?"
    return f"{base}{joiner}{parameter}{hash_}{fragment}"
