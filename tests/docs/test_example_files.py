"""The example files: what the demo runs, and what it expects of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from runqueue.errors import InvalidJob
from runqueue.request.job_spec import JobSpec, Priority, parse_line
from runqueue.request.requests import MODELS

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "launcher/examples"
LINES = (EXAMPLES / "runs.jsonl").read_bytes().splitlines()
EXPECTED = json.loads((EXAMPLES / "expected.json").read_text())


def valid() -> list[JobSpec]:
    return [
        parse_line(line)
        for number, line in enumerate(LINES, 1)
        if number not in EXPECTED["invalid_lines"]
    ]


def plan(spec: JobSpec) -> tuple[str, float]:
    """Read from a job how the simulator will end it, and after how many seconds."""
    if spec.kind == "workflow":
        wishes = spec.body["parameters"]
    else:
        wishes = {k: v[0] for k, v in parse_qs(urlsplit(spec.body["url"]).query).items()}
    return wishes.get("sim_end", "completed"), float(wishes["sim_seconds"])


def test_exactly_one_line_in_the_middle_is_invalid_by_a_typo() -> None:
    (number,) = EXPECTED["invalid_lines"]
    assert abs(number - len(LINES) / 2) < 10
    with pytest.raises(InvalidJob, match="max_step: unknown field, did you mean 'max_steps'"):
        parse_line(LINES[number - 1])


def test_every_other_line_is_valid_and_ends_as_the_expected_counts_say() -> None:
    ends = Counter(plan(spec)[0] for spec in valid())
    assert ends.keys() == {"completed", "failed", "terminated", "timed_out"}
    assert ends["completed"] == EXPECTED["completed"]
    assert ends.total() - ends["completed"] == EXPECTED["failed"]
    assert ends.total() >= 300


def test_every_run_takes_a_third_of_a_second_to_three_seconds() -> None:
    assert all(0.3 <= plan(spec)[1] <= 3 for spec in valid())


def test_every_line_has_an_id_of_its_own() -> None:
    ids = {json.loads(line)["custom_id"] for line in LINES}
    assert len(ids) == len(LINES)


def test_the_lines_cover_both_kinds_all_priorities_several_groups_and_delays() -> None:
    specs = valid()
    assert {spec.kind for spec in specs} == {"task", "workflow"}
    assert {spec.priority for spec in specs} == set(Priority)
    assert len({spec.group for spec in specs}) >= 5
    delays = {spec.run_at.microseconds / 1e6 for spec in specs if spec.run_at}
    assert min(delays) >= 1
    assert max(delays) <= 3


def test_all_fields_shows_every_field_of_every_kind() -> None:
    text = (ROOT / "examples/all_fields.jsonl").read_bytes()
    specs = [parse_line(line) for line in text.splitlines()]
    for kind, model in MODELS.items():
        shown = {name for spec in specs if spec.kind == kind for name in spec.body}
        assert shown == set(model.model_fields)
