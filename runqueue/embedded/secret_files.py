"""Secrets that this project makes itself, each in a file of its own."""

import os
import secrets
from pathlib import Path

#: The token of a gateway on this machine, below its working directory
#: (`gateway/auth/local_token.py`).
TOKEN_FILE = Path(".runqueue") / "token"

#: Characters that a secret has at least.
SHORTEST = 16


class BadSecretFile(ValueError):  # noqa: N818 - what it says is in its name
    """A secret's file cannot be used; the message names the file and says why."""


def make_folder(folder: Path) -> None:
    """Make the folder of such files, for its owner alone; git does not see what is in it.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")


def secret_in(file: Path, *, is_private: bool = True) -> str:
    """Return the secret in a file, which is made if it is not there.

    Several processes may do so at once: all of them return the same secret.

    Args:
        file: its directory has to be there.
        is_private: whether its owner alone may read it, also where it is there already. Else
            everybody may who sees its directory.

    Raises:
        BadSecretFile: it cannot be read, made or kept private, or holds no secret.
    """
    try:
        if not file.exists():
            _make(file, 0o600 if is_private else 0o644)
        elif is_private and file.stat().st_mode & 0o077:
            file.chmod(0o600)
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise BadSecretFile(f"cannot use {file} ({why})") from None
    if len(secret) < SHORTEST or not secret.isascii() or not secret.isprintable():
        raise BadSecretFile(
            f"expected {SHORTEST} or more characters of ASCII in {file}; remove it, and one is made"
        )
    return secret


def _make(file: Path, mode: int) -> None:
    """Make the file, whole or not at all."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    # Nobody else reads it meanwhile, whatever the umask is.
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
        made.write(f"{secrets.token_urlsafe(32)}\n")
    fresh.chmod(mode)
    try:
        os.link(fresh, file)
    except FileExistsError:
        pass  # another process was first
    except OSError:  # a file system without links
        fresh.replace(file)
    fresh.unlink(missing_ok=True)
