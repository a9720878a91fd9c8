"""The action that a form of the page requests, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from starlette.exceptions import HTTPException

from gateway.page.viewer import Viewer
from gateway.state.state import Gate


class Done(NamedTuple):
    """The result of an action.

    Args:
        target: the job, batch or group; '' = the account.
        detail: the result in words.
    """

    target: str
    detail: str


@dataclass(slots=True)
class ActionRequest:
    """A requested action.

    Args:
        fields: of the form.
        so_far: the result so far, in words, of an action in several steps.
    """

    gate: Gate
    viewer: Viewer
    account: str
    fields: Mapping[str, str]
    so_far: str = ""

    def field(self, name: str) -> str:
        """Return a required field.

        Raises:
            HTTPException: it is empty.
        """
        if value := self.fields.get(name, ""):
            return value
        raise HTTPException(422, f"{name}: required")
