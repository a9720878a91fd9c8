"""Limits a token to its accounts; others answer as if they did not exist.

An account that is named and is not the token's answers 422, a job or batch of one 404. Only the
metrics, which are of all accounts, answer 403.

A queue that knows only some accounts treats the others like accounts, jobs and batches that never
existed: the same path, the same calls, the same texts. So every route uses the queue of its bearer
(`queue_of`), and no other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Query, Request

from archive.async_queue import AsyncArchivedQueue
from archive.opened import AsyncOpenArchive
from config.gateway import ApiToken
from runqueue.errors import UnknownAccount
from runqueue.ids import DEFAULT, is_id
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.store.accounts import Accounts, account_of
from runqueue.store.scripts import ScriptCall, T

Account = Annotated[
    str | None,
    Query(
        description="Whose; not given: the first account that the token is for, else `default`.",
        examples=["default"],
    ),
]


class _Some(Accounts):
    """The known accounts, limited to some.

    Args:
        names: theirs; one of them that is not on record does not exist either.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names
        self.known = []

    def learn(self, members: Any) -> list[str]:
        """Take in the set of accounts as Redis gives it, and return the names of these."""
        self.known = [name for name in super().learn(members) if name in self._names]
        return self.known


class SomeOfQueue(AsyncArchivedQueue):
    """The queue as it would be if it had these accounts alone.

    It has a listener of its own, too: one waiter polls for all waiters of a queue object.

    Args:
        url: the queue's Redis.
        names: the accounts.
        archive: its archive; None = there is none.
    """

    def __init__(
        self, url: str, names: tuple[str, ...], archive: AsyncOpenArchive | None = None
    ) -> None:
        super().__init__(url, archive=archive)
        self._names = names
        self._accounts = _Some(names)

    async def send(self, call: ScriptCall[T]) -> T:
        """Run one script of one of the accounts."""
        if call.account not in self._names:
            raise UnknownAccount(call.account)
        return await super().send(call)


@dataclass(frozen=True, slots=True)
class TenantScope:
    """The part of the queue that a bearer may use.

    Args:
        name: what the bearer is called.
        queue: the queue with the bearer's accounts.
        accounts: these; none = all.
    """

    name: str
    queue: AsyncArchivedQueue
    accounts: tuple[str, ...] = ()

    @property
    def default(self) -> str:
        """The account of requests that name none."""
        return self.accounts[0] if self.accounts else DEFAULT

    def whose(self, account: str | None) -> str:
        """Return the account of a request; None = the default one."""
        return self.default if account is None else account

    async def account(self, name: str | None) -> str:
        """Return the account of a request that exists; None or '' = the default one.

        Raises:
            UnknownAccount: there is no such account for the bearer.
        """
        found = name or self.default
        if found not in await self.queue.accounts():
            raise UnknownAccount(found)
        return found

    async def owner(self, some_id: str) -> str | None:
        """Return the account of a job's or batch's id; None = the bearer sees no such account."""
        return account_of(some_id, await self.queue.accounts()) if is_id(some_id) else None


class TenantScopes:
    """The scope of each bearer; bearers of the same accounts share a queue.

    Args:
        url: the queue's Redis.
        tokens: those that are set up.
        archive: the queue's; None = there is none.
    """

    def __init__(
        self, url: str, tokens: Iterable[ApiToken], archive: AsyncOpenArchive | None = None
    ) -> None:
        #: All of the queue.
        self.whole = AsyncArchivedQueue(url, archive=archive)
        self._queues: dict[tuple[str, ...], AsyncArchivedQueue] = {(): self.whole}
        self._by_token: dict[ApiToken, TenantScope] = {}
        for token in tokens:
            if token.accounts not in self._queues:
                self._queues[token.accounts] = SomeOfQueue(url, token.accounts, archive)
            queue = self._queues[token.accounts]
            self._by_token[token] = TenantScope(token.name, queue, token.accounts)

    def of(self, token: ApiToken) -> TenantScope:
        """Return the scope of a token's bearer."""
        return self._by_token[token]

    async def close(self) -> None:
        """Close every connection."""
        for queue in self._queues.values():
            await queue.close()


def tenant_scope_of(request: Request) -> TenantScope:
    """Return the scope of the bearer of a request that `requires` let through."""
    return cast(TenantScope, request.state.tenant_scope)


def queue_of(request: Request) -> AsyncRunQueue:
    """Return the queue as the bearer of a request sees it."""
    return tenant_scope_of(request).queue
