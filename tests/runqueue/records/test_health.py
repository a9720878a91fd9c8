"""What an account's figures say in words."""

from runqueue.records.health import HealthLevel, health_of
from tests.figures import stats


def test_an_account_goes_on_beside_jobs_that_are_quarantined() -> None:
    health = health_of(stats(quarantined=1, quarantined_ids=("nma3",)))

    assert health.level is HealthLevel.BUSY
    assert health.reason.endswith("; 1 job is quarantined, as its record cannot be read: nma3")


def test_of_many_quarantined_jobs_the_first_are_named() -> None:
    health = health_of(stats(quarantined=1_200, quarantined_ids=("nma3", "nma4")))

    assert "1,200 jobs are quarantined" in health.reason
    assert health.reason.endswith(": nma3, nma4, …")


def test_a_paused_account_with_a_quarantined_job_is_still_shown_as_paused() -> None:
    health = health_of(stats(paused=True, hold_reason="a pause", quarantined=1))

    assert (health.level, health.words, health.can_resume) == (HealthLevel.STOPPED, "Paused", True)


def test_an_account_whose_keys_cannot_be_read_stands_still() -> None:
    health = health_of(stats(damage="WRONGTYPE", quarantined=1))

    assert (health.level, health.words) == (HealthLevel.STOPPED, "Standing still")
    assert "WRONGTYPE" in health.reason
