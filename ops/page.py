"""The tables of `docs/monitoring.md`: every metric, as the code has it."""

import re
from collections.abc import Iterable

from ops.exposed import Exposed, exposed

#: The tables stand between these.
START, END = "<!-- metrics: written by `make monitoring` -->", "<!-- end of metrics -->"
_PARTS = {
    "queue": "The queue: `/metrics/queue`",
    "worker": "A worker: `/metrics`",
    "gateway": "A gateway: `/metrics`",
}


def page(before: str) -> str:
    """Return the page with its tables written anew.

    Args:
        before: the page as it was.
    """
    pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{START}\n{_tables()}{END}", before)


def _tables() -> str:
    seen: set[str] = set()
    parts = []
    for where, title in _PARTS.items():
        here = [each for each in exposed() if each.where == where and each.name not in seen]
        seen |= {each.name for each in here}
        parts.append(f"\n### {title}\n\n| metric | tells |\n|---|---|\n{''.join(_rows(here))}")
    return "".join(parts) + "\n"


def _rows(metrics: Iterable[Exposed]) -> Iterable[str]:
    for metric in metrics:
        labels = ",".join(label for label in metric.labels if label != "account")
        if not metric.name.startswith("process_"):
            name = f"{metric.name}{{{labels}}}" if labels else metric.name
            yield f"| `{name}` | {metric.text} |\n"
