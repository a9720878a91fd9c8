"""When a run that ended badly is run again, and after how long."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue.request.retry_policy import RUN_STATUSES, Retry

THREE = Retry(max_attempts=3)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
#: Answers that may look like a run with error codes, and mostly do not.
results = json_values | st.fixed_dictionaries(
    {"errors": json_values | st.lists(st.fixed_dictionaries({"error_code": json_values}))}
)
policies = st.builds(
    Retry,
    max_attempts=st.integers(1, 100),
    retry_on=st.lists(st.sampled_from([*RUN_STATUSES, "out_of_stock"]), min_size=1).map(tuple),
    min_backoff=st.floats(0, 3_600),
    max_backoff=st.floats(3_600, 31_536_000),
    max_doublings=st.integers(0, 64),
)
chances = st.floats(0, 1)
statuses = st.sampled_from([*RUN_STATUSES, "completed", "canceled", "paused", "melted", ""])


def with_codes(*codes: Any) -> dict[str, Any]:
    return {"errors": [{"error_code": code, "reasoning": "It said so."} for code in codes]}


@pytest.mark.parametrize(
    ("retry", "runs", "status", "again"),
    [
        (Retry(), 1, "failed", False),
        (THREE, 1, "failed", True),
        (THREE, 2, "failed", True),
        (THREE, 3, "failed", False),
        (THREE, 4, "failed", False),
        (THREE, 1, "timed_out", True),
        (THREE, 1, "terminated", False),
        (Retry(3, ("terminated",)), 1, "terminated", True),
        (Retry(3, ("terminated",)), 1, "failed", False),
        (Retry(3, ("timed_out",)), 1, "failed", False),
        (THREE, 1, "completed", False),
        (THREE, 1, "canceled", False),
        (Retry(3, ("canceled", "completed")), 1, "canceled", False),
        (Retry(3, ("canceled", "completed")), 1, "completed", False),
        (Retry(3, ("melted",)), 1, "melted", False),
        (THREE, 1, "", False),
    ],
)
def test_a_run_is_tried_again_by_its_status_and_how_often_it_was_run(
    retry: Retry, runs: int, status: str, again: bool
) -> None:
    assert (retry.backoff(runs, status, {}, 0.5) is not None) is again


@pytest.mark.parametrize(
    ("retry_on", "result", "again"),
    [
        (("out_of_stock",), with_codes("out_of_stock"), True),
        (("out_of_stock",), with_codes("login_failed", "out_of_stock"), True),
        (("out_of_stock",), with_codes("login_failed"), False),
        (("out_of_stock",), with_codes(), False),
        (("out_of_stock",), with_codes("OUT_OF_STOCK"), False),
        (("out_of_stock",), {"errors": ["out_of_stock"]}, False),
        (("out_of_stock",), {"failure_reason": "out_of_stock"}, False),
        (("failed",), with_codes("login_failed"), True),
        (("timed_out",), with_codes("login_failed"), False),
    ],
)
@pytest.mark.parametrize("status", ["failed", "terminated"])
def test_a_run_is_tried_again_by_an_error_code_that_its_answer_names(
    retry_on: tuple[str, ...], result: Any, again: bool, status: str
) -> None:
    expected = again and (status == "failed" or "failed" not in retry_on)

    decided = Retry(3, retry_on).backoff(1, status, result, 0.5)

    assert (decided is not None) is expected


@pytest.mark.parametrize("status", ["completed", "canceled"])
def test_an_error_code_does_not_bring_back_a_run_that_ended_well_or_was_canceled(
    status: str,
) -> None:
    assert Retry(3, ("slow",)).backoff(1, status, with_codes("slow"), 0.5) is None


@pytest.mark.parametrize(
    ("runs", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 40), (6, 40), (9, 40)]
)
def test_the_wait_doubles_as_often_as_it_may(runs: int, seconds: float) -> None:
    retry = Retry(max_attempts=100, min_backoff=5, max_doublings=3)

    assert retry.backoff(runs, "failed", None, 1.0) == seconds


@pytest.mark.parametrize(("runs", "seconds"), [(1, 5), (2, 10), (3, 12), (4, 12), (90, 12)])
def test_the_wait_stays_at_the_longest(runs: int, seconds: float) -> None:
    retry = Retry(max_attempts=100, min_backoff=5, max_backoff=12)

    assert retry.backoff(runs, "failed", None, 1.0) == seconds


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 5), (0.5, 7.5), (1.0, 10)])
def test_chance_spreads_the_waits_between_half_and_all(chance: float, seconds: float) -> None:
    assert Retry(2, min_backoff=10).backoff(1, "failed", None, chance) == seconds


def test_without_a_backoff_it_is_run_again_at_once() -> None:
    retry = Retry(9, min_backoff=0, max_backoff=0)

    assert [retry.backoff(runs, "failed", None, 0.7) for runs in (1, 8)] == [0, 0]


@given(retry=policies, runs=st.integers(1, 10_000), status=statuses, result=results, chance=chances)
def test_never_more_runs_than_max_attempts_whatever_the_answer(
    retry: Retry, runs: int, status: str, result: Any, chance: float
) -> None:
    decided = retry.backoff(runs, status, result, chance)

    if runs >= retry.max_attempts:
        assert decided is None


@given(retry=policies, runs=st.integers(1, 99), result=results, chance=chances)
def test_a_terminated_run_is_tried_again_only_if_it_is_named(
    retry: Retry, runs: int, result: Any, chance: float
) -> None:
    if "terminated" not in retry.retry_on and "out_of_stock" not in str(result):
        assert retry.backoff(runs, "terminated", result, chance) is None


@given(retry=policies, runs=st.integers(1, 99), chance=chances)
def test_a_wait_is_always_within_its_bounds(retry: Retry, runs: int, chance: float) -> None:
    decided = retry.backoff(runs, retry.retry_on[0], None, chance)

    if decided is not None:
        assert math.isfinite(decided)
        assert retry.min_backoff / 2 <= decided <= retry.max_backoff


@given(retry=policies, runs=st.integers(1, 98))
def test_a_later_wait_is_never_shorter(retry: Retry, runs: int) -> None:
    waits = [retry.backoff(n, retry.retry_on[0], None, 1.0) for n in (runs, runs + 1)]

    if None not in waits:
        assert waits == sorted(waits, key=lambda wait: wait or 0.0)


@given(result=results)
def test_an_answer_in_any_shape_decides_something(result: Any) -> None:
    decided = Retry(3, ("failed", "x")).backoff(1, "failed", result, 0.5)

    assert decided is not None


@given(retry=policies)
def test_a_policy_comes_back_as_it_was_stored(retry: Retry) -> None:
    assert Retry.read(retry.stored()) == retry


@pytest.mark.parametrize("code", ["a;b", 'say "no"', "ü-1", "a\\b", "a\nb", "]"])
def test_an_error_code_of_any_text_comes_back_as_it_was_stored(code: str) -> None:
    retry = Retry(2, ("failed", code))

    assert Retry.read(retry.stored()) == retry


def test_nothing_stored_means_never_again() -> None:
    assert Retry.read("") == Retry()
    assert Retry.read("").backoff(1, "failed", {}, 0.5) is None
