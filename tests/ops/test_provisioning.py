"""What compose starts for monitoring, held against what the processes serve."""

from typing import Any

import yaml

from config.settings import Settings
from ops.expressions import HERE, dashboards
from tests.ops.conftest import Promtool

COMPOSE: dict[str, Any] = yaml.safe_load((HERE.parent / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
PROMETHEUS: dict[str, Any] = yaml.safe_load((HERE / "prometheus/prometheus.yml").read_text())
JOBS = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}


def mounts(service: str) -> dict[str, str]:
    """Return what a service sees, by where it sees it."""
    found = (volume.split(":") for volume in SERVICES[service]["volumes"])
    return {parts[1]: parts[0] for parts in found}


def test_prometheus_takes_its_settings(promtool: Promtool) -> None:
    # The token's file is in the container only.
    promtool("check", "config", "--syntax-only", HERE / "prometheus/prometheus.yml")


def test_the_queue_is_scraped_from_one_place_and_each_process_from_its_own() -> None:
    queue, gateway, worker = (JOBS[f"runqueue-{name}"] for name in ("queue", "gateway", "worker"))

    assert [job for job in JOBS.values() if job.get("metrics_path") == "/metrics/queue"] == [queue]
    assert queue["static_configs"] == [{"targets": ["gateway:8080"]}]
    for job, port in ((gateway, "gateway_port"), (worker, "metrics_port")):
        (found,) = job["dns_sd_configs"]
        assert found["type"] == "A"
        assert found["port"] == Settings.model_fields[port].default
        assert set(found["names"]) <= SERVICES.keys()


def test_the_gateway_and_prometheus_read_one_token() -> None:
    file = SERVICES["gateway"]["environment"]["RUNQUEUE_SCRAPE_TOKEN_FILE"]
    folder = file.rpartition("/")[0]

    for name in ("runqueue-queue", "runqueue-gateway"):
        assert JOBS[name]["authorization"] == {"credentials_file": file}
    assert mounts("gateway")[folder] == mounts("prometheus")[folder] == "scrape-token"
    assert "scrape-token" in COMPOSE["volumes"]
    assert f"mkdir {folder} && chown runqueue {folder}" in (HERE.parent / "Dockerfile").read_text()


def test_a_worker_is_asked_for_no_token_and_only_the_network_reaches_it() -> None:
    assert "authorization" not in JOBS["runqueue-worker"]
    assert "ports" not in SERVICES["worker"]


def test_monitoring_starts_only_when_asked_for_and_listens_to_this_host_alone() -> None:
    for name in ("prometheus", "grafana"):
        assert SERVICES[name]["profiles"] == ["monitoring"]
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


def test_nobody_can_log_in_to_grafana_or_change_anything() -> None:
    environment = SERVICES["grafana"]["environment"]

    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in environment if "PASSWORD" in name]


def test_grafana_finds_the_dashboards_and_their_source() -> None:
    provisioning = HERE / "grafana/provisioning"
    source = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())
    boards = yaml.safe_load((provisioning / "dashboards/runqueue.yml").read_text())
    folder = boards["providers"][0]["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert mounts("grafana") == {
        "/etc/grafana/provisioning": "./ops/grafana/provisioning",
        folder: "./ops/grafana/dashboards",
    }
    assert home.removeprefix(f"{folder}/") in dashboards()
    (one,) = source["datasources"]
    assert one["uid"] == "prometheus"
    assert one["url"] == "http://prometheus:9090"


def test_every_mounted_file_is_there() -> None:
    for service in ("prometheus", "grafana"):
        for path in mounts(service).values():
            assert not path.startswith("./") or (HERE.parent / path).is_dir(), path
