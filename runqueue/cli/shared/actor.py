"""Who gives a command, as audits name him."""

import os
import pwd
import socket


def user() -> str:
    """Return the name of the process' user on this machine, whatever its environment says."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user without an entry
        name = f"uid {uid}"
    return f"{name}@{socket.gethostname()} (command line)"
