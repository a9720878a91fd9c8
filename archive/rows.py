"""What is stored of a job: its rows, made of what Redis has of it."""

from collections.abc import Mapping
from typing import NamedTuple


class EndedJob(NamedTuple):
    """A job that is over, as Redis has it.

    Args:
        record: the fields of its record.
        body: its envelope and its request, packed or plain.
        result: its last run's answer, packed or plain; b"" = none, or it is packed in the body.
        batch_metadata: its batch's entries, which count for it unless it has its own.
        is_final: whether no more of it is to come: its webhook is settled, and its costs are read.
    """

    account: str
    id: str
    record: Mapping[str, bytes]
    body: bytes
    result: bytes
    batch_metadata: Mapping[str, str] = {}
    is_final: bool = True
