"""A stack with a Prometheus that watches it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.lab import Lab, opened
from faults.receivers import Gateway
from faults.servers import free_port
from faults.workers import Worker
from ops.proof.watching import Prometheus, seconds_until

#: Seconds in which an alert has to fire, and to clear, after its fault and its end.
FIRES, CLEARS = 150.0, 150.0


@dataclass(slots=True)
class Stage:
    """What an experiment plays on.

    Args:
        fired, cleared: seconds from the fault to the alert, and from its end to the quiet.
        alert: the one that is waited for.
        began: when everything ran and nothing fired (monotonic seconds).
    """

    lab: Lab
    gateway: Gateway
    worker: Worker
    prometheus: Prometheus
    fired: float = 0.0
    cleared: float = 0.0
    alert: str = ""
    began: float = 0.0

    @property
    def age(self) -> float:
        """Seconds since the stage was set, and nothing fired."""
        return time.monotonic() - self.began

    def fires(self, alert: str) -> None:
        """Wait until an alert fires that did not before."""
        self.alert = alert
        self.fired = seconds_until(
            lambda: alert in self.prometheus.firing(), FIRES, f"{alert} to fire"
        )

    def clears(self) -> None:
        """Wait until it fires no more."""
        self.cleared = seconds_until(
            lambda: self.alert not in self.prometheus.firing(),
            CLEARS,
            f"{self.alert} to clear",
        )

    def is_quiet(self) -> bool:
        """Say whether Prometheus has the figures of all processes, and no alert fires."""
        reached = self.prometheus.value_of("up == 1")
        working = self.prometheus.value_of("runqueue_worker_processes > 0")
        return len(reached) == 3 and bool(working) and not self.prometheus.firing()

    def config(self, **values: object) -> None:
        """Change settings of Redis while it runs."""
        with self.lab.valkey.client() as client:
            for name, value in values.items():
                client.config_set(name.replace("_", "-"), str(value))

    def limit(self, **limits: float) -> None:
        """Set limits live, as a person does."""
        with self.lab.valkey.client() as client:
            found: Mapping[str, Any] = {f"live:{name}": value for name, value in limits.items()}
            client.hset("runqueue:{default}:limits", mapping=dict(found))


@contextmanager
def staged(
    folder: Path, simulator: tuple[str, ...] = (), settings: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """Start Valkey, a simulator, a gateway, a worker and Prometheus; end them all.

    Args:
        folder: an empty one, for data and logs.
        simulator: its options.
        settings: of gateway and worker; `receives` stands for the gateway's own URL.
    """
    with ExitStack() as stack:
        lab = stack.enter_context(opened(folder, simulator, settings))
        metrics, token = free_port(), folder / "scrape-token"
        environ = {
            **lab.worker().environ,
            "SKYVERN_BASE_URL": lab.simulator.url,
            "RUNQUEUE_REDIS_URL": f"{lab.valkey.url}/0",
            "RUNQUEUE_SCRAPE_TOKEN_FILE": str(token),
        }
        lab.workers.clear()
        gateway = Gateway(environ, folder / "gateway.log")
        if environ.get("RUNQUEUE_PUBLIC_URL") == "receives":
            lab.settings["RUNQUEUE_PUBLIC_URL"] = gateway.url
            gateway.environ = {**environ, "RUNQUEUE_PUBLIC_URL": gateway.url}
        gateway.start()
        stack.callback(gateway.kill)
        worker = lab.worker(RUNQUEUE_METRICS_PORT=str(metrics)).start()
        reached = f"127.0.0.1:{gateway.port}"
        watched = {"runqueue-gateway": reached, "runqueue-worker": f"127.0.0.1:{metrics}"}
        prometheus = Prometheus(folder / "prometheus", reached, watched, token)
        prometheus.start()
        stack.callback(prometheus.stop)
        made = Stage(lab, gateway, worker, prometheus)
        seconds_until(made.is_quiet, 30.0, "the stack to be scraped, and nothing to fire")
        made.began = time.monotonic()
        yield made
