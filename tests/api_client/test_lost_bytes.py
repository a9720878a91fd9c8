"""Bytes that nobody acknowledges: a submission must not arrive long after it was abandoned."""

import socket
from typing import Any

import pytest

from api_client.http import connect
from tests.api_client.rawserver import answering, serving
from tests.api_client.twins import TASK, twin

_OPTION = getattr(socket, "TCP_USER_TIMEOUT", None)


@pytest.mark.skipif(_OPTION is None, reason="the system has no TCP_USER_TIMEOUT")
async def test_the_system_does_not_go_on_sending_what_is_not_acknowledged_for_20_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _OPTION is not None
    seen, make = [], connect._socket

    def watched(address: Any) -> socket.socket:
        made = make(address)
        seen.append(made.getsockopt(socket.IPPROTO_TCP, _OPTION))
        return made

    monkeypatch.setattr(connect, "_socket", watched)
    async with (
        serving(answering(200, TASK)) as server,
        twin("async", base_url=server.url) as client,
    ):
        await client.submit(max_retries=0)

    assert seen == [20_000]


def test_where_the_system_has_no_such_limit_the_connection_is_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "_USER_TIMEOUT", None)

    made = connect._socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1)))

    assert made.family is socket.AF_INET
    made.close()
