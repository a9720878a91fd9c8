# Generated from async_agent.py by tools/generate.py: change that, and run `make generate`.
"""The typed calls: Skyvern's run API with its own argument names, errors raised, answers modelled.

The calls, how a request is built and how an answer is read are pure functions (`calls/`,
`caller.py`); a method here is such a function, sent.

Raises (every call): `ApiError` and its kind for an answer that says no; `NotSentError` when nothing
left this machine; `AnswerLostError` when something did, and no answer came back (after a submission
a run may exist: do not repeat it blindly); `NotSupported` when the server has no such call. An
argument that cannot be sent is a TypeError or ValueError.
"""

import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

import httpx
from tenacity import Retrying

from api_client.arguments import Omit, RequestOptions
from api_client.call import Call
from api_client.caller import Caller
from api_client.calls import calls, run_calls, session_calls
from api_client.calls.sequences import Pages, RunWait, cancel_chunks, reason_reads
from api_client.errors import NotSupported, SkyvernError
from api_client.http.exchange import Sender, send, sender_of
from api_client.retrying import RetryBudget
from api_client.types import BulkCancelRunsResponse, RunListItem, RunResponse

P = ParamSpec("P")
T = TypeVar("T")


def _sent(build: Callable[P, Call[T]]) -> "Callable[Concatenate[AgentClient, P], T]":
    """Return the method that sends a call, with the arguments and docstring of what builds it."""

    def method(self: "AgentClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._call(build(*args, **kwargs))

    signature = inspect.signature(build)
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__name__ = build.__name__
    method.__qualname__ = f"AgentClient.{build.__name__}"
    method.__doc__ = build.__doc__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[first, *signature.parameters.values()],
        return_annotation=signature.return_annotation.__args__[-1],  # the T of Call[T]
    )
    return method


class AgentClient:
    """The run calls of one account, which are awaited; made by `Skyvern`.

    Args:
        caller: the account.
        transport: what sends.
    """

    def __init__(self, caller: Caller, transport: Sender | httpx.BaseTransport) -> None:
        self._caller = caller
        self._sender = sender_of(transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._caller.base_url!r})"

    run_task = _sent(calls.run_task)
    run_workflow = _sent(calls.run_workflow)
    login = _sent(calls.login)
    download_files = _sent(calls.download_files)
    get_run = _sent(calls.get_run)
    cancel_run = _sent(calls.cancel_run)
    retry_run_webhook = _sent(calls.retry_run_webhook)
    list_runs = _sent(calls.list_runs)
    get_run_artifacts = _sent(run_calls.get_run_artifacts)
    get_run_timeline = _sent(run_calls.get_run_timeline)
    retry_workflow_run = _sent(run_calls.retry_workflow_run)
    get_run_tags = _sent(run_calls.get_run_tags)
    apply_run_tags = _sent(run_calls.apply_run_tags)
    create_browser_session = _sent(session_calls.create_browser_session)
    get_browser_session = _sent(session_calls.get_browser_session)
    extend_browser_session = _sent(session_calls.extend_browser_session)
    close_browser_session = _sent(session_calls.close_browser_session)

    def wait_for_run(
        self,
        run_id: str,
        *,
        timeout: float | None = None,
        min_interval: float = 1.0,
        max_interval: float = 30.0,
        request_options: RequestOptions | None = None,
    ) -> RunResponse:
        """Read a run until it is over, and return it.

        A read comes after a tenth of the time waited so far, but not sooner than `min_interval` and
        not later than `max_interval`: a run of five minutes is read some fifty times.

        A read that fails in passing does not end the wait, unless none succeeds for five minutes;
        the next comes no sooner than the server allows.

        Args:
            run_id: the run.
            timeout: seconds to wait; None = for ever. The last read may take five seconds more.
            min_interval, max_interval: seconds between two reads.
            request_options: as everywhere; they hold for each read.

        Raises:
            WaitTimeoutError: the run goes on; its `run` is the last that was read of it.
            NotFoundError: there is no such run, ten seconds after the first read.
            SkyvernError: reading it fails, for good or for five minutes.
            ValueError: a time that is none.
        """
        wait = RunWait(run_id, timeout, min_interval, max_interval, request_options)
        while True:
            try:
                run = self._call(wait.next_call())
            except SkyvernError as error:
                pause = wait.learn_of_failure(error)
            else:
                after = wait.learn(run)
                if after is None:
                    return run
                pause = after
            time.sleep(pause)

    def cancel_runs(
        self, run_ids: Iterable[str], *, request_options: RequestOptions | None = None
    ) -> BulkCancelRunsResponse:
        """Cancel many runs, a hundred to a request (POST v1/runs/cancel; newer servers).

        Args:
            run_ids: the runs; each is sent once.
            request_options: as everywhere; they hold for each request.

        Raises:
            NotSupported: a server without this call.
            SkyvernError: a request failed; the runs of the requests before it are canceled.
        """
        cancelled: list[str] = []
        failed: list[str] = []
        for chunk in cancel_chunks(run_ids, request_options):
            answer = self._call(chunk)
            cancelled += answer.cancelled
            failed += answer.failed
        return BulkCancelRunsResponse(cancelled=cancelled, failed=failed)

    def webhook_failure_reason(
        self, run_id: str, *, request_options: RequestOptions | None = None
    ) -> str | None:
        """Say why Skyvern gave up on a run's webhook, which `get_run` does not report.

        Workflow runs (`wr_…`) are looked up in GET v1/agents/runs?search_key=, or on servers
        without it in GET v1/workflows/runs/{run_id}; tasks in GET api/v1/tasks/{run_id}.

        Returns:
            None: no delivery was tried, or it is still being tried (up to about 100 s after the
            run's end). "": delivered. Else the reason; a later success of a replay does not clear
            it.

        Raises:
            NotFoundError: no such run.
            NotSupported: the server does not report it.
        """
        reads = reason_reads(run_id, request_options)
        for read in reads:
            try:
                reason = self._call(read)
            except NotSupported:
                if read is reads[-1]:
                    raise
            else:
                if not isinstance(reason, Omit):
                    return reason
        raise NotSupported(f"this server does not report the webhook of run {run_id}")

    def iter_runs(
        self,
        *,
        search_key: str | None = None,
        status: str | Iterable[str] | None = None,
        tags: str | Iterable[str] | None = None,
        request_options: RequestOptions | None = None,
    ) -> Iterator[RunListItem]:
        """Go through the account's runs, newest first, page by page; arguments as in `list_runs`.

        A run is given once, although runs that begin meanwhile push others to the next page. The
        server shows 10,000 runs at most, and 1,000 with a search.
        """
        pages = Pages(
            search_key=search_key, status=status, tags=tags, request_options=request_options
        )
        while (page := pages.next_page()) is not None:
            yield from pages.new_items(self._call(page))

    def _call(self, call: Call[T]) -> T:
        budget = self._caller.budget(call)
        try:
            return self._attempt(call, budget)
        except SkyvernError as error:
            if not budget.may_again(error):
                raise
            failed = [error]

        def again() -> T:
            if failed:  # the attempt that was made already
                raise failed.pop()
            return self._attempt(call, budget)

        # tenacity costs a fifth of a call; nearly all calls do not come here.
        return Retrying(sleep=time.sleep, **budget.retrying())(again)

    def _attempt(self, call: Call[T], budget: RetryBudget) -> T:
        if wait := self._caller.wait(call, budget):
            time.sleep(wait)
        request = self._caller.request(call, budget)
        answer = send(self._sender, request, follow=self._caller.follow)
        return self._caller.read(call, request, answer)
