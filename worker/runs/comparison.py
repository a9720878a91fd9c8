"""Whether a run may be that of a job, by the request that the server shows of it. Pure functions.

A server does not show a request as it was sent: it rewrites URLs, adds defaults and nulls, casts
the parameters of workflows, leaves fields out, and may route a task to another engine. So a
difference counts only in fields that it shows unchanged, and equality only where all of these are
shown (certified servers are held to that by `tests/real/test_lost_answers.py`).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson
from pydantic import AnyUrl, TypeAdapter, ValidationError

from api_client import ListedRun
from runqueue.request.requests import Kind

_URL = TypeAdapter(AnyUrl)
#: Characters of a URL whose normal form is remembered.
_LONGEST_KEPT = 500
_DOUBLED_WWW = re.compile(r"(?i)^(https?://(?:[^/?#@]*@)?)(?:www\.){2,}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
#: The block of the workflow that a server makes of these kinds, and what it calls the goal.
_BLOCKS: Mapping[str, tuple[str, str]] = {
    "login": ("login", "prompt"),
    "download_files": ("file_download", "navigation_goal"),
}
#: Which credential a login names: the parameters of its workflow show it.
_CREDENTIALS = (
    "credential_id",
    "bitwarden_collection_id",
    "bitwarden_item_id",
    "onepassword_vault_id",
    "onepassword_item_id",
    "azure_vault_name",
    "azure_vault_username_key",
)
#: The run type of workflows, as a list names it, and that of tasks on one engine.
WORKFLOW_RUN, TASK_V2, ENGINE_V2 = "workflow_run", "task_v2", "skyvern-2.0"


class Similarity(StrEnum):
    """What comparing a run with a job's request says.

    EQUAL: all that was sent and that servers show unchanged is shown, and equal. DIFFERENT: one of
    these differs, so that the run is another request's. UNSURE: neither.
    """

    EQUAL = "equal"
    DIFFERENT = "different"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing came to, and the names of the fields that say so.

    Args:
        similarity: what it came to.
        equal, different: fields that are equal, and that differ.
        deciding: of those that differ, the ones that make the run another request's.
    """

    similarity: Similarity
    equal: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    deciding: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run as the server shows it.

    Args:
        listed: the item of the list.
        request: its `run_request`; None = it could not be read.
        workflow: the workflow that it runs, where that was read.
    """

    listed: ListedRun
    request: Mapping[str, Any] | None = field(repr=False)
    workflow: Mapping[str, Any] | None = field(default=None, repr=False)


class _FieldComparison:
    """Gathers what is equal, what differs, and what that says."""

    def __init__(self) -> None:
        self.equal: list[str] = []
        self.different: list[str] = []
        self._deciding: list[str] = []
        self._is_open = False

    def strong(self, name: str, verdict: bool | None) -> None:
        """Note a field that servers show unchanged; None = it is not shown."""
        self._note(name, verdict)
        if verdict is False:
            self._deciding.append(name)
        self._is_open |= verdict is None

    def weak(self, name: str, verdict: bool | None) -> None:
        """Note a field that a server may change: a difference leaves the matter open."""
        self._note(name, verdict)
        self._is_open |= verdict is False

    def _note(self, name: str, verdict: bool | None) -> None:
        if verdict is not None:
            (self.equal if verdict else self.different).append(name)

    def result(self) -> Comparison:
        """Return what all of it says; nothing at all says nothing."""
        similarity = Similarity.EQUAL
        if self._deciding:
            similarity = Similarity.DIFFERENT
        elif self._is_open or not self.equal:
            similarity = Similarity.UNSURE
        names = self.equal, self.different, self._deciding
        return Comparison(similarity, *map(tuple, names))


def compare(kind: Kind, sent: Mapping[str, Any], run: ShownRun) -> Comparison:
    """Compare a job's request with a run, markers left out of account.

    Args:
        kind: the job's.
        sent: its request, as it was enqueued.
        run: as the server shows it.
    """
    run_type = run.listed.run_type
    if run_type is not None and (run_type == WORKFLOW_RUN) is not (kind != "task"):
        return Comparison(Similarity.DIFFERENT, (), ("kind",), ("kind",))
    fields = _FieldComparison()
    if run.request is None:
        _compare_unread(kind, sent, run, fields)
        return fields.result()
    if kind == "task":
        _compare_task(sent, run.request, run_type, fields)
    elif kind == "workflow":
        _compare_workflow(sent, run, fields)
    else:
        _compare_made_workflow(kind, sent, run, fields)
    shown = run.request.get("proxy_location")
    fields.weak("proxy_location", _same_proxy(sent.get("proxy_location"), shown))
    # Ours shows a marker, which is looked for first; another's webhook makes it another's run.
    shown = run.request.get("webhook_url")
    hook = sent.get("webhook_url")
    fields.weak("webhook_url", _same_url(hook, shown) if hook else _is_absent(shown))
    return fields.result()


def _compare_unread(
    kind: Kind, sent: Mapping[str, Any], run: ShownRun, fields: _FieldComparison
) -> None:
    """Compare a run whose request cannot be read: which workflow it runs is shown elsewhere."""
    fields.strong("run_request", None)
    if kind == "workflow" and not sent.get("template"):
        workflow = sent.get("workflow_id") or sent.get("agent_id")
        fields.strong("workflow_id", _same_text(workflow, run.listed.workflow_id))
    elif kind in _BLOCKS:
        _compare_made_workflow(kind, sent, run, fields)


def _compare_task(
    sent: Mapping[str, Any],
    shown: Mapping[str, Any],
    run_type: str | None,
    fields: _FieldComparison,
) -> None:
    # Of a task without a URL engine 1.0 has a model write the goal, and the schema.
    is_kept = run_type == TASK_V2 or sent.get("url") is not None
    note_prompt = fields.strong if is_kept else fields.weak
    note_prompt("prompt", _same_text(sent.get("prompt"), shown.get("prompt")))
    if sent.get("url") is not None:
        fields.strong("url", _same_url(sent["url"], shown.get("url")))
    for name in ("data_extraction_schema", "error_code_mapping", "totp_identifier"):
        # What is empty counts as not sent: the server may have put its own in its place.
        if sent.get(name):
            fields.strong(name, _same_json(sent[name], shown.get(name)))
        elif name != "data_extraction_schema" or is_kept:
            fields.weak(name, _is_absent(shown.get(name)))
    _compare_totp_url(sent, shown, fields)
    # A task that is to be published is routed to engine 2.0.
    engine = ENGINE_V2 if sent.get("publish_workflow") else sent.get("engine")
    names = ("max_steps", "max_screenshot_scrolls")
    for name, value in {"engine": engine, **{name: sent.get(name) for name in names}}.items():
        if value is not None and shown.get(name) is not None:
            fields.weak(name, value == shown[name])


def _compare_workflow(sent: Mapping[str, Any], run: ShownRun, fields: _FieldComparison) -> None:
    shown = run.request or {}
    workflow = sent.get("workflow_id") or sent.get("agent_id")
    # Servers call it by either name, whichever was sent.
    found = shown.get("workflow_id") or shown.get("agent_id") or run.listed.workflow_id
    # A template may be another organization's, and shown under another id.
    note = fields.weak if sent.get("template") else fields.strong
    note("workflow_id", _same_text(workflow, found))
    parameters = sent.get("parameters")
    values = shown.get("parameters")
    for name, value in (parameters or {}).items():
        # What a workflow does not declare is dropped, and a null may become a default.
        if value is not None and isinstance(values, Mapping) and values.get(name) is not None:
            fields.strong(f"parameters.{name}", _same_parameter(value, values[name]))
    if parameters and not isinstance(values, Mapping):
        fields.strong("parameters", None)
    _compare_totp(sent, shown, fields)


def _compare_made_workflow(
    kind: str, sent: Mapping[str, Any], run: ShownRun, fields: _FieldComparison
) -> None:
    """Compare what a server makes a workflow of its own of, a login say, by that workflow."""
    block_type, goal = _BLOCKS[kind]
    blocks, parameters = _definition(run.workflow)
    if blocks is None:
        fields.strong("workflow", None)
        return
    block = blocks[0] if len(blocks) == 1 and isinstance(blocks[0], Mapping) else {}
    fields.strong("block_type", block.get("block_type") == block_type)
    # The block is made of this request alone: an address is in both of them, or in neither.
    url, shown_url = sent.get("url"), block.get("url")
    if url or shown_url:
        fields.strong("url", bool(url and shown_url) and _same_url(url, shown_url))
    if sent.get(goal):  # without one a login has the server's own words
        fields.strong(goal, _same_text(sent[goal], block.get("navigation_goal")))
    values = [v for one in parameters if isinstance(one, Mapping) for v in one.values()]
    for name in _CREDENTIALS:
        if sent.get(name) is not None:
            fields.weak(name, sent[name] in values)
    for name in ("download_suffix", "download_timeout", "max_steps_per_run"):
        if sent.get(name) is not None and block.get(name) is not None:
            fields.weak(name, sent[name] == block[name])
    _compare_totp(sent, run.request or {}, fields)


#: A block, its address, and one text of its workflow; '' = none, or any.
BlockKey = tuple[str, str, str]


def block_of(kind: Kind, sent: Mapping[str, Any]) -> BlockKey | None:
    """Return what the workflow that a server makes of a request has; None = it makes none of it."""
    if kind not in _BLOCKS:
        return None
    block_type, goal = _BLOCKS[kind]
    texts = [sent.get(name) for name in (*_CREDENTIALS, goal)]
    text = next((text for text in texts if isinstance(text, str) and text), "")
    return block_type, normalized_url(sent.get("url") or ""), plain_text(text)


def blocks_shown(run: ShownRun) -> set[BlockKey]:
    """Return which `block_of` a request may have that is equal to a run's."""
    blocks, parameters = _definition(run.workflow)
    if not blocks or not isinstance(blocks[0], Mapping):
        return set()
    block = blocks[0]
    values = [v for one in parameters if isinstance(one, Mapping) for v in one.values()]
    texts = [t for t in ("", block.get("navigation_goal"), *values) if isinstance(t, str)]
    where = str(block.get("block_type")), normalized_url(str(block.get("url") or ""))
    return {(*where, plain_text(text)) for text in texts}


def _definition(workflow: Mapping[str, Any] | None) -> tuple[list[Any] | None, list[Any]]:
    definition = (workflow or {}).get("workflow_definition")
    if not isinstance(definition, Mapping) or not isinstance(definition.get("blocks"), list):
        return None, []
    parameters = definition.get("parameters")
    return definition["blocks"], parameters if isinstance(parameters, list) else []


def _compare_totp(
    sent: Mapping[str, Any], shown: Mapping[str, Any], fields: _FieldComparison
) -> None:
    if sent.get("totp_identifier"):
        same = _same_text(sent["totp_identifier"], shown.get("totp_identifier"))
        fields.strong("totp_identifier", same)
    _compare_totp_url(sent, shown, fields)


def _compare_totp_url(
    sent: Mapping[str, Any], shown: Mapping[str, Any], fields: _FieldComparison
) -> None:
    if sent.get("totp_url") is not None:
        fields.strong("totp_url", _same_url(sent["totp_url"], shown.get("totp_url")))


def _is_absent(shown: Any) -> bool | None:
    """Say that a field which was not sent is shown all the same; absent it is no evidence."""
    return False if shown else None


def _same_text(sent: Any, shown: Any) -> bool | None:
    if not isinstance(sent, str) or not isinstance(shown, str):
        return None
    return plain_text(sent) == plain_text(shown)


def plain_text(text: str) -> str:
    """Return a text without what a server may take out of it: control characters, edges."""
    return _CONTROLS.sub("", text).strip()


def _same_json(sent: Any, shown: Any) -> bool | None:
    if shown is None:
        return None
    if sent == shown:
        return True
    # A text may have been read as JSON, or JSON written as a text.
    return _as_json(sent) == _as_json(shown) if type(sent) is not type(shown) else False


def _as_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _same_url(sent: Any, shown: Any) -> bool | None:
    if not isinstance(sent, str) or not isinstance(shown, str):
        return None
    return normalized_url(sent) == normalized_url(shown)


def normalized_url(url: str) -> str:
    """Return a URL as a server shows it: as pydantic, and with it Skyvern, writes it."""
    return _normalized(url) if len(url) <= _LONGEST_KEPT else _normalized.__wrapped__(url)


@lru_cache(maxsize=20_000)  # a URL is compared with those of many runs
def _normalized(url: str) -> str:
    try:
        shown = str(_URL.validate_python(url.strip()))
    except ValidationError:
        return url.strip()
    # A server may take a doubled "www." for a slip and drop one: that is no difference.
    return _DOUBLED_WWW.sub(r"\1www.", shown)


def _same_parameter(sent: Any, shown: Any) -> bool | None:
    """Say whether a parameter's value is what was sent, cast to whatever type it was declared."""
    if sent == shown:
        return True
    if isinstance(sent, str) and isinstance(shown, str):
        # A URL may be rewritten like others, and a text be read as JSON.
        return normalized_url(sent) == normalized_url(shown) or _as_json(sent) == shown
    return _same_value(_plain(sent), _plain(shown))


def _same_value(sent: Any, shown: Any) -> bool | None:
    if isinstance(sent, float) and isinstance(shown, int):
        # A number that was declared whole lost its fraction.
        return sent == shown or (None if math.trunc(sent) == shown else False)
    if isinstance(sent, int) and isinstance(shown, float):
        return float(sent) == shown  # it may have lost its last digits
    if sent == shown:
        return True
    are_scalars = not isinstance(sent, list | dict) and not isinstance(shown, list | dict)
    # Of a file's URL and the like a server may make an object.
    return False if are_scalars or type(sent) is type(shown) else None


def _plain(value: Any) -> Any:
    """Return a value as a number or a truth value where it reads as one, and as JSON else."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    # A server casts by Python's rules, which take "007", "+7" and "1_000", too.
    for read in (int, float):
        try:
            number = read(text)
            is_finite = math.isfinite(number)
        except (ValueError, OverflowError):  # the latter of a whole number that no float holds
            continue
        return number if is_finite else text
    return _as_json(text)


def _same_proxy(sent: Any, shown: Any) -> bool | None:
    """Compare where a browser appears to be: a name, or what was said of a place."""
    if sent is None or shown is None:
        return None
    if isinstance(sent, Mapping) and isinstance(shown, Mapping):
        given = {name: value for name, value in sent.items() if value is not None}
        return all(shown.get(name) == value for name, value in given.items())
    return bool(sent == shown)
