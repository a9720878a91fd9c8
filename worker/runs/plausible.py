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
        for run in runs:
            keys = _keys_shown(run.request or {})
            for key in keys:
                self._by_key[key].append(run)
            if not keys:
                self._open.append(run)

    def plausible(self, kind: Kind, fields: Mapping[str, Any]) -> Iterator[ShownRun]:
        """Return the runs that a comparison need be made with.

        Args:
            kind: the job's.
            fields: its request, as it was enqueued.
        """
        text, url = None, ""
        if kind == "task" and fields.get("url") is not None:
            text, url = fields.get("prompt"), normalized_url(fields["url"])
        elif kind == "workflow" and not fields.get("template"):
            text = fields.get("workflow_id") or fields.get("agent_id")
        if not isinstance(text, str):
            return iter(self._all)
        name = plain_text(text)
        keys = dict.fromkeys([(name, url), (name, "")])
        return chain(chain.from_iterable(self._by_key.get(key, ()) for key in keys), self._open)


def _keys_shown(shown: Mapping[str, Any]) -> set[_Key]:
    workflows = (shown.get("workflow_id"), shown.get("agent_id"))
    keys = {(plain_text(name), "") for name in workflows if isinstance(name, str)}
    prompt, url = shown.get("prompt"), shown.get("url")
    if isinstance(prompt, str):
        keys.add((plain_text(prompt), normalized_url(url) if isinstance(url, str) else ""))
    return keys
