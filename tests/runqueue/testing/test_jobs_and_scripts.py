"""Which jobs are meant, and what becomes of their submissions."""

from __future__ import annotations

from typing import Any

import pytest

from runqueue.testing import QueueForTests, ScriptedSkyvern

BODY: dict[str, Any] = {"workflow_id": "wpid_1", "parameters": {"order": 7, "tags": ["a", "b"]}}


def enqueue(queue: QueueForTests, **line: Any) -> str:
    (answer,) = queue.enqueue_many([{"kind": "workflow", "body": BODY, **line}])
    return answer.job_id


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        ({}, True),
        ({"kind": "workflow"}, True),
        ({"kind": "task"}, False),
        ({"group": "default"}, True),
        ({"group": "other"}, False),
        ({"body": {"workflow_id": "wpid_1"}}, True),
        ({"body": {"parameters": {"order": 7}}}, True),
        ({"body": {"parameters": {"order": 8}}}, False),
        ({"body": {"parameters": {"tags": ["a"]}}}, False),
        ({"body": {"title": None}}, False),
        ({"body": {"workflow_id": {"x": 1}}}, False),
    ],
)
def test_a_part_of_a_job_says_which_is_meant(
    queue: QueueForTests, wanted: dict[str, Any], is_meant: bool
) -> None:
    job_id = enqueue(queue)

    assert [found.job.id for found in queue.enqueued(**wanted)] == [job_id] * is_meant
    if is_meant:
        assert queue.assert_enqueued(**wanted).body == BODY
    else:
        with pytest.raises(AssertionError, match=r"(?s)no job has.*enqueued are:.*wpid_1"):
            queue.assert_enqueued(**wanted)


def test_a_name_that_is_none_is_refused(queue: QueueForTests, skyvern: ScriptedSkyvern) -> None:
    enqueue(queue)
    wrong: dict[str, Any] = {"gruop": "a"}
    with pytest.raises(TypeError, match="gruop"):
        queue.assert_enqueued(**wrong)
    with pytest.raises(TypeError, match="gruop"):
        skyvern.on(**wrong)
    with pytest.raises(ValueError, match="status: expected 400 to 599, got 200"):
        skyvern.on().refuses(200)
    status: Any = "oops"
    with pytest.raises(ValueError, match="status: expected failed, terminated, timed_out"):
        skyvern.on().fails(status=status)


def test_jobs_come_in_the_order_in_which_they_were_enqueued(queue: QueueForTests) -> None:
    job_ids = [enqueue(queue, group=f"g{number}") for number in range(120)]

    assert [found.job.id for found in queue.enqueued()] == job_ids
    assert queue.assert_enqueued(kind="workflow").job.id == job_ids[-1]


def test_an_ended_job_is_among_them_with_its_request(queue: QueueForTests) -> None:
    job_id = enqueue(queue)
    queue.drain()
    queue.advance(hours=1)
    queue.drain()  # it is packed by now

    (found,) = queue.enqueued()
    assert (found.job.id, found.job.state, found.body) == (job_id, "completed", BODY)


def test_the_last_script_that_matches_holds(queue: QueueForTests, skyvern: ScriptedSkyvern) -> None:
    skyvern.on(kind="workflow").completes(1)
    skyvern.on(group="b").completes(2)
    skyvern.on(kind="task").completes(3)
    a, b = enqueue(queue, group="a"), enqueue(queue, group="b")
    queue.drain()

    assert [queue.get(job_id).output for job_id in (a, b)] == [1, 2]


def test_jobs_share_a_script_in_the_order_of_their_submissions(
    queue: QueueForTests, skyvern: ScriptedSkyvern
) -> None:
    skyvern.on().completes(0).completes(1).completes(2)
    job_ids = [enqueue(queue) for _ in range(4)]
    queue.drain()

    assert [queue.get(job_id).output for job_id in job_ids] == [0, 1, 2, 2]


def test_a_script_goes_on_after_its_last_outcome_was_repeated(
    queue: QueueForTests, skyvern: ScriptedSkyvern
) -> None:
    script = skyvern.on().completes(1)
    job_ids = [enqueue(queue) for _ in range(3)]
    queue.drain()
    script.completes(2).completes(3)
    job_ids += [enqueue(queue) for _ in range(2)]
    queue.drain()

    assert [queue.get(job_id).output for job_id in job_ids] == [1, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("task", {"prompt": "Read.", "engine": "skyvern-2.0"}),
        ("workflow", BODY),
        (
            "login",
            {"credential_type": "skyvern", "credential_id": "cred_1", "url": "https://x.test"},
        ),
        ("download_files", {"navigation_goal": "Get it.", "url": "https://x.test"}),
    ],
)
def test_every_kind_is_scripted(
    queue: QueueForTests, skyvern: ScriptedSkyvern, kind: str, body: dict[str, Any]
) -> None:
    skyvern.on(kind=kind).completes({"kind": kind})
    job_id = enqueue(queue, kind=kind, body=body)
    queue.drain()

    assert queue.get(job_id).output == {"kind": kind}
    assert [sent.job_id for sent in skyvern.submissions] == [job_id]
