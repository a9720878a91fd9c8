"""The format of what is in Redis: one number, which every process compares before it serves."""

from runqueue.errors import OtherFormat

#: Rises with each change of what is stored, or of what scripts take and reply: what another format
#: wrote is not read.
FORMAT = 1
#: Seconds after which a client compares again: Redis may have been replaced, or emptied.
COMPARED_SECONDS = 10.0


def is_own(found: bytes | str | None) -> bool:
    """Say whether a format that was read is this version's; None = there is none yet.

    Raises:
        OtherFormat: it is another one.
    """
    told = found.decode(errors="replace") if isinstance(found, bytes) else found
    if told not in {None, str(FORMAT)}:
        raise OtherFormat(str(told), FORMAT)
    return told is not None
