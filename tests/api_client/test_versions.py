"""What is learned of a server's version, and which versions are certified."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from api_client import AsyncTransport, RawClient
from api_client.versions import CERTIFIED_VERSIONS, is_certified


@pytest.mark.parametrize("version", CERTIFIED_VERSIONS)
def test_a_version_of_the_list_is_certified(version: str) -> None:
    assert is_certified(version)


@pytest.mark.parametrize("version", [None, "", "1.0", "1.0.56 ", "1.0.57", "development"])
def test_any_other_is_not(version: str | None) -> None:
    assert not is_certified(version)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"version": "1.0.56"}, "1.0.56"),
        (200, {"version": None}, ""),
        (200, ["1.0.56"], ""),
        (404, {"detail": "Not Found"}, ""),
        (405, {"detail": "Method Not Allowed"}, ""),
        (403, {"detail": "Invalid credentials"}, None),
        (500, {"error": "down"}, None),
    ],
)
async def test_a_version_is_read_and_where_there_is_none_that_is_told_from_trouble(
    status: int, body: Any, expected: str | None
) -> None:
    async def version(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_get("/v1/version", version)
    async with TestServer(app) as server, AsyncTransport() as transport:
        raw = RawClient(str(server.make_url("")), "key", transport)
        assert await raw.server_version() == expected


async def test_a_server_that_does_not_answer_tells_no_version(unused_tcp_port: int) -> None:
    async with AsyncTransport() as transport:
        raw = RawClient(f"http://127.0.0.1:{unused_tcp_port}", "key", transport)
        assert await raw.server_version() is None
