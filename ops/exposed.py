"""Which metrics the processes expose, as the code has them."""

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric

from gateway.metrics import Metrics
from runqueue import RunQueue
from runqueue.observe.collector import QueueCollector
from worker.process.metrics import REGISTRY

#: What a sample is called, by the kind of its metric.
_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}


class Exposed(NamedTuple):
    """One metric.

    Args:
        name: as it stands in the page: a counter's with `_total`, an info's with `_info`.
        where: queue (`/metrics/queue`), worker or gateway (`/metrics`).
        labels: their names; `le` of a histogram is left out.
        samples: the names that an expression may use.
    """

    name: str
    kind: str
    where: str
    text: str
    labels: tuple[str, ...]
    samples: tuple[str, ...]


def exposed() -> list[Exposed]:
    """Return every metric of every process; Redis is not asked."""
    with RunQueue("redis://127.0.0.1:1/0") as nowhere:
        queue = list(QueueCollector(nowhere).describe())
    return [
        *(_exposed(metric, "queue", getattr(metric, "_labelnames", ())) for metric in queue),
        *_of_process("worker", REGISTRY),
        *_of_process("gateway", Metrics(["default"]).registry),
    ]


def _of_process(where: str, registry: CollectorRegistry) -> Iterator[Exposed]:
    # The library has no public way to ask for the labels of what nobody counted yet.
    for collector in list(registry._collector_to_names):  # noqa: SLF001
        labels = getattr(collector, "_labelnames", ())
        for metric in collector.collect():
            yield _exposed(metric, where, labels)


def _exposed(metric: Metric, where: str, labels: tuple[str, ...]) -> Exposed:
    if metric.type == "info":
        labels = tuple(metric.samples[0].labels)
    samples = tuple(f"{metric.name}{suffix}" for suffix in _SUFFIXES[metric.type])
    name = metric.name if metric.type == "histogram" else samples[0]
    return Exposed(name, metric.type, where, metric.documentation, labels, samples)
