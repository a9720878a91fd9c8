"""docker-compose.yml, the Dockerfile and .env.example, held against the code they start."""

import os
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import PREFIX, Settings
from hatch_version import RELEASE

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]


def variables() -> dict[str, Any]:
    """Return the variables that a worker reads, with their defaults."""
    found = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        found[alias if isinstance(alias, str) else f"{PREFIX}{name.upper()}"] = field.default
    return found


def example() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^# ((?:SKYVERN|RUNQUEUE)_\w+)=(.*)$", text, re.MULTILINE))


def test_the_example_names_every_setting_and_no_other() -> None:
    assert example().keys() == variables().keys()


def test_the_example_changes_nothing_when_it_is_copied() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert all(line.startswith("#") or not line for line in lines)


def test_every_image_is_pinned_to_a_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert all(re.search(r":v?\d", image) for image in images)


def test_redis_keeps_every_key_on_disk_and_evicts_none() -> None:
    redis = SERVICES["redis"]
    command = " ".join(redis["command"])

    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command
    assert redis["volumes"] == ["redis-data:/data"]


def test_the_gateway_has_the_time_to_finish_open_requests() -> None:
    grace = int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s"))

    assert grace >= Settings.model_fields["drain_seconds"].default + 10


def test_the_gateway_is_reached_from_its_host_only_through_nginx() -> None:
    gateway, nginx = SERVICES["gateway"], SERVICES["nginx"]
    port = Settings.model_fields["gateway_port"].default
    config = (ROOT / "deploy" / "nginx.conf").read_text()

    assert gateway["command"] == ["runqueue", "gateway"]
    assert "ports" not in gateway
    assert nginx["ports"] == [f"127.0.0.1:{port}:8000"]
    assert nginx["volumes"] == ["./deploy/nginx.conf:/etc/nginx/nginx.conf:ro"]
    assert "listen 8000;" in config
    assert f"server gateway:{port};" in config
    assert gateway["environment"]["RUNQUEUE_GATEWAY_PORT"] == str(port)
    assert f"http://127.0.0.1:{port}/healthz" in gateway["healthcheck"]["test"][-1]
    assert f"RUNQUEUE_GATEWAY_PORT={port}" in (ROOT / "Dockerfile").read_text()


def test_the_worker_and_the_gateway_are_one_image_with_one_queue() -> None:
    worker, gateway = SERVICES["worker"], SERVICES["gateway"]

    assert worker["image"] == gateway["image"]
    for name in ("SKYVERN_API_KEY", "RUNQUEUE_REDIS_URL"):
        assert worker["environment"][name] == gateway["environment"][name]


def test_the_image_is_built_of_every_package_that_its_services_run() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["importlinter"]["root_packages"]) - {
        "bench",
        "faults",
        "lab",
        "ops",
    }

    assert {f"!{package}/" for package in packages} <= set(ignored)
    assert {"!runqueue-server/", "!deploy/image/"} <= set(ignored)


def test_the_image_has_the_name_of_the_version() -> None:
    for name in ("worker", "gateway", "simulator"):
        assert SERVICES[name]["image"] == f"runqueue:{RELEASE}"


def test_the_worker_has_the_time_to_drain() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))

    assert grace >= Settings.model_fields["drain_seconds"].default + 10
    assert "STOPSIGNAL SIGTERM" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("service", ["worker", "gateway"])
def test_every_variable_of_a_service_is_a_setting_and_the_key_is_required(service: str) -> None:
    environment = SERVICES[service]["environment"]

    assert environment.keys() <= variables().keys()
    assert environment["SKYVERN_API_KEY"].startswith("${SKYVERN_API_KEY:?")


def test_the_image_sets_nothing_but_settings() -> None:
    names = re.findall(rf"({PREFIX}\w+)=", (ROOT / "Dockerfile").read_text())

    assert names
    assert set(names) <= variables().keys()


def test_the_image_leaves_secrets_and_the_history_out() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert ignored[0] == "*"
    assert not {"!.env", "!.git/", "!.venv/"} & set(ignored)


@pytest.mark.parametrize(
    "service", [name for name, one in SERVICES.items() if "python" in str(one.get("healthcheck"))]
)
def test_a_health_check_asks_its_own_container_whatever_proxy_the_environment_names(
    service: str,
) -> None:
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    *_, code = SERVICES[service]["healthcheck"]["test"]
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.handle_request).start()
        code, count = re.subn(r"127\.0\.0\.1:\d+", f"127.0.0.1:{server.server_port}", code)
        nobody = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:1"}
        subprocess.run([sys.executable, "-c", code], check=True, env=nobody, timeout=30)
    assert (count, len(asked)) == (1, 1)
