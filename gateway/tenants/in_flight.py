"""What one holder may have in flight in a process, so that it leaves enough to others.

A holder is a token's name, or the account of webhooks.
"""

import asyncio
from typing import Final

from gateway.refused import Refused
from runqueue.problem_types import ProblemType
from runqueue.request.validation_errors import size_words

#: Requests of one token, their answers included.
REQUESTS: Final = 256
#: Bytes of bodies that are read or worked on, and of answers that are not sent yet.
BYTES: Final = 32 * 1024 * 1024
#: Bytes of the answer with the largest result, which is 8 MiB and may be in it twice.
LARGEST: Final = 16 * 1024 * 1024
#: Bytes of a body, or of an answer, that are not counted: many small ones go on beside a large one.
SMALL: Final = 64 * 1024
#: Bytes that an upload counts for, and a stream of results: what it holds at a time.
STREAM: Final = 8 * 1024 * 1024
#: Seconds after which to try again.
AGAIN_SECONDS: Final = 1


class InFlight:
    """The requests and the bytes that one holder has in flight."""

    def __init__(self) -> None:
        self.requests = 0
        self.size = 0
        #: Held for work that takes milliseconds of the event loop, of a thread or of Redis: a
        #: holder's is done one at a time, in the order of its requests.
        self.work = asyncio.Lock()
        #: Held while a request begins.
        self.beginning = asyncio.Lock()

    def takes(self, size: int) -> bool:
        """Count some bytes, if there is room for them; say whether there is."""
        if self.size + size > BYTES:
            return False
        self.size += size
        return True


class RequestShare:
    """What one request has in flight; `give_back` is called when it is over."""

    def __init__(self) -> None:
        self._holder: InFlight | None = None
        self._size = 0

    @property
    def holder(self) -> InFlight:
        """The holder of the request; only once that has begun."""
        if self._holder is None:
            raise RuntimeError("nobody is known to have sent this request")
        return self._holder

    async def begin(self, holder: InFlight) -> None:
        """Count the request; once, however often it is called.

        Raises:
            Refused: the holder has as many in flight as it may have.
        """
        if self._holder is not None:
            return
        if holder.requests >= REQUESTS:
            raise too_much(f"expected at most {REQUESTS} requests of one token in flight")
        holder.requests += 1
        self._holder = holder
        # Of many at once one begins in a turn of the event loop, so that others come between.
        async with holder.beginning:
            await asyncio.sleep(0)

    def take(self, size: int) -> None:
        """Count bytes.

        Raises:
            Refused: the holder has as many in flight as it may have.
        """
        if not self.takes(size):
            raise too_many_bytes()

    def check_room(self, size: int) -> None:
        """Check that `take` would count bytes; raises as it does."""
        if self.holder.size + size > BYTES:
            raise too_many_bytes()

    def takes(self, size: int, *, always: bool = False) -> bool:
        """Count bytes, if there is room for them, or always; say whether they were counted."""
        holder = self._holder
        if holder is None:
            return True  # nobody is known to have sent this: such answers are small
        if always:
            holder.size += size
        elif not holder.takes(size):
            return False
        self._size += size
        return True

    def give_back(self) -> None:
        """Have nothing in flight any more."""
        if self._holder is not None:
            self._holder.requests -= 1
            self._holder.size -= self._size
            self._holder, self._size = None, 0


def too_many_bytes() -> Refused:
    """Return the refusal of a request for whose bytes there is no room."""
    return too_much(
        f"expected at most {size_words(BYTES)} of bodies and answers of one token in flight"
    )


def too_much(limit: str) -> Refused:
    """Return the refusal of a request whose holder has too much in flight.

    Args:
        limit: says what is reached.
    """
    words = f"{limit}; try again after Retry-After"
    return Refused(ProblemType.TOO_MUCH_IN_FLIGHT, words, {"Retry-After": str(AGAIN_SECONDS)})
