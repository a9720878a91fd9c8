"""A line of a results file."""

from typing import NamedTuple


class ResultLine(NamedTuple):
    """A line of a results file: whose it is, and its JSON, the newline included."""

    job_id: str
    text: bytes
