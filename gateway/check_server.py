"""`python -m gateway.check_server FD`: forks the processes that check bodies, one for each body.

A hostile body costs as much memory and CPU time as it can get. In a process of its own it takes
none from the gateway: they share no interpreter lock, the check has a lower priority and limits of
its own, and its memory is freed with the process.

The gateway sends the socket of a check over FD; a fork of this process serves it until it closes.
This process has imported everything that a check needs, so a fork is ready within milliseconds.

If memory runs out, Python raises an error, but a library in C or Rust may crash instead. So this
process keeps the socket of each check, too, and reports over it how a crashed process ended: the
body caused the crash, and would cause it again.
"""

import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from gateway.api import bulk, upload_check  # noqa: F401 - what the messages name
from gateway.checks.messages import (
    Begin,
    Check,
    CheckBudget,
    CheckFailed,
    CheckStep,
    Crashed,
    NotReadable,
    Order,
    TooLarge,
)
from runqueue.errors import InvalidJob
from runqueue.producer.chunks import Packet
from runqueue.producer.dedup import NoRoom
from runqueue.request.private_targets import allow_private_targets
from runqueue.request.request_checks import use_checks

#: How much lower the priority of checks is (`nice`).
NICENESS = 10
#: Bytes that one check may take beyond those that it shares with this process.
MAX_MEMORY = 96 * 1024 * 1024
#: CPU seconds after which the system ends a single step: none takes a tenth of it.
_STEP_SECONDS = 10
#: If memory runs out, Linux kills the process with the highest value first (-1000 to 1000).
_END_FIRST = "500"
_MEMORY = "expected less: checking it takes too much memory"
_TIME = "expected less: checking it takes too much time for its size; send it in parts, or unpacked"
#: The report on a body whose check ended by one of these signals; others are not its fault.
_CRASHES: dict[int, str] = {
    signal.SIGSEGV: _MEMORY,
    signal.SIGBUS: _MEMORY,
    signal.SIGABRT: _MEMORY,
    signal.SIGXCPU: _TIME,
}

#: The processes that live, and the sockets that they serve.
_serving: dict[int, socket.socket] = {}


def main(control: socket.socket) -> None:
    """Make a process for each socket that comes over a socket, until that closes."""
    # A signal to the whole process group lets the gateway finish open requests, which need these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _reap)
    os.nice(NICENESS)
    gc.collect()
    gc.freeze()
    while True:
        _, found, _, _ = socket.recv_fds(control, 1, 1)
        if not found:
            return
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            for other in _serving.values():
                other.close()
            _bound()
            serve(Connection(found[0]))
            os._exit(0)
        _serving[pid] = socket.socket(fileno=found[0])
        _reap()  # it may have ended before it was noted


def _reap(*_: object) -> None:
    """Reap the processes that have ended, and report those that crashed."""
    for pid, served in list(_serving.items()):
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # the signal came meanwhile, and with it this was done
            continue
        if ended:
            del _serving[pid]
            if words := _CRASHES.get(os.WTERMSIG(status)):
                served.setblocking(False)  # a gateway that does not read is not waited for
                with suppress(OSError):
                    Connection(served.dup().detach()).send(CheckStep(error=Crashed(words)))
            served.close()


def _bound() -> None:
    """Limit the memory and CPU time of this process."""
    with suppress(OSError, ValueError, StopIteration):
        status = Path("/proc/self/status").read_text().splitlines()
        data = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data * 1024 + MAX_MEMORY, hard))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_END_FIRST)


def serve(connection: Connection) -> None:
    """Check one body as ordered, until the other side closes."""
    try:
        begin: Begin = connection.recv()
        use_checks(begin.checks)
        allow_private_targets(allowed=begin.allows_private_targets)
        checked = _Checked(begin.work(), begin.budget)
        while True:
            connection.send(checked.follow(*connection.recv()))
    except (EOFError, OSError):
        return
    except NoRoom as error:
        connection.send(CheckStep(error=error))


class _Checked:
    """A body under check, within its budget.

    Args:
        check: checks it.
        budget: the CPU time that it may take.
    """

    def __init__(self, check: Check, budget: CheckBudget) -> None:
        self._check = check
        self._budget = budget
        self._allowed = time.process_time() + budget.seconds
        self._going: Iterator[Packet | None] = iter(())

    def follow(self, order: Order, part: bytes) -> CheckStep:
        """Carry out one step of an order."""
        self._end_if_stuck()
        try:
            if order is Order.FEED:
                self._allowed += len(part) / 2**20 * self._budget.seconds_per_mib
                self._going = iter(self._check.feed(part))
            elif order is Order.END:
                self._going = iter(self._check.end())
            return self._step()
        except (InvalidJob, NotReadable, TooLarge, NoRoom) as error:
            return CheckStep(error=error)
        except (MemoryError, SystemError):  # orjson's, if it gets none for an object's entries
            return CheckStep(error=TooLarge(_MEMORY))
        except Exception as error:  # noqa: BLE001 - reported by type: the text may quote
            return CheckStep(error=CheckFailed(type(error).__name__))

    def _step(self) -> CheckStep:
        over = time.monotonic() + self._budget.step
        for packet in self._going:
            if packet is not None:
                return CheckStep(packet)
            if time.process_time() > self._allowed:
                raise TooLarge(_TIME)
            if time.monotonic() > over:
                return CheckStep()
        return CheckStep(findings=self._check.findings)

    def _end_if_stuck(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        most = int(time.process_time()) + _STEP_SECONDS
        with suppress(ValueError):  # the process was started with a limit below
            resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
