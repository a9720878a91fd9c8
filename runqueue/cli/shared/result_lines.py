"""A line of a results file, as whoever reads results gives it."""

from typing import NamedTuple


class ResultLine(NamedTuple):
    """A line of a results file: whose it is, and its JSON, the newline included."""

    job_id: str
    text: bytes
