"""Warnings that a process logs once each, however many jobs there are to warn of."""

import logging
import threading

#: Different warnings that one log takes.
MOST_WARNINGS = 1000

log = logging.getLogger("runqueue")


class OnceLog:
    """Logs warnings, each once in the life of the process; thread-safe."""

    def __init__(self) -> None:
        self.logged: set[object] = set()
        self._lock = threading.Lock()

    def warn(self, key: object, message: str, *arguments: object) -> None:
        """Log a warning, unless one of that key was logged, or very many were.

        Args:
            key: what distinguishes it from others.
            message, arguments: as a logger takes them.
        """
        with self._lock:
            if key in self.logged or len(self.logged) >= MOST_WARNINGS:
                return
            self.logged.add(key)
        log.warning(f"{message} (logged once)", *arguments)
