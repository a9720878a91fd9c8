"""What the Prometheus operator is told to scrape: Prometheus says which targets come of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ops.expressions import HERE, RULES, asked
from tests.deploy.test_kubernetes import of
from tests.ops.conftest import Promtool

_JOB = re.compile(r'\bjob=~?"([^"]+)"')
_PODS = 2


class Scraped(NamedTuple):
    """One target, as Prometheus keeps it."""

    path: str
    address: str
    labels: tuple[tuple[str, str], ...]

    def series(self, metric: str, **labels: str) -> str:
        """A series of a metric that was scraped there."""
        every = {**dict(self.labels), **labels}
        return f"{metric}{{{', '.join(f'{name}={json.dumps(v)}' for name, v in every.items())}}}"


def monitored() -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Each endpoint of the monitors, with the labels that the operator gives its targets."""
    for monitor in of("ServiceMonitor"):
        service = monitor["metadata"]["name"]
        for endpoint in monitor["spec"]["endpoints"]:
            yield endpoint, {"service": service, "container": "nginx", "job": service}
    for monitor in of("PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            yield endpoint, {"container": "worker", "job": f"jobs/{monitor['metadata']['name']}"}


def configured(endpoint: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    """What the operator makes of an endpoint where there are two pods."""
    pods = [
        {
            "targets": [f"10.0.0.{n}:8080"],
            "labels": {**labels, "namespace": "jobs", "pod": f"pod-{n}", "endpoint": "port"},
        }
        for n in range(_PODS)
    ]
    relabelings = [
        {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): v for name, v in one.items()}
        for one in endpoint.get("relabelings", ())
    ]
    job = {"job_name": "monitor", "metrics_path": endpoint["path"], "static_configs": pods}
    return {"scrape_configs": [{**job, "relabel_configs": relabelings}]}


@pytest.fixture(scope="module")
def targets(promtool: Promtool, tmp_path_factory: pytest.TempPathFactory) -> set[Scraped]:
    """What is scraped of two gateways and two workers; equal targets are one, as in Prometheus."""
    found = set()
    for endpoint, labels in monitored():
        file = tmp_path_factory.mktemp("targets") / "prometheus.yml"
        file.write_text(yaml.safe_dump(configured(endpoint, labels)))
        told = promtool("check", "service-discovery", "--timeout=1s", file, "monitor")
        for each in json.loads(told):
            kept = each["labels"]
            shown = tuple(sorted(item for item in kept.items() if not item[0].startswith("__")))
            found.add(Scraped(kept["__metrics_path__"], kept["__address__"], shown))
    return found


def test_each_process_is_scraped_and_the_queue_once(targets: set[Scraped]) -> None:
    scraped = sorted((dict(target.labels)["job"], target.path) for target in targets)

    assert scraped == [
        ("runqueue-gateway", "/metrics"),
        ("runqueue-gateway", "/metrics"),
        ("runqueue-queue", "/metrics/queue"),
        ("runqueue-worker", "/metrics"),
        ("runqueue-worker", "/metrics"),
    ]


def test_the_queue_is_asked_of_the_service_and_its_port(targets: set[Scraped]) -> None:
    (service,) = of("Service")
    (target,) = (target for target in targets if target.path == "/metrics/queue")

    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert target.address == f"{name}.jobs.svc:{port}"


def test_the_jobs_are_those_that_rules_dashboards_and_compose_name(targets: set[Scraped]) -> None:
    jobs = {dict(target.labels)["job"] for target in targets}
    compose = yaml.safe_load((HERE / "prometheus" / "prometheus.yml").read_text())
    named = {job for _, expression in asked() for job in _JOB.findall(expression)}

    assert jobs == {one["job_name"] for one in compose["scrape_configs"]}
    assert all(any(re.fullmatch(name, job) for job in jobs) for name in named)


def test_two_gateways_double_no_sum_and_the_queue_counts_as_scraped(
    targets: set[Scraped], promtool: Promtool, tmp_path: Path
) -> None:
    series = [{"series": target.series("up"), "values": "1x40"} for target in targets]
    for metric, value in (("runqueue_in_flight", 3), ("runqueue_slots_taken", 5)):
        series += [
            {"series": target.series(metric, account="default"), "values": f"{value}x40"}
            for target in targets
            if target.path == "/metrics/queue"
        ]
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {"expr": expression, "eval_time": "30m", "exp_samples": [{"value": value}]}
            for expression, value in (
                ("sum(runqueue_in_flight)", 3),
                ("sum(runqueue_slots_taken - on (account) runqueue_in_flight)", 2),
            )
        ],
        "alert_rule_test": [
            {"eval_time": "30m", "alertname": "RunqueueNotScraped", "exp_alerts": []}
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))

    promtool("test", "rules", file)
