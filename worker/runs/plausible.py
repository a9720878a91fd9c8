"""Which of many runs a job's request need be compared with. Pure, as `comparison.py`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from runqueue.request.requests import Kind
from worker.runs.comparison import (
    WORKFLOW_RUN,
    BlockKey,
    ShownRun,
    block_of,
    blocks_shown,
    normalized_url,
    plain_text,
)

#: A goal and a URL, or a workflow; without a URL '' stands for it.
_Key = tuple[str, str]


class Index:
    """Runs by what surely distinguishes their requests: a goal and a URL, or a workflow.

    Args:
        runs: the runs.
    """

    def __init__(self, runs: Sequence[ShownRun]) -> None:
        self._all = runs
        self._open: list[ShownRun] = []
        self._by_key: dict[_Key, list[ShownRun]] = defaultdict(list)
        self._by_text: dict[str, list[ShownRun]] = defaultdict(list)
        self._by_block: dict[BlockKey, list[ShownRun]] = defaultdict(list)
        #: Runs that may be a workflow's, by its name; '' = they show none.
        self._by_workflow: dict[str, list[ShownRun]] = defaultdict(list)
        for run in runs:
            for block in blocks_shown(run):
                self._by_block[block].append(run)
            if run.listed.run_type in {None, WORKFLOW_RUN}:
                for name in _workflows_shown(run) or {""}:
                    self._by_workflow[name].append(run)
            keys = _keys_shown(run.request or {})
            for key in keys:
                self._by_key[key].append(run)
            for text in {text for text, _ in keys}:
                self._by_text[text].append(run)
            if not keys:
                self._open.append(run)

    def plausible(self, kind: Kind, fields: Mapping[str, Any]) -> Iterator[ShownRun]:
        """Return the runs that a comparison need be made with.

        Args:
            kind: the job's.
            fields: its request, as it was enqueued.
        """
        text, url = _text_and_url(kind, fields)
        if text is None or url is None:
            return iter(self._all)
        return chain(self._of(text, url), self._open)

    def equal(self, kind: Kind, fields: Mapping[str, Any]) -> Iterator[ShownRun]:
        """Return the runs that may show an equal request.

        Args:
            kind: the job's.
            fields: its request, as it was enqueued.
        """
        if (block := block_of(kind, fields)) is not None:
            return iter(self._by_block.get(block, ()))
        if kind == "workflow":
            # A template's name need not be shown.
            names = [_workflow_of(fields), *([""] if fields.get("template") else [])]
            return chain.from_iterable(self._by_workflow.get(name, ()) for name in names)
        text, url = _text_and_url(kind, fields)
        if text is None:
            return iter(self._all)
        return iter(self._by_text.get(text, ())) if url is None else self._of(text, url)

    def _of(self, text: str, url: str) -> Iterator[ShownRun]:
        keys = dict.fromkeys([(text, url), (text, "")])
        return chain.from_iterable(self._by_key.get(key, ()) for key in keys)


def _text_and_url(kind: Kind, fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return a request's goal and URL (None = it has none), or its workflow and ''."""
    text, url = None, None
    if kind == "task":
        text = fields.get("prompt")
        if fields.get("url") is not None:
            url = normalized_url(fields["url"])
    elif kind == "workflow" and not fields.get("template"):
        text, url = _workflow_of(fields) or None, ""
    return plain_text(text) if isinstance(text, str) else None, url


def _workflow_of(fields: Mapping[str, Any]) -> str:
    return plain_text(str(fields.get("workflow_id") or fields.get("agent_id") or ""))


def _workflows_shown(run: ShownRun) -> set[str]:
    shown = run.request or {}
    names = (shown.get("workflow_id"), shown.get("agent_id"), run.listed.workflow_id)
    return {plain_text(name) for name in names if isinstance(name, str) and name}


def _keys_shown(shown: Mapping[str, Any]) -> set[_Key]:
    workflows = (shown.get("workflow_id"), shown.get("agent_id"))
    keys = {(plain_text(name), "") for name in workflows if isinstance(name, str)}
    prompt, url = shown.get("prompt"), shown.get("url")
    if isinstance(prompt, str):
        keys.add((plain_text(prompt), normalized_url(url) if isinstance(url, str) else ""))
    return keys
