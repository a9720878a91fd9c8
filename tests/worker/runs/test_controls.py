"""What runs of ours show of a list: when a missing marker says something, and when no run does."""

from __future__ import annotations

import math
from typing import Any

import pytest

from api_client import ListedRun
from runqueue import ids
from runqueue.records.claim_items import Unconfirmed
from runqueue.request.job_spec import parse_line
from runqueue.request.requests import Kind
from runqueue.store import codec
from worker.runs.comparison import ShownRun
from worker.runs.controls import ListControls, OwnedRun, lacks_marker
from worker.runs.matcher import LostJob, wanted

JOB, OURS, OTHER = (letter * ids.ID_LENGTH for letter in "abc")
HOOK = "https://app.test/hook"
TASK: dict[str, Any] = {"prompt": "Read it.", "url": "https://shop.test/"}
FLOW: dict[str, Any] = {"workflow_id": "wpid_1", "parameters": {}}
LOGIN = {"credential_type": "1password", "onepassword_vault_id": "v", "onepassword_item_id": "i"}
BODIES: dict[Kind, dict[str, Any]] = {
    "task": TASK,
    "workflow": FLOW,
    "login": LOGIN,
    "download_files": {"navigation_goal": "Get the bills."},
}


def job(kind: Kind = "task", *, marked: bool = True, **fields: Any) -> LostJob:
    """An unconfirmed job."""
    _, stored = codec.encode(parse_line({"kind": kind, "body": {**BODIES[kind], **fields}}))
    return wanted(Unconfirmed(JOB, 1, 5, 1, marked, "auto", "", stored), 9, 500.0)


def shown(
    run_type: str | None, *, title: str | None = None, request: dict[str, Any] | None = None
) -> ShownRun:
    """A run as a list, and its own request, show it."""
    return ShownRun(ListedRun("r", "running", run_type, title, 0.0), request)


def ours(
    run_type: str | None,
    *,
    kind: Kind = "task",
    title: str | None = None,
    webhook: str | None = None,
    echo: dict[str, Any] | None = None,
    read: bool = True,
    made: float = math.inf,
) -> OwnedRun:
    """A newer run of our job `OURS`; by default it shows what was sent, and no marker."""
    body = BODIES[kind]
    request = {**body, "webhook_url": webhook, **(echo or {})}
    run = shown(run_type, title=title, request=request if read else None)
    return OwnedRun(run, made, OURS, kind, body)


def url_with(job_id: str, attempt: int = 1) -> str:
    return f"{HOOK}?{ids.url_marker(job_id, attempt)}"


# A marker that a run of the job would show.


def test_where_titles_are_seen_to_be_kept_a_run_without_one_is_another_s() -> None:
    controls = ListControls([ours("task_v1", title=f"Prices {ids.title_marker(OURS, 3)}")])

    assert lacks_marker(shown("task_v1"), controls.proven(job()))
    assert lacks_marker(shown("task_v1", request=TASK), controls.proven(job()))


@pytest.mark.parametrize("run_type", ["task_v2", "openai_cua", None])
def test_of_another_type_s_titles_that_says_nothing(run_type: str | None) -> None:
    controls = ListControls([ours("task_v1", title=ids.title_marker(OURS, 1))])

    assert not lacks_marker(shown(run_type, request=TASK), controls.proven(job()))


@pytest.mark.parametrize("title", [None, "New Workflow", ids.title_marker(OTHER, 1)])
def test_where_no_run_of_ours_shows_its_own_marker_a_missing_one_says_nothing(
    title: str | None,
) -> None:
    controls = ListControls([ours("task_v1", title=title)])

    assert not lacks_marker(shown("task_v1", request=TASK), controls.proven(job()))


def test_a_submission_that_carried_no_marker_lacks_none() -> None:
    controls = ListControls([ours("task_v1", title=ids.title_marker(OURS, 1))])

    assert not lacks_marker(shown("task_v1", request=TASK), controls.proven(job(marked=False)))


@pytest.mark.parametrize("kind", ["task", "workflow", "login", "download_files"])
def test_where_webhooks_are_seen_to_be_shown_a_run_without_ours_is_another_s(kind: Kind) -> None:
    run_type = "task_v2" if kind == "task" else "workflow_run"
    controls = ListControls([ours(run_type, kind=kind, webhook=url_with(OURS))])

    assert lacks_marker(shown(run_type, request={}), controls.proven(job(kind, webhook_url=HOOK)))
    assert not lacks_marker(shown(run_type, request={}), controls.proven(job(kind))), (
        "it has no webhook"
    )


def test_a_run_whose_request_cannot_be_read_lacks_no_webhook() -> None:
    controls = ListControls([ours("workflow_run", kind="workflow", webhook=url_with(OURS))])
    wanted_job = job("workflow", webhook_url=HOOK)

    assert not lacks_marker(shown("workflow_run", request=None), controls.proven(wanted_job))


# What a list is worth.


def test_a_list_without_runs_of_ours_shows_nothing() -> None:
    for kind in BODIES:
        assert not ListControls([]).shows(job(kind))


@pytest.mark.parametrize(
    "one",
    [
        ours("task_v1", title=ids.title_marker(OURS, 1), echo={"prompt": "rewritten"}),
        ours("task_v1", webhook=url_with(OURS), echo={"prompt": "rewritten"}),
        ours("task_v1"),
    ],
    ids=["by its title", "by its webhook", "by its request"],
)
def test_a_run_of_ours_that_would_be_recognised_shows_what_the_list_is_worth(one: OwnedRun) -> None:
    assert ListControls([one]).shows(job())


@pytest.mark.parametrize(
    "one",
    [
        ours("task_v1", echo={"prompt": "rewritten"}),
        ours("task_v1", echo={"prompt": None}),
        ours("task_v1", read=False),
        ours("task_v1", title=ids.title_marker(OTHER, 1), echo={"prompt": "rewritten"}),
        ours("task_v1", webhook=url_with(OTHER)),
        ours(None, title=ids.title_marker(OURS, 1)),
    ],
    ids=[
        "another prompt",
        "no prompt",
        "unreadable",
        "another's title",
        "another's webhook",
        "no type",
    ],
)
def test_a_run_of_ours_that_would_not_be_recognised_shows_nothing(one: OwnedRun) -> None:
    assert not ListControls([one]).shows(job())


@pytest.mark.parametrize(
    ("kind", "fields", "run_types"),
    [
        ("task", {}, {"task_v1", "task_v2", "task_v3", "openai_cua"}),
        ("task", {"engine": "skyvern-1.0"}, {"task_v1", "task_v3", "openai_cua"}),
        ("task", {"engine": "openai-cua"}, {"task_v1", "task_v3", "openai_cua"}),
        ("task", {"engine": "skyvern-2.0"}, {"task_v2"}),
        ("task", {"engine": "skyvern-1.0", "publish_workflow": True}, {"task_v2"}),
        ("task", {"publish_workflow": True}, {"task_v2"}),
        ("workflow", {}, {"workflow_run"}),
        ("login", {}, {"workflow_run"}),
        ("download_files", {}, {"workflow_run"}),
    ],
)
def test_only_runs_of_the_job_s_kind_show_it(
    kind: Kind, fields: dict[str, Any], run_types: set[str]
) -> None:
    seen = {
        run_type
        for run_type in ("task_v1", "task_v2", "task_v3", "openai_cua", "workflow_run")
        if ListControls(
            [
                ours(
                    run_type,
                    kind="workflow" if run_type == "workflow_run" else "task",
                    title=ids.title_marker(OURS, 1),
                )
            ]
        ).shows(job(kind, **fields))
    }

    assert seen == run_types


def test_a_control_from_before_the_claim_shows_nothing() -> None:
    wanted_job = job()
    title = ids.title_marker(OURS, 1)
    older = ListControls([ours("task_v1", title=title, made=wanted_job.claimed - 0.1)])
    newer = ListControls([ours("task_v1", title=title, made=wanted_job.claimed)])

    assert (older.shows(wanted_job), older.proven(wanted_job)) == (False, frozenset())
    assert newer.shows(wanted_job)
    assert lacks_marker(shown("task_v1"), newer.proven(wanted_job))
