"""Has schemathesis send lines of a batch: loaded by its command line (SCHEMATHESIS_HOOKS)."""

from typing import Any

import schemathesis

from gateway.api.batches import KINDS


@schemathesis.serializer(*KINDS)
def lines(_: Any, value: Any) -> bytes:
    """Return what goes over the wire for a value that was made up."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")
