"""The user of a command, as the audit log names him."""

import os
import pwd
import socket


def user() -> str:
    """Return the name of the process's user on this machine, from its uid, not its environment."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user without an entry
        name = f"uid {uid}"
    return f"{name}@{socket.gethostname()} (command line)"
