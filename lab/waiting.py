"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    condition: Callable[[], T | None], seconds: float = 20.0, what: str = "it", every: float = 0.02
) -> T:
    """Ask again and again until the answer is true, and return it.

    Raises:
        TimeoutError: it was not, in time; `what` says what was waited for.
    """
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(every)
    return found
