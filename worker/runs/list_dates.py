"""By how much the date of a list differs from the clock that dates its runs. Pure functions.

The age of a run is known by the `Date` of the answer that shows it. That may be the clock of a
proxy or of another machine before the server. Of a run of ours we know ourselves when it was made:
between its job's claim and its answer.
"""

from collections.abc import Sequence
from typing import NamedTuple

#: Seconds by which both may differ: half of what a run may seem to be older than its claim
#: (`matcher.BEFORE`).
TOLERANCE = 30.0
#: Seconds that a submission takes at most by which a date is corrected.
LONGEST = 30.0


class Submitted(NamedTuple):
    """A run of ours, by the monotonic clock (seconds).

    Args:
        made: when it was made, as its list dates it.
        claimed, accepted: when its job was claimed, and had its answer, as the queue knows it.
    """

    made: float
    claimed: float
    accepted: float

    def fits(self, ahead: float) -> bool:
        """Say whether it was made while it was submitted, with the date so many seconds ahead."""
        made = self.made + ahead
        return self.claimed - TOLERANCE <= made <= self.accepted + TOLERANCE


def date_ahead(submissions: Sequence[Submitted]) -> float | None:
    """Return by how many seconds a list's date is ahead of the clock that dates its runs.

    One run alone corrects nothing: its job may have been claimed again since.

    Returns:
        0: nothing contradicts the date. None: it is another clock's, and by how much is not known.
        Else rather too little, so that no run seems newer than it is.
    """
    known = [one for one in submissions if one.claimed <= one.accepted]
    quick = [one for one in known if one.accepted - one.claimed <= LONGEST]
    if not known or any(one.fits(0.0) for one in quick or known):
        return 0.0
    for one in sorted(quick, reverse=True):
        fitting = [other for other in quick if other.fits(one.claimed - one.made)]
        if len(fitting) > 1:
            return max(other.claimed - other.made for other in fitting)
    return None
