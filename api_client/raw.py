"""The calls a queue makes thousands of times: bytes in, a classified outcome out.

A submission or a read builds one request, sends it straight through the transport and parses the
answer once. Nothing is retried here and nothing raised: what came of a call is the value it
returns, and what to do about it is the caller's to decide.
"""

# A timeout here bounds one HTTP exchange and becomes an outcome; cancelling from outside
# (asyncio.timeout) could not tell "not connected" from "no answer".

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import httpx

from api_client.outcomes import (
    CancelClass,
    Cancellation,
    ReadClass,
    RunReading,
    Submission,
    SubmissionClass,
    classify_cancel,
    classify_exception,
    classify_run,
    classify_submission,
    exception_words,
)
from api_client.requests import (
    KEY_CHECK_PATH,
    KEY_CHECK_QUERY,
    SUBMIT_PATHS,
    RequestFactory,
    RunKind,
    cancel_path,
    redirected,
    run_path,
)
from api_client.transport import DEFAULT_TIMEOUT

#: Redirects followed for one call.
MAX_REDIRECTS = 3

#: These keep the method and the body. A POST follows no other; a GET may follow `_MOVED`, too.
_SAME_REQUEST = frozenset({307, 308})
_MOVED = frozenset({301, 302})

_Outcome = TypeVar("_Outcome", Submission, RunReading, Cancellation)


class RawClient:
    """One account's calls, as cheap as they come.

    Args:
        base_url: as in `RequestFactory`; a base URL or key that cannot be sent is a ValueError.
        api_key: the account's key; it appears in no outcome and no repr.
        transport: what sends, usually an `AiohttpTransport`; shared, and closed by its owner.
    """

    def __init__(self, base_url: str, api_key: str, transport: httpx.AsyncBaseTransport) -> None:
        self.requests = RequestFactory(base_url, api_key)
        self._api_key = api_key
        self._transport = transport

    def __repr__(self) -> str:
        return f"RawClient({self.requests.base_url!r})"

    async def submit(
        self,
        kind: RunKind,
        content: bytes,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        timeout: float | None = None,
    ) -> Submission:
        """Ask for a run, once.

        Args:
            kind: `task` or `workflow`.
            content: the JSON body, as it is to be sent.
            headers: more headers (`x-user-agent`, `x-max-steps-override`).
            query: an encoded query string, without the question mark.
            timeout: seconds for all of it, redirects included; None = the transport's.
        """
        try:
            request = self.requests.post(
                SUBMIT_PATHS[kind], content, headers=headers, query=query, timeout=timeout
            )
        except (ValueError, httpx.InvalidURL) as exc:
            # Nothing was sent, and nothing that can be sent will come of these arguments.
            return Submission(SubmissionClass.REFUSED, detail=exception_words(exc))
        try:
            response, body = await self.send(request)
        except Exception as exc:  # noqa: BLE001 - whatever it is, a run may exist: it is classified
            return self._without_key(classify_exception(exc))
        outcome = classify_submission(response.status_code, body, response.headers)
        return self._without_key(outcome)

    async def get_run(self, run_id: str, timeout: float | None = None) -> RunReading:
        """Read one run; `timeout` in seconds, None = the transport's.

        Raises:
            ValueError: the run id is empty.
        """
        request = self.requests.get(run_path(run_id), timeout=timeout)
        try:
            response, body = await self.send(request)
        except Exception as exc:  # noqa: BLE001 - a read that failed is one to make again
            return self._without_key(RunReading(ReadClass.TROUBLE, detail=exception_words(exc)))
        return self._without_key(classify_run(response.status_code, body, response.headers))

    async def cancel_run(self, run_id: str, timeout: float | None = None) -> Cancellation:
        """Ask Skyvern to end a run; arguments and errors as in `get_run`."""
        request = self.requests.post(cancel_path(run_id), timeout=timeout)
        try:
            response, body = await self.send(request)
        except Exception as exc:  # noqa: BLE001 - the caller reads the run to see what came of it
            return self._without_key(Cancellation(CancelClass.TROUBLE, detail=exception_words(exc)))
        return self._without_key(classify_cancel(response.status_code, body, response.headers))

    async def check_key(self, timeout: float | None = None) -> bool | None:
        """Read one item of the list of runs, to see whether the key is allowed anything.

        Returns:
            True: allowed. False: refused (401, 403). None: it cannot be told, because the server
            has no such list or did not answer.
        """
        request = self.requests.get(KEY_CHECK_PATH, query=KEY_CHECK_QUERY, timeout=timeout)
        try:
            response, _ = await self.send(request)
        except Exception:  # noqa: BLE001 - nothing was learned of the key
            return None
        if response.status_code in {401, 403}:
            return False
        return True if response.is_success else None

    async def send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        """Send a request, follow redirects within the same server, and return answer and body.

        Raises:
            NotSentError, AnswerLostError: from the transport.
        """
        follow = _SAME_REQUEST if request.method != "GET" else _SAME_REQUEST | _MOVED
        start = time.monotonic()
        response = await self._transport.handle_async_request(request)
        for _ in range(MAX_REDIRECTS):
            if response.status_code not in follow:
                break
            onward = redirected(request, response.headers.get("location"), _left(request, start))
            if onward is None:
                break
            request = onward
            response = await self._transport.handle_async_request(request)
        return response, await _body(response)

    def cut_key(self, words: str) -> str:
        """Return the words without the key: some gateways quote the key they refuse."""
        return words.replace(self._api_key, "[key]")

    def _without_key(self, outcome: _Outcome) -> _Outcome:
        if self._api_key in outcome.detail:
            return replace(outcome, detail=self.cut_key(outcome.detail))
        return outcome


def _left(request: httpx.Request, start: float) -> float:
    """Return the seconds left of a request's time, for its next hop."""
    asked = request.extensions.get("timeout") or {}
    total: float = asked.get("read") or DEFAULT_TIMEOUT
    return total - (time.monotonic() - start)


async def _body(response: httpx.Response) -> bytes:
    """Return the body; at once where the transport has read and decompressed it already."""
    stream = response.stream
    if isinstance(stream, httpx.ByteStream) and "content-encoding" not in response.headers:
        return b"".join(stream)
    return await response.aread()
