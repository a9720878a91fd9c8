"""When a run is polled next: by a GET of its own, or by a list of live runs. Pure functions.

Redis makes it later, never sooner, for a run that a webhook or a list will report (a list's own
limit is in `runqueue/lua/lib/runs/run_lists.lua`), and has the times of orphan runs:
`runqueue/lua/lib/runs/poll_times.lua`. The settings' part is `RUNQUEUE_POLL_MIN_SECONDS` and
`RUNQUEUE_POLL_MAX_SECONDS`.
"""

import statistics
from collections.abc import Sequence

from config.settings import Settings
from runqueue.store.live_run_calls import ListReading

#: Seconds after which a poll that nobody recorded comes again.
LEASE_SECONDS = 15.0
#: Seconds until the next poll of an end that may not be final.
SOON_SECONDS = 5.0
#: A run is polled again after this share of its age: a young one after `poll_min_seconds`. Lists of
#: live runs have a share of their own (`SHARE_OF_SHORT`), runs with webhooks another (Lua).
AGE_SHARE = 0.1
#: Seconds until the next poll after one that failed, at least: or the most, if that is less.
FAILED_SECONDS = 1.0

#: Seconds between two lists of live runs at least.
LEAST_LIST_SECONDS = 1.0
#: Calls for lists that a run may cost, beside its submission and the GET of its result.
LIST_CALLS_A_RUN = 0.28
#: Between two lists at most, as far as the account's rate allows: that share of what a run takes,
#: as between two GETs, or so many seconds; of long runs another share. A run waits for half of it.
SHARE_OF_SHORT, LONGEST_SECONDS, SHARE_OF_LONG = 0.1, 12.0, 0.04
#: A list's pages may take that share of the account's calls per second.
SHARE_OF_CALLS = 0.5
#: Failures in a row that a list may have before runs are polled one by one; and for how many
#: seconds they are then, doubling.
MOST_FAILS, FIRST_OFF, LONGEST_OFF = 3, 60.0, 3600.0
#: For how many seconds they are where other people's runs make the list too long.
TOO_LONG_OFF = 300.0
#: Seconds between two lists that show runs of others at least, and after one that failed; their
#: share of the account's calls per second; for how many lists each is believed.
OTHERS_SECONDS, OTHERS_FAILED_SECONDS, OTHERS_SHARE, OTHERS_BELIEVED = 5.0, 30.0, 0.1, 3
#: Seconds after which a run of ours that is still `queued` at Skyvern is reported.
LONG_QUEUED_SECONDS = 120.0
#: Seconds after which an orphan is polled although lists show it.
ORPHAN_SECONDS = 300.0


def first_spacing(settings: Settings) -> float:
    """Return after how many seconds to poll a run first."""
    return settings.poll_min_seconds


def spacing(age: float, least: float, most: float, chance: float) -> float:
    """Return after how many seconds to poll a run again.

    Args:
        age: seconds since the run was accepted.
        least, most: the bounds, in seconds.
        chance: 0 to 1; spreads the polls by ±10 % so that runs begun together drift apart.
    """
    return min(max(age * AGE_SHARE, least), most) * (0.9 + 0.2 * chance)


def spacing_after_failure(spaced: float, least: float, retry_after: float | None) -> float:
    """Return after how many seconds to make a GET, or to read a list, again that failed.

    Args:
        spaced: the seconds if it had not failed.
        least: the least, in seconds.
        retry_after: seconds for which the server wants no request.
    """
    return max(spaced, least, retry_after or 0.0)


def least_list_spacing(settings: Settings) -> float:
    """Return how many seconds lie between two lists of live runs at least."""
    return max(settings.poll_min_seconds, LEAST_LIST_SECONDS)


def least_listed(settings: Settings) -> float:
    """Return how many seconds runs take at least that lists are read for.

    Of shorter ones nearly all are over when a list, or their first GET, is due.
    """
    return 2 * least_list_spacing(settings)


def most_list_spacing(duration: float) -> float:
    """Return how many seconds lie between two lists at most, of runs that take so long."""
    return max(min(SHARE_OF_SHORT * duration, LONGEST_SECONDS), SHARE_OF_LONG * duration)


def list_spacing(duration: float, live: int, pages: int, least: float, rate: float) -> float:
    """Return how many seconds lie between two lists: as many as the budget of calls needs.

    Args:
        duration: what a run takes, in seconds.
        live: runs of ours.
        pages: that have to be read for them, those of other people's runs included.
        least: the least, in seconds.
        rate: calls per second that the account may make; 0 = no limit.
    """
    budget = duration * pages / (LIST_CALLS_A_RUN * max(live, 1))
    slowest = pages / (SHARE_OF_CALLS * rate) if rate else 0.0
    return max(least, slowest, min(budget, most_list_spacing(duration)))


def others_spacing(pages: int, rate: float) -> float:
    """Return how many seconds lie between two lists that show runs of others.

    Args:
        pages: that the last one had.
        rate: calls per second that the account may make; 0 = no limit.
    """
    return max(OTHERS_SECONDS, pages / (OTHERS_SHARE * rate) if rate else float(pages))


def is_long_queued(status: str, age_us: int) -> bool:
    """Say whether a run stays queued at Skyvern for so long that it is reported."""
    return status == "queued" and age_us >= LONG_QUEUED_SECONDS * 1e6


def lists_off(fails: int, *, is_wrong: bool) -> float:
    """Return for how many seconds to poll runs one by one; 0 = lists go on.

    Args:
        fails: lists in a row that failed.
        is_wrong: whether the last one said what GETs deny: one of these is too many.
    """
    beyond = fails - (1 if is_wrong else MOST_FAILS)
    return min(FIRST_OFF * 2.0 ** min(beyond, 16), LONGEST_OFF) if beyond >= 0 else 0.0


def duration_of(reading: ListReading, now_us: int, started_us: Sequence[int]) -> float:
    """Return what a run takes, in seconds: the mean; or longer, if none ended for that long.

    Then the runs' own ages count, as they do where none was ever seen to end. A run that hangs for
    hours says nothing of the others, so it is the median that counts.
    """
    mean = reading.mean_us / 1e6
    quiet = (now_us - reading.ended_us) / 1e6
    if quiet <= mean or not started_us:
        return mean
    age = (now_us - statistics.median(started_us)) / 1e6
    return max(mean, min(quiet, 2 * age))
