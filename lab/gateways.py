"""The gateway as a process."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from lab.valkeys import free_port
from lab.waiting import until
from runqueue.embedded.secret_files import TOKEN_FILE

_START_SECONDS = 30.0


@dataclass(slots=True)
class Gateway:
    """A gateway's place: its port, its settings, and its process, if one runs.

    Args:
        environ: its settings.
        log: where its output goes; its folder is the process's own, with the token that it makes.
    """

    environ: Mapping[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The token that it made at its start."""
        return (self.log.parent / TOKEN_FILE).read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        """What a request to it has to carry."""
        return {"Authorization": f"Bearer {self.token}"}

    def start(self) -> Self:
        """Start a process and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway"],
                env={**self.environ, "RUNQUEUE_GATEWAY_PORT": str(self.port)},
                cwd=self.log.parent,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, _START_SECONDS, "the gateway to start")
        return self

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
