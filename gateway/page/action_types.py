"""The action that a form of the page requests, and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from starlette.exceptions import HTTPException

from gateway.page.viewer import Viewer
from gateway.state.state import Gate


class Done(NamedTuple):
    """What was done.

    Args:
        target: what to; '' = the account.
        detail: what it came to.
    """

    target: str
    detail: str


@dataclass(slots=True)
class ActionRequest:
    """An action that was requested.

    Args:
        fields: of the form.
        so_far: what was done by now, in words, of what takes several steps.
    """

    gate: Gate
    viewer: Viewer
    account: str
    fields: Mapping[str, str]
    so_far: str = ""

    def field(self, name: str) -> str:
        """Return a field that has to be filled in.

        Raises:
            HTTPException: it is empty.
        """
        if value := self.fields.get(name, ""):
            return value
        raise HTTPException(422, f"{name}: required")
