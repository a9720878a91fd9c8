"""Which of many runs a job's request need be compared with. Pure, as `comparison.py`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from runqueue.request.requests import Kind
from worker.runs.comparison import ShownRun, normalized_url, plain_text

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
        for run in runs:
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
        text, url = fields.get("workflow_id") or fields.get("agent_id"), ""
    return plain_text(text) if isinstance(text, str) else None, url


def _keys_shown(shown: Mapping[str, Any]) -> set[_Key]:
    workflows = (shown.get("workflow_id"), shown.get("agent_id"))
    keys = {(plain_text(name), "") for name in workflows if isinstance(name, str)}
    prompt, url = shown.get("prompt"), shown.get("url")
    if isinstance(prompt, str):
        keys.add((plain_text(prompt), normalized_url(url) if isinstance(url, str) else ""))
    return keys
