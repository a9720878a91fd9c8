"""What an archive tells of many jobs: groups of errors, and charts."""
from typing import NamedTuple


class ErrorGroup(NamedTuple):
    id: int
class Chart(NamedTuple):
    id: int
