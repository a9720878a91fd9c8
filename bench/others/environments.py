"""The rivals' tools, in environments of their own under `.bench`, made when they are first needed.

arq has one for itself, since it pins an older redis-py.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
ROOT = _HERE.parent.parent
_BENCH = ROOT / ".bench"


class MissingError(Exception):
    """A tool cannot be had on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Python:
    """A virtual environment, from the pinned releases of `requirements-<name>.txt`."""

    name: str

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the command that runs a module in it."""
        return (str(self._python), "-m", *arguments)

    def make(self) -> None:
        """Install what is pinned, unless that is there.

        Raises:
            MissingError: it cannot be installed.
        """
        pins = _HERE / f"requirements-{self.name}.txt"
        if _is_there(self._folder, pins):
            return
        _run(sys.executable, "-m", "venv", "--clear", str(self._folder))
        _run(str(self._python), "-m", "pip", "install", "--quiet", "--requirement", str(pins))
        shutil.copy(pins, self._folder)

    @property
    def _folder(self) -> Path:
        return _BENCH / self.name

    @property
    def _python(self) -> Path:
        return self._folder / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Own:
    """The environment this process runs in."""

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the command that runs a module in it."""
        return (sys.executable, "-m", *arguments)

    def make(self) -> None:
        """Do nothing: it is there."""


@dataclass(frozen=True, slots=True)
class Node:
    """The npm packages that `package-lock.json` pins, with the programs beside them."""

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the command that runs a program in it."""
        program, *rest = arguments
        return ("node", str(_BENCH / "node" / program), *rest)

    def make(self) -> None:
        """Install what is pinned, unless that is there, and copy the programs.

        Raises:
            MissingError: there is no Node here, or npm cannot install.
        """
        folder = _BENCH / "node"
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise MissingError("no node and npm here")
        if not _is_there(folder, _HERE / "package.json"):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(_HERE / "package-lock.json", folder)
            pins = shutil.copy(_HERE / "package.json", folder)
            try:
                _run("npm", "ci", "--prefix", str(folder), "--no-audit", "--no-fund")
            except MissingError:
                Path(pins).unlink()
                raise
        for program in _HERE.glob("*.mjs"):
            shutil.copy(program, folder)


Environment = Python | Own | Node


def _is_there(folder: Path, pins: Path) -> bool:
    """Tell whether a folder was made from these pins: their copy is put there at the end."""
    copy = folder / pins.name
    return copy.exists() and copy.read_text() == pins.read_text()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"{command[0]} failed: {done.stderr.strip()[-200:]}")
