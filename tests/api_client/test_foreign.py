"""Any httpx transport as what sends: the limits of an own client, and nothing of httpx's."""

import logging
from typing import Any

import httpx
import pytest

from tests.api_client.rawserver import answering, serving
from tests.api_client.twins import TASK, FakeTransport, Kind, both, twin


def plain(kind: Kind) -> Any:
    return httpx.AsyncHTTPTransport() if kind == "async" else httpx.HTTPTransport()


async def close(transport: Any) -> None:
    if isinstance(transport, httpx.AsyncHTTPTransport):
        await transport.aclose()
    else:
        transport.close()


@both
async def test_no_cookie_is_kept_no_header_added_and_nothing_logged(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    transport = plain(kind)
    behaviour = answering(200, TASK, set_cookie="session=1")
    async with serving(behaviour) as server:
        async with twin(kind, base_url=server.url, transport=transport) as client:
            await client.submit()
            await client.submit()
        headers = [exchange.headers for exchange in server.exchanges]
    await close(transport)
    ours = {"host", "x-api-key", "accept", "accept-encoding", "cache-control", "user-agent"}
    assert ours | {"content-type", "content-length", "connection"} == set(headers[1])
    assert not caplog.records


@both
async def test_a_transport_with_a_method_of_our_name_is_spoken_to_as_httpx_does(kind: Kind) -> None:
    class Exchanges(FakeTransport):
        def exchange(self, request: object) -> None:  # noqa: ARG002 - the name is the case
            raise AssertionError("for another purpose")

    transport = Exchanges(httpx.Response(200, json=TASK))
    async with twin(kind, transport=transport) as client:
        assert (await client.submit()).run_id == "tsk_1"
