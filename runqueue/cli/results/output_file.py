"""A results file: it gets its name once all of it is on the disk."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from runqueue.cli.shared.exit_codes import Exit, ended


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces an existing one at its end; after an error nothing is left of it.

    What is no plain file (a pipe, /dev/stdout) is written as it is. An error of the disk ends the
    command.

    Args:
        path: of the file; of a link, the file it points to is replaced.
    """
    try:
        if is_special(path):
            with path.open("wb") as file:
                yield file
            return
        target = path.resolve()
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        words = f"cannot write results to {path}: {error.strerror or error}"
        raise ended(words, Exit.NOT_ALL_COMPLETED) from None


def is_special(path: Path) -> bool:
    """Return whether a path is no plain file; the target of /dev/stdout belongs to its opener."""
    return path.parts[:2] == ("/", "dev") or (path.exists() and not path.is_file())
