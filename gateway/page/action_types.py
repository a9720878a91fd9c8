"""The action that a form of the page requests."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from gateway.page.viewer import Viewer
from runqueue.producer.async_queue import AsyncRunQueue


@dataclass(slots=True)
class ActionRequest:
    """A requested action.

    Args:
        account: the account that is acted on.
        target: the job, batch, group, key or scope of a budget; '' = the account.
        fields: of the form.
        so_far: the result so far, in words, of an action in several steps.
    """

    viewer: Viewer
    account: str
    target: str
    fields: Mapping[str, str]
    so_far: str = ""

    @property
    def queue(self) -> AsyncRunQueue:
        """The queue as the viewer sees it."""
        return self.viewer.queue


def required(fields: Mapping[str, str], name: str) -> str:
    """Return a required field of a form.

    Raises:
        HTTPException: it is empty.
    """
    if value := fields.get(name, ""):
        return value
    raise HTTPException(422, f"{name}: required")
