"""The queues in Redis and behind a gateway have the same methods, with the same arguments."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args, get_origin

import pytest

from runqueue import AsyncRunQueue, AwaitableJob, QueuedJob, RunQueue
from runqueue.remote.queue import RemoteQueue

#: What stands on Redis itself: its scripts and what streams from them, its INFO and its policy.
OF_REDIS = {"send", "open_results", "server_info", "check_server"}
#: What coroutines return, and what threads do.
TWINS: dict[Any, Any] = {AsyncIterator: Iterator, AwaitableJob: QueuedJob}


def methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")} - OF_REDIS


def signature(kind: type, name: str) -> inspect.Signature:
    found = inspect.signature(getattr(kind, name), eval_str=True)
    returned = found.return_annotation
    if get_origin(returned) in TWINS:
        returned = TWINS[get_origin(returned)][get_args(returned)]
    return found.replace(return_annotation=TWINS.get(returned, returned))


def test_the_three_have_the_same_methods() -> None:
    assert methods(RunQueue) == methods(AsyncRunQueue) == methods(RemoteQueue)


@pytest.mark.parametrize("name", sorted(methods(RunQueue)))
def test_a_method_has_one_signature(name: str) -> None:
    near = signature(RunQueue, name)

    assert signature(AsyncRunQueue, name) == near
    assert signature(RemoteQueue, name) == near
