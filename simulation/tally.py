"""Sums of the results of many simulations, in a file from which the next run continues."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from simulation.marks import MARKS
from simulation.plan import FAULTS
from simulation.runs import Result

_ROOT = Path(__file__).parents[1]


@dataclass(slots=True)
class SeedTally:
    """The sums of one tree.

    Args:
        commit: the commit of the simulated tree, and what was changed in it since, as a digest; a
            tally of another tree starts at zero.
        minutes_each: simulated minutes of each seed; likewise.
        seeds: the simulated seeds, as ordered ranges [first, last].
        minutes: simulated minutes.
        seconds: real seconds, summed over the simulations.
        events, jobs, runs: as in `Result`.
        faults_met: how many faults of each kind had an effect, and how often each effect came.
        marks: how often each of `MARKS` was reached.
        failed: the seeds with an invariant that did not hold.
    """

    commit: str = ""
    minutes_each: float = 0.0
    seeds: list[tuple[int, int]] = field(default_factory=list)
    minutes: float = 0.0
    seconds: float = 0.0
    events: int = 0
    jobs: int = 0
    runs: int = 0
    faults_met: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path | None, minutes_each: float) -> SeedTally:
        """Read a file; an empty tally where there is none, or one of another tree or length.

        Args:
            file: the file.
            minutes_each: simulated minutes of each seed.
        """
        fresh = cls(commit=_commit(), minutes_each=minutes_each)
        if file is None or not file.exists():
            return fresh
        known = json.loads(file.read_text())
        if (known["commit"], known.get("minutes_each")) != (fresh.commit, minutes_each):
            return fresh
        return cls(**known | {"seeds": [(first, last) for first, last in known["seeds"]]})

    def write(self, file: Path) -> None:
        """Replace the file."""
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(file)

    def remaining(self, first: int, count: int) -> Iterator[int]:
        """Yield the seeds of a range that were not simulated yet."""
        done = list(self.seeds)
        for seed in range(first, first + count):
            if not any(start <= seed <= last for start, last in done):
                yield seed

    def add(self, result: Result) -> None:
        """Add a result."""
        self.seeds = _add_to_ranges(self.seeds, result.seed)
        self.minutes += result.minutes
        self.seconds += result.seconds
        self.events += result.events
        self.jobs += result.jobs
        self.runs += result.runs
        self.faults_met = dict(Counter(self.faults_met) + Counter(result.faults_met))
        self.marks = dict(Counter(self.marks) + Counter(result.marks))
        if result.violations:
            self.failed.append(result.seed)

    @property
    def count(self) -> int:
        """Return how many seeds were simulated."""
        return sum(last - first + 1 for first, last in self.seeds)

    def never_met(self) -> list[str]:
        """Return the kinds of faults that never had an effect, and the marks never reached."""
        return [
            *(kind for kind in FAULTS if not self.faults_met.get(kind)),
            *(mark for mark in MARKS if not self.marks.get(mark)),
        ]

    def report(self) -> str:
        """Return the sums as text."""
        lines = [
            (
                f"{self.count} seeds, {self.minutes / 60:.1f} simulated hours,"
                f" {self.events} events, {self.jobs} jobs, {self.runs} runs,"
                f" in {self.seconds / 60:.1f} minutes of one process"
            ),
            *(f"  {count:8d}  {kind}" for kind, count in sorted(self.faults_met.items())),
            "reached:",
            *(f"  {self.marks.get(mark, 0):8d}  {mark}" for mark in sorted(MARKS)),
            f"failed: {self.failed or 'none'}",
        ]
        return "\n".join(lines)


def _add_to_ranges(ranges: list[tuple[int, int]], seed: int) -> list[tuple[int, int]]:
    """Return ranges with a seed added, in order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted([*ranges, (seed, seed)]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _commit() -> str:
    """Return the commit of the tree and a digest of what was changed; '' outside a repository."""
    try:
        head, changes = _git("rev-parse", "HEAD").strip(), _git("diff", "HEAD")
        others = _git("ls-files", "--others", "--exclude-standard").split()
    except (OSError, subprocess.CalledProcessError):
        return ""
    for name in others:
        if name.endswith((".py", ".lua", ".toml")):
            changes += f"{name}\n{(_ROOT / name).read_text()}"
    return f"{head}+{sha256(changes.encode()).hexdigest()[:16]}" if changes else head


def _git(*arguments: str) -> str:
    git = ["git", "-C", str(_ROOT), *arguments]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout
