"""A Prometheus with the project's own rules, a minute of which is a second here."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.stack import until
from faults.servers import SkippedError, free_port
from ops.expressions import RULES

#: Between two scrapes, and two looks at the rules.
_EVERY = "500ms"
_START_SECONDS = 30.0
#: Thresholds that are times, as they stand in the rules and as they are here.
_TIMES = {"> 1800": "> 30"}


def scaled(text: str) -> str:
    """Return rules a minute of which is a second."""
    for as_it_stands, here in _TIMES.items():
        text = text.replace(as_it_stands, here)
    return re.sub(r"\b(\d+)m\b", r"\1s", text)


@dataclass(slots=True)
class Prometheus:
    """A Prometheus of its own.

    Args:
        folder: its settings, data and log.
        queue: where the queue's figures are, host and port.
        processes: where processes serve theirs, by the job's name.
        token: the file of the scrape token.
    """

    folder: Path
    queue: str
    processes: Mapping[str, str]
    token: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            SkippedError: it is not installed.
        """
        program = shutil.which("prometheus")
        if program is None:
            raise SkippedError("prometheus is not installed: apt-get install prometheus")
        self.folder.mkdir()
        (self.folder / "alerts.yml").write_text(scaled(RULES.read_text()))
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(self._settings()))
        with (self.folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._is_ready, _START_SECONDS, "Prometheus to start")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def firing(self) -> set[str]:
        """Return the alerts that fire now."""
        alerts = self._ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def fired(self, seconds: float) -> set[str]:
        """Return the alerts that have fired in the last seconds."""
        firing = f'last_over_time(ALERTS{{alertstate="firing"}}[{seconds:.0f}s])'
        found = self.value_of(f"count by (alertname) ({firing})")
        return {one["metric"]["alertname"] for one in found}

    def value_of(self, expression: str) -> list[Any]:
        """Return what an expression comes to now."""
        found: list[Any] = self._ask("query", query=expression)["result"]
        return found

    def _ask(self, what: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}"
        answer = httpx.get(url, params=parameters, timeout=10, trust_env=False)
        told = json.loads(answer.content)
        if told["status"] != "success":
            raise ValueError(f"{told.get('error')}: {parameters}")
        return told["data"]

    def _is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.port}/-/ready"
        try:
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _settings(self) -> dict[str, Any]:
        token = {"credentials_file": str(self.token)}
        jobs: list[dict[str, Any]] = [
            {
                "job_name": "runqueue-queue",
                "metrics_path": "/metrics/queue",
                "authorization": token,
                "static_configs": [{"targets": [self.queue]}],
            }
        ]
        for name, target in self.processes.items():
            job = {"job_name": name, "static_configs": [{"targets": [target]}]}
            jobs.append(job | ({"authorization": token} if name == "runqueue-gateway" else {}))
        return {
            "global": {"scrape_interval": _EVERY, "evaluation_interval": _EVERY},
            "rule_files": ["alerts.yml"],
            "scrape_configs": jobs,
        }


def seconds_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition and return how long that took.

    Raises:
        TimeoutError: it did not come true in time.
    """
    start = time.monotonic()
    until(condition, seconds, what, every=0.1)
    return time.monotonic() - start
