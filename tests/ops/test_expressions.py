"""Every expression of dashboards and alerts can be read, and what it asks for exists."""

from pathlib import Path

import pytest
import yaml

from ops.exposed import Exposed, exposed
from ops.expressions import Selector, asked, dashboards, filled, panels, rules, selectors
from tests.ops.conftest import Promtool

#: What Prometheus itself says of a target, or of an alert.
OF_PROMETHEUS = {
    "up": {"job", "instance"},
    "scrape_duration_seconds": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate"},
}
ANNOTATIONS = [
    (f"{name}: annotations", each["expr"])
    for name, dashboard in dashboards().items()
    for each in dashboard["annotations"]["list"]
]
ASKED = [*asked(), *ANNOTATIONS]


def labels_by_sample() -> dict[str, set[str]]:
    found = {name: set(labels) for name, labels in OF_PROMETHEUS.items()}
    for metric in exposed():
        for sample in metric.samples:
            found.setdefault(sample, {"job", "instance", "le"}).update(metric.labels)
    return found


def test_prometheus_reads_every_expression(promtool: Promtool, tmp_path: Path) -> None:
    recorded = [
        {"record": f"test:expression:{number}", "expr": expression}
        for number, (_, expression) in enumerate(ASKED)
    ]
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))

    assert f"{len(ASKED)} rules found" in promtool("check", "rules", "--lint=none", file)


def test_there_are_many_expressions_and_they_are_all_different_places() -> None:
    assert len(ASKED) > 100
    assert len({where for where, _ in ASKED}) == len(ASKED)


@pytest.mark.parametrize(("where", "expression"), ASKED, ids=[where for where, _ in ASKED])
def test_what_an_expression_asks_for_is_exposed(where: str, expression: str) -> None:
    known = labels_by_sample()

    wanted = selectors(expression)

    assert wanted, "it asks for something"
    for metric, labels in wanted:
        assert metric in known, f"no process exposes {metric}"
        assert labels <= known[metric], f"{metric} has no {sorted(labels - known[metric])}"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("runqueue_up == 0", {"runqueue_up": set()}),
        ('a{b="x y", c!~"d"}', {"a": {"b", "c"}}),
        ("sum by (b, c) (rate(a[5m])) / on (d) e", {"a": set(), "e": set()}),
        ("a offset 5m and b or c unless on (x) d", {name: set() for name in "abcd"}),
        ('histogram_quantile(0.9, sum(rate(a_bucket{b="c(d)"}[1h])) by (le))', {"a_bucket": {"b"}}),
        ("clamp_max(a, 1e3) > bool 0x1f", {"a": set()}),
        ("absent(a{b='c'})", {"a": {"b"}}),
    ],
)
def test_the_metrics_of_an_expression_are_found(
    expression: str, expected: dict[str, set[str]]
) -> None:
    wanted = [Selector(name, frozenset(labels)) for name, labels in expected.items()]

    assert selectors(expression) == wanted


def test_every_metric_of_the_queue_is_shown_or_told_of() -> None:
    used = {selector.metric for _, expression in ASKED for selector in selectors(expression)}

    unseen = {metric.name for metric in exposed() if _is_of_the_queue(metric, used)}

    assert unseen == {
        "runqueue_events_total",  # what is rare; for who looks for one
        "runqueue_redis_loading",
        "runqueue_redis_rdb_last_save_ok",  # snapshots are nobody's duty where there is an AOF
        "runqueue_redis_rejected_connections_total",
        "runqueue_slowed_down",  # the pace beside the limit shows it
        "runqueue_orphans",  # those that may still run are shown
    }


def _is_of_the_queue(metric: Exposed, used: set[str]) -> bool:
    return metric.where == "queue" and not used & set(metric.samples)


def test_a_variable_of_grafana_stands_only_where_it_is_filled_in() -> None:
    for dashboard in dashboards().values():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                assert "$" not in filled(target["expr"]).replace("$account", "")
    assert not [rule["alert"] for rule in rules() if "$" in rule["expr"]]


def test_a_worker_that_serves_two_accounts_is_shown_as_one(
    promtool: Promtool, tmp_path: Path
) -> None:
    (board,) = (board for name, board in dashboards().items() if "overview" in name)
    (panel,) = (panel for panel in panels(board) if panel["title"] == "Workers")
    (target,) = panel["targets"]
    series = [
        {"series": f'runqueue_worker_processes{{account="{account}"}}', "values": "2x5"}
        for account in ("default", "acme")
    ]
    expression = target["expr"].replace("$account", ".*")
    asks = {"expr": expression, "eval_time": "3m", "exp_samples": [{"value": 2}]}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [asks]}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"tests": [test]}))

    promtool("test", "rules", file)
