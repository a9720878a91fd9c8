"""`python -m worker.tether PARENT COMMAND...`: a process that ends when its parent does.

A parent that is killed cannot stop its children; so each asks Linux for SIGTERM at its parent's
death, and then becomes its command. Elsewhere the command runs untethered.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Become the command, tethered to the parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # It may have died before the call above.
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell: that is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
