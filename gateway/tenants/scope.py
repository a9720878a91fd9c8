"""What a bearer sees of the queue: all of it, or some accounts, beside which no others exist.

A queue that knows only some accounts answers for the others as for accounts, jobs and batches that
never were: by the same way, after the same calls, in the same words. So every route asks the queue
of its bearer (`queue_of`), and none has another.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

from fastapi import Query, Request

from config.gateway import ApiToken
from gateway.tenants.turns import Turns
from runqueue.errors import UnknownAccount
from runqueue.ids import DEFAULT
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.store.accounts import Accounts
from runqueue.store.scripts import ScriptCall, T

Account = Annotated[
    str | None,
    Query(
        description="Whose; not given: the first account that the token is for, else `default`.",
        examples=["default"],
    ),
]

#: The bearer whose request is answered.
BEARER: Final[ContextVar[str]] = ContextVar("BEARER", default="")
#: Calls with many jobs that are with Redis at a time: one of a bearer, and one is left to others.
_LARGE_CALLS: Final = 2
#: Arguments of a call that waits for no turn: ten jobs.
_FEW: Final = 52


class _Some(Accounts):
    """What is learned of some accounts alone.

    Args:
        names: theirs; who is not on record does not exist, whether it is one of them or not.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names
        self.known = []

    def learn(self, members: Any) -> list[str]:
        """Take in the set of accounts as Redis gives it, and return the names of these."""
        self.known = [name for name in super().learn(members) if name in self._names]
        return self.known


class _InTurn(AsyncRunQueue):
    """The queue; who hands in many jobs at a time waits for his turn to do so.

    Redis runs one script at a time, and whoever asks next waits for as many as are there already.

    Args:
        url: the queue's Redis.
        turns: what gives turns.
    """

    def __init__(self, url: str, turns: Turns) -> None:
        super().__init__(url)
        self._turns = turns

    async def send(self, call: ScriptCall[T]) -> T:
        """Run one script."""
        if call.script.name != "enqueue" or len(call.arguments) <= _FEW:
            return await super().send(call)
        async with self._turns.of(BEARER.get()):
            return await super().send(call)


class SomeOfQueue(_InTurn):
    """The queue as it would be if it had these accounts alone.

    It has a listener of its own, too: who waits for a job may look for all others who wait.

    Args:
        url: the queue's Redis.
        turns: as `_InTurn` takes them.
        names: the accounts.
    """

    def __init__(self, url: str, turns: Turns, names: tuple[str, ...]) -> None:
        super().__init__(url, turns)
        self._names = names
        self._accounts = _Some(names)

    async def send(self, call: ScriptCall[T]) -> T:
        """Run one script of one of the accounts."""
        if call.account not in self._names:
            raise UnknownAccount(call.account)
        return await super().send(call)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a bearer sees.

    Args:
        name: what the bearer is called.
        queue: the queue with the bearer's accounts.
        accounts: these; none = all.
    """

    name: str
    queue: AsyncRunQueue
    accounts: tuple[str, ...] = ()

    @property
    def default(self) -> str:
        """The account of what names none."""
        return self.accounts[0] if self.accounts else DEFAULT

    def whose(self, account: str | None) -> str:
        """Return the account that is meant, by a name or by none."""
        return self.default if account is None else account

    def sees(self, account: str) -> bool:
        """Say whether an account is one of the bearer's."""
        return not self.accounts or account in self.accounts


class Sights:
    """What each bearer sees; bearers of the same accounts share a queue.

    Args:
        url: the queue's Redis.
        tokens: those that are set up.
    """

    def __init__(self, url: str, tokens: Iterable[ApiToken]) -> None:
        turns = Turns(_LARGE_CALLS)
        #: All of the queue.
        self.whole: AsyncRunQueue = _InTurn(url, turns)
        self._queues: dict[tuple[str, ...], AsyncRunQueue] = {(): self.whole}
        self._by_token: dict[ApiToken, Sight] = {}
        for token in tokens:
            if token.accounts not in self._queues:
                self._queues[token.accounts] = SomeOfQueue(url, turns, token.accounts)
            queue = self._queues[token.accounts]
            self._by_token[token] = Sight(token.name, queue, token.accounts)

    def of(self, token: ApiToken) -> Sight:
        """Return what the bearer of a token sees."""
        return self._by_token[token]

    async def close(self) -> None:
        """Close every connection."""
        for queue in self._queues.values():
            await queue.close()


def sight_of(request: Request) -> Sight:
    """Return what the bearer of a request that `requires` let through sees."""
    return cast(Sight, request.state.sight)


def queue_of(request: Request) -> AsyncRunQueue:
    """Return the queue as the bearer of a request sees it."""
    return sight_of(request).queue
