"""Who listens at a port of this machine, as its kernel tells it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from runqueue.remote import listeners
from runqueue.remote.listeners import users_of

_TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: {address}:1F90 {to} 00000000:00000000 00:00000000 00000000  4242        0 1
"""

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no Linux")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_who_listens_is_told_whether_at_the_address_or_at_any(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        found = users_of("::1" if ":" in host else "127.0.0.1", port)

    assert found == {os.getuid()}
    assert users_of("127.0.0.1", port) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes a socket another user's")
def test_another_user_who_listens_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.fchown(listener.fileno(), 65534, -1)

        assert users_of("127.0.0.1", listener.getsockname()[1]) == {65534}


@pytest.mark.parametrize(
    ("address", "to", "users"),
    [
        ("0100007F", "00000000:0000 0A", {4242}),
        ("0000000000000000FFFF00000100007F", "00000000:0000 0A", {4242}),
        ("0200007F", "00000000:0000 0A", set()),
        ("0100007F", "0100007F:0007 01", {4242}),
        ("0100007F", "0100007F:0008 01", set()),
        ("0100007F", "0100007F:0007 06", set()),
    ],
    ids=["here", "as IPv6", "another address", "ours", "another's", "ended"],
)
@pytest.mark.skipif(sys.byteorder != "little", reason="the table is written in its order")
def test_a_line_of_the_table_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, to: str, users: set[int]
) -> None:
    table = tmp_path / "tcp"
    table.write_text(_TABLE.format(address=address, to=to))
    monkeypatch.setattr(listeners, "_TABLES", (table, tmp_path / "missing"))

    assert users_of("127.0.0.1", 8080, 7) == users
