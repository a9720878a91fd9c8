"""A line of a results file."""

from typing import NamedTuple


class ResultLine(NamedTuple):
    """A line of a results file: its job, and its JSON with the newline."""

    job_id: str
    text: bytes
