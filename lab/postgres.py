"""Debian's PostgreSQL as a process that can be killed and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from lab.valkeys import free_port
from lab.waiting import until

#: Where Debian has its programs, the newest version first.
_FOUND: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
#: Why a test that needs it is skipped; '' = it is installed.
MISSING: Final = "" if _FOUND else "needs Debian's postgresql"
_START_SECONDS: Final = 30.0


@dataclass(slots=True)
class Postgres:
    """A PostgreSQL on one port for its life; its superuser is `postgres`, without a password.

    Args:
        folder: its data and its log.
        port: its port.
        options: of its configuration, by name.
    """

    folder: Path
    port: int
    options: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    def url(self, database: str = "postgres") -> str:
        """Return the URL of one of its databases, as `RUNQUEUE_ARCHIVE_URL` has it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Create a database, empty, in the place of one of that name, and return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)'.encode())
            connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.url(database)

    def start(self) -> None:
        """Start it, with what it had, and wait until it answers."""
        data = self.folder / "data"
        if not data.exists():
            made = [_FOUND[0] / "initdb", "--pgdata", data, "--username=postgres", "--auth=trust"]
            words = [*_as_user(), *map(str, made), "--encoding=UTF8", "--locale=C", "--no-sync"]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        until(self._is_up, _START_SECONDS, f"PostgreSQL to start, see {self.folder}/output.log")

    def _is_up(self) -> bool:
        # After a kill -9 its children still hold its memory for a moment: it is started again.
        if self.process is None or self.process.poll() is not None:
            own = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self.options}
            words = [str(_FOUND[0] / "postgres"), "-D", str(self.folder / "data")]
            words += ["-p", str(self.port), *(f"--{name}={value}" for name, value in own.items())]
            with (self.folder / "output.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [*_as_user(), *words], stdout=log, stderr=log, cwd=self.folder
                )
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it, with SIGINT (which ends its sessions) or SIGKILL."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again after `kill` or `stop`, or end it first."""
        self.stop()
        self.start()


@contextmanager
def postgres(folder: Path | None = None, **options: str) -> Iterator[Postgres]:
    """Start one on a free port; it is ended with the context.

    Args:
        folder: its data, which stay there; None = a temporary folder. Its user may enter it.
        options: of its configuration, such as `fsync="off"`.
    """
    made = folder or Path(tempfile.mkdtemp(prefix="runqueue-postgres-"))
    made.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(made, "postgres", "postgres")
    server = Postgres(made, free_port(), options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        if folder is None:
            shutil.rmtree(made)


def _as_user() -> list[str]:
    """Return what makes a command end with us, and run as `postgres`: its programs refuse root."""
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig=INT"]
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=INT"]
