"""The Kubernetes example, held against the code that it starts."""

import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from config.settings import Settings
from gateway.api.openapi import describe
from gateway.app import make_app
from gateway.state.state import GatewayState
from runqueue import RunQueue
from runqueue.observe.collector import QueueCollector
from tests.deploy.test_compose import SERVICES, variables
from tests.worker.working import closed_port
from webhooks import receiver_address
from worker.process.metrics_server import serve_metrics
from worker.runtime import GOODBYE_SECONDS, Runtime

_FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OBJECTS: list[dict[str, Any]] = [
    found
    for path in sorted(_FOLDER.glob("*.yaml"))
    for found in yaml.safe_load_all(path.read_text())
]
CONFIG = (_FOLDER.parent / "nginx.conf").read_text()
#: What serves requests, from the outside to the inside.
PAIR = ("nginx", "gateway")
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_METRIC = re.compile(r"\brunqueue_\w+")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def of(kind: str, name: str = "") -> list[dict[str, Any]]:
    """The objects of a kind."""
    return [o for o in OBJECTS if o["kind"] == kind and o["metadata"]["name"].endswith(name)]


def container(name: str) -> dict[str, Any]:
    """The container of a Deployment."""
    (deployment,) = of("Deployment", "gateway" if name == "nginx" else name)
    every = deployment["spec"]["template"]["spec"]["containers"]
    (found,) = (one for one in every if one["name"] == name)
    return dict(found)


def settings() -> Settings:
    """Settings of a process that is never started."""
    return Settings(SKYVERN_API_KEY=SecretStr("simulator-key"))


def status(url: str) -> int:
    """What an address is answered with."""
    try:
        with _DIRECT.open(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def paths_of(name: str) -> set[str]:
    """The paths that a container's probes ask for."""
    return {container(name)[probe]["httpGet"]["path"] for probe in _PROBES}


def test_every_object_is_one_and_no_two_of_a_kind_have_one_name() -> None:
    names = [(o["kind"], o["metadata"]["name"]) for o in OBJECTS]

    assert all(o["apiVersion"] for o in OBJECTS)
    assert len(set(names)) == len(names)
    assert {kind for kind, _ in names} >= {
        "Deployment", "Service", "Ingress", "PodDisruptionBudget", "ScaledObject", "ConfigMap",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["worker", "gateway"])
def test_what_selects_the_pods_of_a_deployment_finds_them(name: str) -> None:
    (deployment,) = of("Deployment", name)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [o["spec"]["selector"]["matchLabels"] for o in of("PodDisruptionBudget", name)]
    selectors += [o["spec"]["selector"] for o in of("Service", name)]
    selectors += [o["spec"]["selector"]["matchLabels"] for o in of("PodMonitor", name)]

    assert len(selectors) == 3
    assert all(selector.items() <= labels.items() for selector in selectors)


@pytest.mark.parametrize("name", ["worker", "gateway"])
def test_it_runs_the_command_and_the_image_of_the_compose_file(name: str) -> None:
    found = container(name)

    assert found["image"] == SERVICES[name]["image"]
    assert found["args"] == SERVICES[name].get("command", ["runqueue", "worker"])


def test_the_command_of_the_worker_is_that_of_the_image() -> None:
    dockerfile = (_FOLDER.parents[1] / "Dockerfile").read_text()

    assert f"CMD {container('worker')['args']}".replace("'", '"') in dockerfile
    (user,) = re.findall(r"--uid (\d+)", dockerfile)
    for deployment in of("Deployment"):
        assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(user)


async def test_the_gateway_answers_at_the_paths_of_its_probes_and_monitors() -> None:
    gate = GatewayState(settings(), "redis://127.0.0.1:1/0")
    served = describe(make_app(gate))["paths"].keys()
    await gate.close()
    (monitor,) = of("ServiceMonitor")
    wanted = paths_of("gateway") | {end["path"] for end in monitor["spec"]["endpoints"]}

    assert wanted <= served


def test_the_worker_answers_at_the_paths_of_its_probes_and_monitors(redis_url: str) -> None:
    url = serve_metrics("127.0.0.1", closed_port(), redis_url, Runtime(settings(), redis_url))
    assert url is not None
    (monitor,) = of("PodMonitor")
    wanted = paths_of("worker") | {end["path"] for end in monitor["spec"]["podMetricsEndpoints"]}

    # 503: it waits for Redis, for it was never started.
    assert {status(url.replace("/metrics", path)) for path in wanted} <= {200, 503}
    assert status(url.replace("/metrics", "/elsewhere")) == 404


@pytest.mark.parametrize("name", ["worker", "gateway"])
def test_a_probe_asks_at_the_port_that_the_process_is_told_to_listen_at(name: str) -> None:
    found = container(name)
    environ = {one["name"]: one["value"] for one in found["env"]}
    (port,) = found["ports"]
    kind = "METRICS" if name == "worker" else "GATEWAY"

    assert {found[probe]["httpGet"]["port"] for probe in _PROBES} == {port["name"]}
    assert environ[f"RUNQUEUE_{kind}_PORT"] == str(port["containerPort"])
    assert environ[f"RUNQUEUE_{kind}_HOST"] == "0.0.0.0"


def test_every_variable_is_a_setting_also_in_what_is_commented_out() -> None:
    (config,) = of("ConfigMap")
    names = set(config["data"])
    for name in ("worker", "gateway"):
        names |= {one["name"] for one in container(name)["env"]}
        assert container(name)["envFrom"] == [
            {"configMapRef": {"name": "runqueue"}},
            {"secretRef": {"name": "runqueue"}},
        ]
    text = "\n".join(path.read_text() for path in _FOLDER.glob("*.yaml"))
    named = set(re.findall(r"\b(?:RUNQUEUE|SKYVERN)_[A-Z_]+\b", text))

    assert names <= variables().keys()
    assert named <= variables().keys()


@pytest.mark.parametrize("name", ["worker", "gateway"])
def test_a_pod_has_the_time_to_drain(name: str) -> None:
    (deployment,) = of("Deployment", name)
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]

    assert grace >= Settings.model_fields["drain_seconds"].default + GOODBYE_SECONDS + 5


@pytest.mark.parametrize("name", ["worker", "gateway", "nginx"])
def test_a_pod_has_no_right_that_it_does_not_need(name: str) -> None:
    for deployment in of("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_nginx_stands_before_the_gateway_which_believes_it_alone() -> None:
    (deployment,) = of("Deployment", "gateway")
    (service,) = of("Service")
    pod, nginx, gateway = deployment["spec"]["template"]["spec"], *map(container, PAIR)
    (alias,) = pod["hostAliases"]
    environ = {one["name"]: one["value"] for one in gateway["env"]}

    assert nginx["image"] == SERVICES["nginx"]["image"]
    assert service["spec"]["ports"][0]["targetPort"] == nginx["ports"][0]["name"]
    assert f"listen {nginx['ports'][0]['containerPort']};" in CONFIG
    assert alias["ip"] == environ["RUNQUEUE_GATEWAY_PROXIES"] == "127.0.0.1"
    assert f"server {alias['hostnames'][0]}:{environ['RUNQUEUE_GATEWAY_PORT']};" in CONFIG
    assert {"name": "nginx", "configMap": {"name": "runqueue-nginx"}} in pod["volumes"]
    text = (_FOLDER / "runqueue.yaml").read_text()
    assert "kubectl create configmap runqueue-nginx --from-file=deploy/nginx.conf" in text


def test_only_webhooks_come_in_from_outside() -> None:
    (ingress,) = of("Ingress")
    (service,) = of("Service")
    paths = [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]

    assert [path["path"] for path in paths] == [f"{receiver_address.PATH}/"]
    backend = paths[0]["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] == service["spec"]["ports"][0]["name"]


def test_keda_scales_the_workers_by_metrics_that_there_are(queue: RunQueue) -> None:
    (scaled,) = of("ScaledObject")
    (deployment,) = of("Deployment", "worker")
    (trigger,) = scaled["spec"]["triggers"]
    there = {metric.name for metric in QueueCollector(queue).collect()}

    assert scaled["spec"]["scaleTargetRef"] == {"name": deployment["metadata"]["name"]}
    assert scaled["spec"]["minReplicaCount"] == deployment["spec"]["replicas"]
    asked = set(_METRIC.findall(trigger["metadata"]["query"]))
    assert asked
    assert asked <= there


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_prometheus_understands_the_query(tmp_path: Path) -> None:
    (scaled,) = of("ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    rules = {"groups": [{"name": "keda", "rules": [{"record": "runnable", "expr": query}]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))

    checked = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], check=False
    )

    assert checked.returncode == 0
