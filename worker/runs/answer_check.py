"""Whether the answer to a submission is about that submission.

An answer that was sent twice, or to somebody else, names a run that is another request's: recording
it would leave a paid run without its job, and give the job a stranger's result.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from api_client import ListedRun, Submission
from api_client.answers.parts import text_or_none
from runqueue import ids
from runqueue.request.requests import Kind
from runqueue.store import codec
from worker.runs.comparison import WORKFLOW_RUN, ShownRun, Similarity, compare, normalized_url
from worker.runs.matcher import markers_of

#: Fields of which it is remembered that a server shows them unchanged.
MOST_REMEMBERED = 10_000

#: Every marker holds it, whatever carries the marker.
_PART_OF_MARKERS = b"rq"
#: What distinguishes most requests of a kind, and is mostly shown as it was sent.
_TELLING: Mapping[Kind, tuple[str, ...]] = {
    "task": (
        "prompt",
        "url",
        "data_extraction_schema",
        "error_code_mapping",
        "totp_identifier",
        "totp_url",
    ),
    "workflow": ("workflow_id", "parameters"),
}


class AnswerCheck:
    """Recognises another request's answers by the request that they show.

    The attempt's own marker says at once that an answer is its own, and another's that it is not.
    Without either the requests are compared. A difference counts only where this server was seen
    to show such markers, or to show that field unchanged: one that rewrites what it shows costs no
    job its run. Where two fields or more tell a request apart, and all of them differ, no server
    has rewritten them all.
    """

    def __init__(self) -> None:
        self._unchanged: set[tuple[str | None, ...]] = set()
        #: Requests that were shown as sent: kind, type of run, workflow, and what was shown.
        self._as_sent: set[tuple[object, ...]] = set()
        self._marked: set[tuple[str, bool, bool]] = set()

    def differences(self, post: codec.Post, answer: Submission) -> tuple[str, ...]:
        """Return the fields that make an answer another request's.

        Args:
            post: what was sent.
            answer: an accepted one.

        Returns:
            The names of fields, `marker` for a marker that is another attempt's; none = the answer
            is about what was sent, or does not say.
        """
        if post.marker and post.marker.encode() in answer.body:
            self._marked.add(_carriers(post))
            return ()
        shown = (answer.shown or {}).get("run_request")
        if not isinstance(shown, dict):
            return ()
        return self._compared(post, answer, shown)

    def _compared(
        self, post: codec.Post, answer: Submission, shown: Mapping[str, Any]
    ) -> tuple[str, ...]:
        sent = orjson.loads(post.content)
        # What of them a user put in himself says nothing. Most answers show no marker at all.
        may_be_marked = post.marker and _PART_OF_MARKERS in answer.body
        if may_be_marked and not _markers(shown) <= _markers(sent):
            return ("marker",)
        if "agent_id" in sent:
            sent["workflow_id"] = sent.pop("agent_id")
        run_type = text_or_none((answer.shown or {}).get("run_type"))
        as_sent = _as_sent(post.kind, sent, shown, run_type)
        if as_sent is not None:  # comparing takes twenty times as long
            workflow = sent.get("workflow_id") if post.kind == "workflow" else None
            shape = (post.kind, run_type, workflow, *as_sent)
            if shape not in self._as_sent and len(self._as_sent) < MOST_REMEMBERED:
                self._as_sent.add(shape)
                self._remember(post.kind, run_type, sent, as_sent)
            return ()
        if post.query:
            sent["template"] = True
        listed = ListedRun(answer.run_id or "", answer.run_status or "", run_type, None, None)
        found = compare(post.kind, sent, ShownRun(listed, shown))
        if found.similarity is not Similarity.DIFFERENT:
            names = [name.partition(".")[0] for name in found.equal]
            self._remember(post.kind, run_type, sent, ["kind", *names])
            return ()
        different = tuple(dict.fromkeys(name.partition(".")[0] for name in found.deciding))
        equal = {name.partition(".")[0] for name in found.equal}
        is_other = len(different) > 1 and equal.isdisjoint(_TELLING.get(post.kind, ()))
        if is_other or (post.marker and _carriers(post) in self._marked):
            return different
        unchanged = self._unchanged
        return tuple(n for n in different if _key(post.kind, run_type, sent, n) in unchanged)

    def _remember(
        self, kind: Kind, run_type: str | None, sent: Mapping[str, Any], names: Iterable[str]
    ) -> None:
        if run_type is not None and len(self._unchanged) < MOST_REMEMBERED:
            for name in names:
                self._unchanged.add(_key(kind, run_type, sent, name))


def _as_sent(
    kind: Kind, sent: Mapping[str, Any], shown: Mapping[str, Any], run_type: str | None
) -> list[str] | None:
    """Return what distinguishes a request, if all of it is shown, and equal; else None."""
    if run_type is not None and (run_type == WORKFLOW_RUN) is not (kind != "task"):
        return None
    names = ["kind"]
    for name in _TELLING.get(kind, ()):
        value = sent.get(name)
        if value is None:
            continue
        if value != shown.get(name) and (name != "url" or normalized_url(value) != shown.get(name)):
            return None
        names.append(name)
    return names


def _key(
    kind: Kind, run_type: str | None, sent: Mapping[str, Any], name: str
) -> tuple[str | None, ...]:
    """Return where it is remembered of a field that a server shows it unchanged."""
    if name == "kind":
        return kind, name
    # What becomes of a parameter is a matter of the workflow that declares it.
    return kind, run_type, sent.get("workflow_id") if name == "parameters" else None, name


def _carriers(post: codec.Post) -> tuple[str, bool, bool]:
    """Return what carries a submission's marker: a server may show one of them, and not another."""
    return post.kind, post.is_tagged, b"?rq_job=" in post.content or b"&rq_job=" in post.content


def _markers(request: Mapping[str, Any]) -> set[object]:
    """Return whatever names an attempt in a request, sent or shown."""
    metadata = request.get("run_metadata")
    tag = metadata.get(ids.TAG_KEY) if isinstance(metadata, Mapping) else None
    return markers_of(request) | ({tag} if isinstance(tag, str) else set())
