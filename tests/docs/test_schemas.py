"""The published JSON Schemas: up to date, and never of another opinion than the queue."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from jsonschema import Draft202012Validator, FormatChecker

from runqueue import InvalidJob, RunQueue, parse_line, schemas
from runqueue.request.job_options import FIELDS
from tests.runqueue.cli.commanding import Desk, line

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/schemas"
ALL = schemas.schemas()

TASK: dict[str, Any] = {"kind": "task", "body": {"prompt": "Read the price."}}
FLOW: dict[str, Any] = {"kind": "workflow", "body": {"workflow_id": "wpid_1"}}


def task(**fields: Any) -> dict[str, Any]:
    return {**TASK, "body": {**TASK["body"], **fields}}


def flow(**fields: Any) -> dict[str, Any]:
    return {**FLOW, "body": {**FLOW["body"], **fields}}


def validator(name: str) -> Any:
    return Draft202012Validator(ALL[name], format_checker=FormatChecker())


def is_valid(name: str, value: Any) -> bool:
    return bool(validator(name).is_valid(value))


REFUSED: dict[str, Any] = {
    "no object": [],
    "no kind": {"body": {"prompt": "x"}},
    "no body": {"kind": "task"},
    "a body that is none": {"kind": "task", "body": "x"},
    "another kind": {**TASK, "kind": "taks"},
    "a kind that is no text": {**TASK, "kind": 1},
    "an unknown field": {**TASK, "prioritee": 1},
    "a field of the body beside it": {**TASK, "prompt": "x"},
    "an unknown field in the body": task(max_step=1),
    "a field of the other kind": task(workflow_id="wpid_1"),
    "a task's field in a workflow": flow(prompt="x"),
    "no prompt": {"kind": "task", "body": {}},
    "a blank prompt": {"kind": "task", "body": {"prompt": " \n"}},
    "a NUL in the prompt": {"kind": "task", "body": {"prompt": "a\0"}},
    "a URL without a scheme": task(url="shop.example"),
    "a URL with a space": task(webhook_url="https://a.example/b c"),
    "steps as text": task(max_steps="10"),
    "no steps": task(max_steps=0),
    "steps as true": task(max_steps=True),
    "a header's name": task(extra_http_headers={"a b": "c"}),
    "a header of two lines": task(extra_http_headers={"a": "b\nc"}),
    "a place without a country": task(proxy_location={"city": "x"}),
    "a place with an unknown field": task(proxy_location={"country": "DE", "zip": "1"}),
    "an error code's number": task(error_code_mapping={"a": 1}),
    "a flag as text": task(publish_workflow="yes"),
    "no workflow": {"kind": "workflow", "body": {}},
    "null for the workflow": {"kind": "workflow", "body": {"workflow_id": None}},
    "two workflows": flow(agent_id="wpid_2"),
    "parameters that are no object": flow(parameters=[1]),
    "too many minutes": flow(max_elapsed_time_minutes=525_601),
    "an empty custom_id": {**TASK, "custom_id": ""},
    "a long custom_id": {**TASK, "custom_id": "x" * 257},
    "a custom_id of two lines": {**TASK, "custom_id": "a\nb"},
    "a custom_id that is a number": {**TASK, "custom_id": 17},
    "a priority beyond the last": {**TASK, "priority": 4},
    "a priority by another name": {**TASK, "priority": "higher"},
    "a priority of true": {**TASK, "priority": True},
    "a group in capitals": {**TASK, "group": "A"},
    "no group": {**TASK, "group": ""},
    "no account": {**TASK, "account": ""},
    "a long namespace": {**TASK, "namespace": "x" * 33},
    "a delay before now": {**TASK, "delay": -1},
    "a delay as text": {**TASK, "delay": "5"},
    "a deadline in 20 years": {**TASK, "deadline": 20 * 365 * 86_400},
    "run_at and delay": {**TASK, "run_at": 5, "delay": 5},
    "another policy": {**TASK, "on_unconfirmed": "retry"},
    "a retry that is a number": {**TASK, "retry": 3},
    "a retry's unknown field": {**TASK, "retry": {"attempts": 3}},
    "too many attempts": {**TASK, "retry": {"max_attempts": 101}},
    "a retry on nothing": {**TASK, "retry": {"retry_on": []}},
    "a retry on a word": {**TASK, "retry": {"retry_on": "failed"}},
    "a pause before now": {**TASK, "retry": {"min_backoff": -1}},
    "metadata of a number": {**TASK, "metadata": {"order": 17}},
    "a name of metadata with a blank": {**TASK, "metadata": {"a b": "x"}},
    "21 entries of metadata": {**TASK, "metadata": {str(n): "x" for n in range(21)}},
    "a long text of metadata": {**TASK, "metadata": {"a": "x" * 257}},
    "metadata of two lines": {**TASK, "metadata": {"a": "x\ny"}},
}

ACCEPTED: dict[str, Any] = {
    "a task": TASK,
    "a workflow": FLOW,
    "a workflow by its newer name": {"kind": "workflow", "body": {"agent_id": "wpid_1"}},
    "null for the older name": {
        "kind": "workflow",
        "body": {"agent_id": "wpid_1", "workflow_id": None},
    },
    "null for every option": {**TASK, **dict.fromkeys(FIELDS - {"kind", "body"})},
    "a priority by number": {**TASK, "priority": 0},
    "an empty namespace": {**TASK, "namespace": ""},
    "a joined emoji": {**TASK, "custom_id": "👩‍👩‍👧"},
    "256 characters": {**TASK, "custom_id": "ł" * 256},
    "a scheme in capitals": task(url="HTTPS://shop.example:443/a?b#c"),
    "a host in brackets": task(url="http://[::1]:8000"),
    "a place": task(proxy_location={"country": "DE", "city": None}),
    "a schema as text": task(data_extraction_schema="{}"),
    "a schema as a list": task(data_extraction_schema=[1]),
    "a header": task(extra_http_headers={"X-A": "b"}),
    "seconds": {**TASK, "run_at": 1.5, "deadline": 60},
    "a time": {**TASK, "run_at": "2030-01-31T12:00:00Z"},
    "null for a delay": {**TASK, "run_at": 5, "delay": None},
    "a retry": {**TASK, "retry": {"max_attempts": 3, "retry_on": ["terminated"]}},
    "metadata": {**TASK, "metadata": {"order": "17", "a_B.c-9": "ł" * 256}},
    "a retry of nulls": {**TASK, "retry": {"max_attempts": None}},
}


@pytest.mark.parametrize("name", ALL)
def test_what_is_published_is_up_to_date(name: str) -> None:
    stored = json.loads((FOLDER / f"{name}.schema.json").read_text())
    assert stored == ALL[name], "run `make schemas`"


def test_every_schema_is_published_and_nothing_else(tmp_path: Path) -> None:
    schemas.write(tmp_path / "schemas")
    written = {path.name: path.read_text() for path in (tmp_path / "schemas").iterdir()}
    assert written == {path.name: path.read_text() for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", ALL)
def test_a_schema_is_one_and_its_examples_are_valid(name: str) -> None:
    Draft202012Validator.check_schema(ALL[name])
    for example in ALL[name].get("examples", []):
        validator(name).validate(example)


@pytest.mark.parametrize("name", ALL)
def test_every_field_says_what_it_is(name: str) -> None:
    schema = ALL[name]
    assert schema["title"]
    assert schema["description"]
    for field, part in schema["properties"].items():
        assert part.get("description"), field


def test_a_line_has_every_field_that_the_queue_reads() -> None:
    assert set(ALL["job_line"]["properties"]) == FIELDS


def test_the_example_files_are_valid_but_for_the_line_that_is_wrong_on_purpose() -> None:
    expected = json.loads((ROOT / "launcher/examples/expected.json").read_text())
    for path in [*ROOT.glob("examples/*.jsonl"), *ROOT.glob("launcher/examples/*.jsonl")]:
        wrong = [
            number
            for number, text in enumerate(path.read_text().splitlines(), 1)
            if not is_valid("job_line", json.loads(text))
        ]
        assert wrong == (expected["invalid_lines"] if path.name == "runs.jsonl" else [])


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_schema_refuses_the_queue_refuses(name: str) -> None:
    assert not is_valid("job_line", REFUSED[name])
    with pytest.raises(InvalidJob):
        parse_line(json.dumps(REFUSED[name]))


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_queue_accepts_the_schema_accepts(name: str) -> None:
    parse_line(json.dumps(ACCEPTED[name]))
    validator("job_line").validate(ACCEPTED[name])


@pytest.mark.parametrize("name", [n for n in {**REFUSED, **ACCEPTED} if n != "no object"])
def test_a_body_alone_is_judged_as_in_its_line(name: str) -> None:
    given = {**REFUSED, **ACCEPTED}[name]
    if given.get("kind") in {"task", "workflow"} and "body" in given:
        alone = is_valid(f"{given['kind']}_run_request", given["body"])
        beside = is_valid("job_line", {"kind": given["kind"], "body": given["body"]})
        assert alone == beside


def test_what_becomes_of_a_job_is_as_its_schema_says(
    redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    with RunQueue(redis_url) as queue:
        desk = Desk(redis_url, tmp_path, client, queue)
        answers = queue.enqueue_many([line("a"), line(None, priority="low", delay=60), line("c")])
        again = queue.enqueue_many([line("a"), line("a", prompt="Another.")])
        for answer in [*answers, *again]:
            row = {**answer._asdict(), "created_at": answer.created_at.isoformat()}
            validator("enqueued").validate(json.loads(json.dumps(row)))
        desk.end(desk.claim())
        for job in queue.get_many([answer.job_id for answer in answers]):
            assert job is not None
            validator("job").validate(job.as_row())
