"""Who gives a command, as audits name him."""

import getpass
import socket


def user() -> str:
    """Return the user's name on this machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        name = "somebody"
    return f"{name}@{socket.gethostname()} (command line)"
