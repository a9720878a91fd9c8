"""Child processes that end when their parent does, also when it is killed.

A parent that is killed cannot stop its children; so each asks Linux for SIGTERM at its parent's
death, and then becomes its command. Elsewhere the command runs on.

Linux means the thread that started the child: start it in one that lives as long as the process.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """Return what this process is to start in a command's place.

    Args:
        command: the program and its arguments.
    """
    # This file alone, and nothing of its folder, whose modules have names of the standard library.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent: int, command: list[str]) -> None:
    """Become the command, which ends with the parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # It may have died before the call above.
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell: that is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
