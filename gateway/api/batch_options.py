"""The query of an upload: the account and the rules of its batch."""

from typing import Annotated

from fastapi import Header
from pydantic import Field

from gateway.api.routing import BodyFields
from runqueue.errors import FieldError, InvalidBatch
from runqueue.ids import NAME_WORDS, is_name
from runqueue.records.batch import ABORT_AFTER, CANARY_RATIO, NO_RULES, BatchRules
from runqueue.request.metadata import read_pairs

CALLBACK_HEADER = "Runqueue-Callback-Url"

#: In a header, since proxies and clients log queries, and it may hold a secret.
Callback = Annotated[
    str | None,
    Header(
        alias=CALLBACK_HEADER,
        description="The `callback_url`: gets an event when the batch is over.",
        examples=["https://shop.example/hook"],
    ),
]


class Opening(BodyFields):
    """The query of an upload; `BatchRules` has the limits of its rules."""

    name: str = Field("", max_length=256, description="What people call it.", examples=["prices"])
    account: str | None = Field(
        None,
        description="The account of its lines; not given: the first that the token is for, else"
        " `default`.",
        examples=["default"],
    )
    namespace: str = Field(
        "", description="The namespace of lines that name none.", examples=["shop"]
    )
    skip_invalid: bool = Field(False, description="Accept the good lines although others are bad.")
    abort_at_failure_ratio: float | None = Field(
        None,
        description="From this share of failed and dead jobs among those that ended on, nothing"
        " more of it is submitted.",
        examples=[0.2],
    )
    abort_after: int = Field(
        ABORT_AFTER, description="But not before so many have ended.", examples=[50]
    )
    canary: int | None = Field(
        None, description="So many jobs, the first of the upload, go alone.", examples=[20]
    )
    canary_ratio: float = Field(
        CANARY_RATIO,
        description="The others go once this share of them has completed; else it is aborted.",
        examples=[0.9],
    )
    expires_after: float | None = Field(
        None,
        description="So many seconds after its acceptance nothing more of it is submitted.",
        examples=[3600],
    )
    callback_at: list[float] = Field(
        [],
        description="The `callback_url` also gets an event when these shares of it have ended.",
        examples=[[0.5, 0.9]],
    )

    metadata: list[str] = Field(
        [],
        description="An entry of the batch's metadata, as `name=value`; may be repeated.",
        examples=[["order=17"]],
    )

    def rules(self, callback: str | None) -> BatchRules:
        """Return the rules of the batch, once all of the query is valid.

        Args:
            callback: the header's value.

        Raises:
            InvalidBatch: names every field at fault.
        """
        errors = []
        if not self.name.isprintable():
            errors.append(FieldError("name", "expected printable text"))
        if self.account is not None and not is_name(self.account):
            errors.append(FieldError("account", f"expected {NAME_WORDS}"))
        if self.namespace and not is_name(self.namespace):
            errors.append(FieldError("namespace", f"expected {NAME_WORDS}"))
        try:
            read_pairs(self.metadata)
        except InvalidBatch as error:
            errors += error.errors
        others = {"name", "account", "namespace", "skip_invalid", "metadata"}
        given = self.model_dump(exclude=others)
        rules = NO_RULES
        try:
            rules = BatchRules(**given, callback_url=_sent(callback))
        except InvalidBatch as error:
            errors += error.errors
        if errors:
            raise InvalidBatch(errors)
        return rules


def callback_of(header: str | None) -> str | None:
    """Return the `callback_url` that a header names; None = there is no header.

    Raises:
        InvalidBatch: it is no valid URL.
    """
    return BatchRules(callback_url=_sent(header)).callback_url


def _sent(header: str | None) -> str | None:
    """Return what was sent: headers are decoded as Latin-1. What is no UTF-8 is no URL."""
    raw = None if header is None else header.encode("latin-1", "replace")
    return raw if raw is None else raw.decode(errors="surrogateescape")
