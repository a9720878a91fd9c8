"""Drawing plans."""

from simulation.plan import FAULT_SHARE, FAULTS, draw, first_kind


def test_as_many_seeds_as_there_are_kinds_of_faults_have_each_kind_in_an_order_of_their_own() -> (
    None
):
    firsts = [
        [first_kind(seed) for seed in range(start, start + len(FAULTS))]
        for start in (0, len(FAULTS))
    ]
    assert sorted(firsts[0]) == sorted(firsts[1]) == sorted(FAULTS)
    assert firsts[0] != firsts[1]
    assert firsts[0] != sorted(FAULTS)


def test_a_plan_whose_person_changes_a_limit_has_that_limit() -> None:
    for seed in range(2 * len(FAULTS)):
        plan = draw(seed, 3)
        kinds = {fault.kind for fault in plan.faults}
        assert plan.key_limits or "a person changes a key's limit" not in kinds
        assert plan.strict_budget or "a person lowers the budget" not in kinds


def test_faults_are_in_the_order_of_their_times() -> None:
    for seed in range(len(FAULTS)):
        times = [fault.at for fault in draw(seed, 3).faults]
        assert times == sorted(times)


def test_no_run_comes_late_while_lists_stand_still() -> None:
    late = {
        *("effects come late", "the server begins late", "the model is slow"),
        "a worker is frozen at a claim",
    }
    for seed in range(2 * len(FAULTS)):
        kinds = {fault.kind for fault in draw(seed, 3).faults}
        assert "lists stand still" not in kinds or not late & kinds


def test_no_fault_starts_in_the_quiet_time() -> None:
    for seed in range(2 * len(FAULTS)):
        assert all(fault.at <= 180 * FAULT_SHARE for fault in draw(seed, 3).faults)


def test_a_job_with_the_key_of_one_whose_run_has_a_limit_has_a_limit() -> None:
    for seed in range(2 * len(FAULTS)):
        requests = draw(seed, 3).requests
        limited = {one.number for one in requests if one.limit}
        assert all(one.limit for one in requests if one.key in limited)
