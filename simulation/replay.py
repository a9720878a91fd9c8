"""Whether seeds have the same histories in two interpreters, whose sets have other orders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import zip_longest

#: What `PYTHONHASHSEED` is in each of the two.
_HASH_SEEDS = ("1", "2")


def differences(seed: int, seeds: int, minutes: float, at_once: int) -> Iterator[str]:
    """Simulate seeds in both, and yield how each history that differs begins to.

    Args:
        seed, seeds: the first seed, and how many there are.
        minutes: simulated minutes of each.
        at_once: how many are simulated at a time.
    """
    options = ("--seed", seed, "--seeds", seeds, "--minutes", minutes, "--at-once", at_once)
    first, second = (dict(_digests(lines)) for lines in _in_both(*options, "--digests"))
    for number in range(seed, seed + seeds):
        one, other = first.get(number), second.get(number)
        if not one or not other:
            yield f"seed {number}: the simulation's process died"
        elif one != other:
            yield f"seed {number}: {_first_difference(number, minutes)}"


def _digests(lines: list[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        seed, _, digest = line.partition(" ")
        yield int(seed), digest


def _first_difference(seed: int, minutes: float) -> str:
    histories = _in_both("--seed", seed, "--minutes", minutes)
    for one, other in zip_longest(*histories, fillvalue="(ends)"):
        if one != other:
            return f"{one}\n  or: {other}"
    return "its histories differed, and do not now"


def _in_both(*options: object) -> list[list[str]]:
    """Run the command in both interpreters, and return the lines that each printed."""
    command = [sys.executable, "-m", "simulation", *map(str, options)]
    return [
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        ).stdout.splitlines()
        for hash_seed in _HASH_SEEDS
    ]
