"""What is known of a job whose answer was lost: what carries its marker, when to look for it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue import ids
from runqueue.records.claim_items import Unconfirmed
from runqueue.request.job_spec import parse_line
from runqueue.request.server_rules import MAX_METADATA
from runqueue.store import codec
from worker.runs.matcher import (
    BEFORE,
    SUBMISSION,
    WITHOUT_URL,
    Carrier,
    LostJob,
    markers_of,
    next_search,
    wanted,
)

JOB, OTHER = "a" * ids.ID_LENGTH, "b" * ids.ID_LENGTH
SECOND = 1_000_000
TASK = {"prompt": "Read it.", "url": "https://shop.test/", "max_steps": 4}
FLOW = {"workflow_id": "wpid_1", "parameters": {"order": 17, "gift": None}}
LOGIN = {"credential_type": "1password", "onepassword_vault_id": "v", "onepassword_item_id": "i"}
DOWNLOAD = {"navigation_goal": "Get the bills."}
HOOK = {"webhook_url": "https://app.test/hook"}
TITLE, WEBHOOK, TAG = Carrier.TITLE, Carrier.WEBHOOK, Carrier.TAG


def job(
    body: dict[str, Any],
    kind: str = "task",
    *,
    attempt: int = 2,
    claimed: int | None = 990,
    marked: bool = True,
    received: bool = False,
    date: int | None = None,
) -> LostJob:
    """A job that has been unconfirmed for five seconds."""
    _, stored = codec.encode(parse_line({"kind": kind, "body": body}))
    claimed_us = None if claimed is None else claimed * SECOND
    date_us = None if date is None else date * SECOND
    unconfirmed = Unconfirmed(
        *(JOB, attempt, 1_000 * SECOND, claimed_us, marked, "auto", "", stored, received, date_us)
    )
    return wanted(unconfirmed, 1_005 * SECOND, 500.0)


def test_a_job_is_read_with_its_times_and_all_its_fields() -> None:
    body = {**TASK, "title": "Prices", "user_agent": "me", **HOOK}

    found = job(body)

    assert (found.age, found.since) == (5.0, 500.0 - 15 - BEFORE)
    assert found.lost == 495.0
    assert (found.kind, found.fields) == ("task", body)
    assert found.marker == (JOB, 2)


def test_a_job_whose_claim_s_time_is_not_known_is_looked_for_further_back() -> None:
    found = job(TASK, claimed=None)

    assert found.since == 500.0 - 5 - SUBMISSION - BEFORE
    assert found.lost == 495.0


def test_a_run_may_be_as_old_as_the_claim_by_either_clock_and_a_control_is_newer_by_both() -> None:
    def moment(date: float) -> float:
        return date - 7_000.0

    by_ours = 500.0 - 15
    for date, by_its in ((7_000, 0.0), (7_490, 490.0)):
        found = job(TASK, date=date).by_date(moment)
        assert found.since == min(by_ours, by_its) - BEFORE
        assert found.claimed == max(by_ours, by_its)
    assert job(TASK).by_date(moment) == job(TASK)


@pytest.mark.parametrize("stored", [b"", b"{}", b"nonsense", b'{"k":"t"}\nnonsense', b"{}\n{}"])
def test_a_broken_request_is_said_to_be_one(stored: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        wanted(Unconfirmed(JOB, 1, 0, 0, True, "auto", "", stored), SECOND, 0.0)


FULL = {"run_metadata": {f"k{i}": "v" for i in range(MAX_METADATA)}}


@pytest.mark.parametrize(
    ("kind", "body", "carriers"),
    [
        ("task", TASK, {TITLE}),
        ("task", {**TASK, "title": "mine"}, {TITLE}),
        ("task", {**TASK, "engine": "skyvern-2.0", **HOOK}, {TITLE, WEBHOOK}),
        ("task", {**TASK, "webhook_url": None}, {TITLE}),
        ("workflow", FLOW, {TAG}),
        ("workflow", {**FLOW, "title": "mine"}, {TAG}),
        ("workflow", {**FLOW, **HOOK}, {WEBHOOK, TAG}),
        ("workflow", {**FLOW, "run_metadata": {"a": "b"}}, {TAG}),
        ("workflow", {**FLOW, **FULL}, set()),
        ("workflow", {**FLOW, "run_metadata": {ids.TAG_KEY: "mine"}}, set()),
        ("login", LOGIN, set()),
        ("login", {**LOGIN, **HOOK}, {WEBHOOK}),
        ("download_files", DOWNLOAD, set()),
        ("download_files", {**DOWNLOAD, **HOOK}, {WEBHOOK}),
    ],
)
def test_what_carries_the_marker_of_each_kind(
    kind: str, body: dict[str, Any], carriers: set[Carrier]
) -> None:
    assert job(body, kind).carriers == carriers
    assert job(body, kind, received=True).carriers == carriers | {WEBHOOK}
    assert job(body, kind, marked=False, received=True).carriers == set()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("task", TASK),
        ("task", {**TASK, "title": "mine", **HOOK}),
        ("workflow", {**FLOW, **HOOK}),
        ("workflow", {**FLOW, **FULL, **HOOK}),
        ("login", {**LOGIN, **HOOK}),
        ("download_files", DOWNLOAD),
    ],
)
@pytest.mark.parametrize("receiver", [None, "https://ours.test/hook?token=t"])
def test_a_marker_is_where_its_carriers_say_and_nowhere_else(
    kind: str, body: dict[str, Any], receiver: str | None
) -> None:
    found = job(body, kind, received=receiver is not None)
    post = codec.submission(found.unconfirmed.stored, JOB, 2, tag=True, receiver=receiver)
    sent = orjson.loads(post.content)

    by_title = ids.markers_in(sent.get("title") or "")
    by_webhook = ids.markers_in(sent.get("webhook_url") or "")
    tag = (sent.get("run_metadata") or {}).get(ids.TAG_KEY)

    assert by_title == ({(JOB, 2)} if TITLE in found.carriers else set())
    assert by_webhook == ({(JOB, 2)} if WEBHOOK in found.carriers else set())
    assert tag == (f"{JOB}.2" if TAG in found.carriers else None)


@given(attempt=st.integers(1, 10_000), other=st.integers(1, 10_000))
def test_what_is_searched_for_is_in_no_other_attempt_s_request(attempt: int, other: int) -> None:
    stored = job({**TASK, "title": "Prices", **HOOK}).unconfirmed.stored
    sent = codec.submission(stored, JOB, other).content.decode()

    for key in (ids.title_marker(JOB, attempt), ids.url_marker(JOB, attempt)):
        assert (key in sent) is (attempt == other)


@pytest.mark.parametrize(
    ("echoed", "found"),
    [
        ({}, set()),
        ({"title": None, "webhook_url": None}, set()),
        ({"title": 5, "webhook_url": ["rq_job"]}, set()),
        ({"title": "Prices"}, set()),
        ({"title": f"Prices [rq:{JOB}.2]"}, {(JOB, 2)}),
        ({"webhook_url": f"https://a.test/?x=1&rq_job={JOB}.11.#top"}, {(JOB, 11)}),
        (
            {"title": f"[rq:{JOB}.1]", "webhook_url": f"https://a.test/?rq_job={OTHER}.3."},
            {(JOB, 1), (OTHER, 3)},
        ),
        ({"title": f"[rq:{JOB}.]"}, set()),
        ({"title": f"[rq:{JOB[:-1]}.1]"}, set()),
        ({"title": f"[rq:{JOB.upper()}.1]"}, set()),
        ({"prompt": f"[rq:{JOB}.1]"}, set()),
    ],
)
def test_markers_are_read_from_title_and_webhook(
    echoed: dict[str, Any], found: set[tuple[str, int]]
) -> None:
    assert markers_of(echoed) == found


# Which jobs are interchangeable.


def test_jobs_are_interchangeable_where_their_whole_bodies_are_the_same() -> None:
    swapped = {name: FLOW[name] for name in reversed(FLOW)}

    assert job(FLOW, "workflow").body == job(swapped, "workflow", attempt=7).body


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("task", {**TASK, "max_steps": 5}),
        ("task", {**TASK, "title": "mine"}),
        ("task", {**TASK, "title": None}),
        ("task", {**TASK, "user_agent": "me"}),
        ("task", {**TASK, **HOOK}),
        ("task", {**TASK, "url": "https://shop.test"}),
    ],
)
def test_any_difference_in_what_was_sent_makes_jobs_others(kind: str, body: dict[str, Any]) -> None:
    assert job(body, kind).body != job(TASK).body


def test_equal_bodies_of_two_kinds_are_two_requests() -> None:
    body = {"url": "https://shop.test/", **LOGIN}
    download = {"url": "https://shop.test/", "navigation_goal": "x"}

    assert job(body, "login").body != job(download, "download_files").body


# When to look.


@pytest.mark.parametrize(
    ("kind", "body", "wait"),
    [
        ("task", TASK, 30.0),
        ("task", {"prompt": "Read it."}, WITHOUT_URL),
        ("task", {"prompt": "Read it.", "url": None}, WITHOUT_URL),
        ("task", {"prompt": "Read it.", "engine": "skyvern-2.0"}, WITHOUT_URL),
        ("workflow", FLOW, 30.0),
        ("login", LOGIN, 30.0),
        ("download_files", DOWNLOAD, 30.0),
    ],
)
def test_a_run_may_not_be_listed_yet_while_a_model_chooses_its_url(
    kind: str, body: dict[str, Any], wait: float
) -> None:
    assert job(body, kind).wait(30.0) == wait
    assert job(body, kind).wait(3_600.0) == 3_600.0


def looks(grace: float, until: float) -> list[float]:
    """At which ages a job is looked for, the first look being two seconds after the loss."""
    ages, age = [], 2.0
    while age < until:
        ages.append(age)
        age += next_search(age, grace)
    return ages


def test_a_job_is_looked_for_soon_at_the_grace_and_half_a_minute_later() -> None:
    ages = looks(30.0, 3_600)

    assert [age for age in ages if age < 5] == [2.0, 4.0]
    assert {30.0, 60.0} <= {round(age, 6) for age in ages}
    assert 4 <= sum(age < 30 for age in ages) <= 8


@pytest.mark.parametrize("grace", [30.0, WITHOUT_URL])
def test_looks_become_rarer_and_never_rarer_than_five_minutes(grace: float) -> None:
    ages = looks(grace, 4 * 3_600)
    gaps = [next_search(age, grace) for age in ages]

    after = [gap for age, gap in zip(ages, gaps, strict=True) if age >= grace]
    assert after == sorted(after)
    assert after[-1] == 300.0
    assert max(gaps) == 300.0


@given(age=st.floats(0, 1e7), grace=st.floats(0, 3_600))
def test_a_look_is_never_due_at_once_nor_far_away(age: float, grace: float) -> None:
    assert 0.05 <= next_search(age, grace) <= 300.0


@given(age=st.floats(0, 1e6), grace=st.floats(0.1, 3_600))
def test_no_look_skips_the_end_of_the_grace(age: float, grace: float) -> None:
    if age < grace:
        assert age + next_search(age, grace) <= grace + 0.051
