"""`docs/metrics.md`: every metric, as the code has it."""

from collections.abc import Iterable

from ops.exposed import Exposed, exposed

_HEAD = """# Metrics

<!-- Written by `make monitoring`; a test compares it with the code. -->

| address | tells of | scrape |
|---|---|---|
| the gateway's `/metrics/queue` | the whole queue, as Redis has it | one gateway alone |
| a worker's `/metrics` (port 9464) | that process | every worker |
| the gateway's `/metrics` | that process | every gateway |

The queue's figures are counted in Redis by the scripts that move jobs: two gateways or ten workers
change no sum, and a restart loses none. A worker's `/metrics/queue` has the same figures, for where
there is no gateway. All begin with `runqueue_`; times are in seconds, sizes in bytes.

Labels are bounded. None holds a job, a run or a URL, nor a batch except `scope` and `budget`, of
the 20 budgets of which the largest shares are spent; groups are the 20 with most jobs that
are ready or take a slot, and all others together as `other`. Beside those named each metric of the
queue has `account`, unless it is Redis' or says otherwise.

## Prometheus and Grafana

```sh
docker compose --profile monitoring up --build --scale worker=3
```

starts a Prometheus (http://127.0.0.1:9090) and a Grafana (http://127.0.0.1:3000, no login,
nothing to change) beside the queue, both for this host alone. Everything they read stands in
`ops/`: `prometheus/prometheus.yml`, the alert rules (`prometheus/alerts.yml`,
`prometheus/alerts_test.yml`), and the dashboards (`grafana/dashboards`): overview, API health,
webhooks, batches, workers and Redis. [runbooks.md](runbooks.md) says what to do when an alert
fires. Whom Prometheus tells is yours to say (`alerting` in its settings).

With a Prometheus of your own, take these files: rules as they are, `scrape_configs` with your
addresses, keeping the names of the jobs, which rules and dashboards ask for, and with one gateway
for `runqueue-queue`: two would double every sum. The gateway asks for a
token, from wherever it is scraped:

- `RUNQUEUE_SCRAPE_TOKEN_FILE` names a file with a token that opens `/metrics` and
  `/metrics/queue` and nothing else. The gateway makes it where there is none; several may share
  it. Let Prometheus read it (`authorization: {credentials_file: …}`), and keep its folder to the
  two. Remove the file and restart the gateway for a new one.
- Or a token of `RUNQUEUE_API_TOKENS` with the scope `read`, which opens jobs and results as well.

A worker's port asks for no token: leave it to the network that Prometheus is in
(`RUNQUEUE_METRICS_HOST`). To scale workers on work, take `runqueue_claimable_jobs`.
"""

_PARTS = {
    "queue": "The queue: `/metrics/queue`",
    "worker": "A worker process: `/metrics`",
    "gateway": "A gateway process: `/metrics`",
}


def page() -> str:
    """Return the page."""
    metrics = exposed()
    parts = [_HEAD]
    for where, title in _PARTS.items():
        rows = "\n".join(_rows(metric for metric in metrics if metric.where == where))
        parts.append(
            f"## {title}\n\n| metric | kind | labels | tells |\n|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def _rows(metrics: Iterable[Exposed]) -> Iterable[str]:
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels if label != "account")
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |"
