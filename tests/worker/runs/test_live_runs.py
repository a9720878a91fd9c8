"""What a list means for our runs."""

from dataclasses import replace

import pytest

from api_client import ListClass, ListedRun, RunPage
from runqueue.store.live_run_calls import Joined, ListReading, Shown
from worker.runs.live_runs import ListPages, Watchlist, pages_worth, young_seconds
from worker.runs.pages import reach_of

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND


def joined(name: str, age: float = 100, status: str = "running") -> Joined:
    """The run of a job, begun so many seconds ago."""
    at = NOW - round(age * SECOND)
    return Joined(f"job-{name}", name, status, at, at)


def shown(*names: str, status: str = "running") -> list[ListedRun]:
    """Runs on a page."""
    return [ListedRun(name, status, None, None, None) for name in names]


def watching(*runs: Joined) -> Watchlist:
    watchlist = Watchlist()
    watchlist.add(runs)
    return watchlist


def missing(watchlist: Watchlist, read: ListPages, before_us: int = NOW) -> set[str]:
    """The runs that a list should show and does not."""
    return {run.run_id for run in watchlist.judge(read, before_us).missing}


def test_runs_are_too_young_to_be_over_well_below_the_shortest_of_late() -> None:
    floors = [(290, 10), (5, 10), (0, 0)]
    young = [young_seconds(ListReading(NOW, 0, s * SECOND, 0), spaced) for s, spaced in floors]

    assert young == pytest.approx([251, 0, 0])


def test_pages_are_worth_reading_while_each_replaces_two_looks() -> None:
    assert [pages_worth(live) for live in (5, 12, 150, 1_000, 10_000)] == [2, 6, 75, 100, 100]


def test_what_a_list_does_not_show_is_missing() -> None:
    watchlist = watching(joined("a"), joined("b"), joined("c"))

    assert missing(watchlist, ListPages(1, [shown("x", "b"), shown("a", "x")])) == {"c"}


def test_an_item_whose_status_is_an_end_is_missing_and_an_unknown_one_is_not() -> None:
    watchlist = watching(joined("a"), joined("b"), joined("c"))
    page = shown("a", status="failed") + shown("b", status="paused") + shown("c", status="odd")

    assert missing(watchlist, ListPages(1, [page])) == {"a"}


def test_a_run_that_joined_after_the_list_was_begun_is_not_expected_in_it() -> None:
    watchlist = watching(joined("old", 10), joined("new", 0.5))

    assert missing(watchlist, ListPages(1, [[]]), NOW - SECOND) == {"old"}


def test_runs_younger_than_the_first_page_that_was_read_are_not_expected() -> None:
    runs = [joined("new", 10), joined("edge", 100), joined("gone", 120), joined("old", 200)]

    # Submissions are answered out of order: what is hardly older than the page may stand before it.
    assert missing(watching(*runs), ListPages(3, [shown("edge", "old")])) == {"gone"}
    assert missing(watching(*runs), ListPages(1, [shown("edge", "old")])) == {"new", "gone"}
    assert missing(watching(*runs), ListPages(3, [shown("x")])) == set()


def test_what_is_older_than_a_hundred_pages_show_is_asked_for_and_raises_no_suspicion() -> None:
    watchlist = watching(*(joined(f"r{age}", age) for age in range(10, 110)))
    read = ListPages(1, [shown(*(f"r{age}" for age in range(10, 40)))], is_whole=False)

    verdict = watchlist.judge(read, NOW)

    assert len(verdict.missing) == 70
    assert not verdict.is_suspicious


def test_a_list_that_shows_newer_runs_only_raises_no_suspicion_by_what_it_cannot_reach() -> None:
    watchlist = watching(*(joined(f"r{age}", age) for age in range(100, 150)))
    others = [shown(*(f"x{age}" for age in range(50)))]

    for reach, is_suspicious in ((NOW - 60 * SECOND, False), (NOW - 500 * SECOND, True)):
        verdict = watchlist.judge(ListPages(1, others, is_whole=False, reach_us=reach), NOW)
        assert len(verdict.missing) == 50
        assert verdict.is_suspicious is is_suspicious


def test_a_list_reaches_back_to_its_oldest_run_but_for_those_that_stand_the_other_way_round() -> (
    None
):
    runs = [ListedRun(f"r{age}", "running", None, None, 5_000.0 - age) for age in (10, 90, 70)]
    page = RunPage(ListClass.DONE, tuple(runs), server_date=5_000.0)
    assert reach_of(page, NOW) == NOW - 80 * SECOND
    assert reach_of(replace(page, server_date=None), NOW) == 0
    assert reach_of(RunPage(ListClass.DONE, tuple(shown("a")), server_date=5_000.0), NOW) == 0


@pytest.mark.parametrize(
    ("live", "gone", "is_suspicious"), [(0, 19, False), (0, 20, True), (30, 29, False)]
)
def test_a_list_that_lacks_more_than_half_of_many_runs_is_suspicious(
    live: int, gone: int, is_suspicious: bool
) -> None:
    names = [f"live{i}" for i in range(live)]
    watchlist = watching(*map(joined, names), *(joined(f"gone{i}") for i in range(gone)))

    assert watchlist.judge(ListPages(1, [shown(*names)]), NOW).is_suspicious is is_suspicious


def test_a_new_status_is_told_once() -> None:
    watchlist = watching(joined("a", status="created"), joined("b"))
    read = ListPages(1, [shown("a", "b")])

    assert watchlist.judge(read, NOW).shown == [Shown("job-a", "a", "running")]
    assert watchlist.judge(read, NOW).shown == []


def test_orphans_are_live_or_missing_where_all_pages_were_read() -> None:
    watchlist = watching(joined("a"))
    whole = watchlist.judge(ListPages(1, [shown("a", "s1")]), NOW, ["s1", "s2"])
    assert (whole.shown, whole.missing_orphans) == ([Shown("", "s1", "running")], ["s2"])

    for part in (ListPages(2, [shown("a")]), ListPages(1, [shown("a")], is_whole=False)):
        assert watchlist.judge(part, NOW, ["s1"]).missing_orphans == []


def test_a_run_that_was_dropped_is_forgotten_until_it_joins_again() -> None:
    watchlist = watching(joined("a"), joined("b"))
    watchlist.drop(["a", "unknown"])
    assert missing(watchlist, ListPages(1, [[]])) == {"b"}

    watchlist.add([joined("a")])
    assert missing(watchlist, ListPages(1, [[]])) == {"a", "b"}
