"""Sending webhooks to strangers: which targets are refused, what is sent, what answers mean."""

import asyncio
import ipaddress
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from api_client.http.proxies import Proxies
from config.webhooks import WebhookSettings
from tests.api_client.rawserver import (
    Behaviour,
    Exchange,
    answering,
    hangs,
    port_nobody_listens_on,
    reads_then_closes,
    response,
    sends_garbage,
    serving,
)
from tests.simulator.simulating import eventually
from webhooks.sender import Outbound, Posted
from webhooks.url_policy import TargetRefusedError, checked_url, is_public, literal_of

PUBLIC = "93.184.215.14"


@asynccontextmanager
async def outbound(**options: Any) -> AsyncIterator[Outbound]:
    own = WebhookSettings(allow_private_webhook_targets=True)
    one = Outbound(**{"allow_private": True, **options}) if options else Outbound.of(own, Proxies())
    try:
        yield one
    finally:
        await one.aclose()


async def posted(behaviour: Behaviour, timeout: float = 5, **options: Any) -> Posted:
    async with serving(behaviour) as server, outbound(**options) as sender:
        return await sender.post(f"{server.url}/hook", b"{}", {}, timeout)


REFUSED = [
    # Schemes, users, what is no URL.
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "//example.com/",
    "example.com",
    "",
    "http://",
    "http:///x",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com\\@127.0.0.1/",
    # IPv4, as it is usually written.
    "http://127.0.0.1/",
    "http://127.8.9.1:8080/x",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://192.0.0.9/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    # IPv4 as it is not.
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0X7F.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://0/",
    "http://1.2.3.4.5/",
    "http://256.1.1.1/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    # IPv6, and what it wraps.
    "http://[::1]/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[2606:4700::1111%25eth0]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[ff0e::1]/",
    "http://[2001:db8::1]/",
    "http://[2001:3::1]/",
    "http://[2001:20::1]/",
    "http://[3fff::1]/",
    "http://[3fff:fff:ffff::1]/",
    "http://[2001:470::5efe:7f00:1]/",
    "http://[2001:470::200:5efe:10.0.0.1]/",
    "http://[fe80::5efe:93.184.215.14]/",
    "http://[2002:5db8:d70e::5efe:7f00:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[::7f00:1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:c0a8:101::1]/",
    "http://[2001:0:5db8:d70e:0:0:80ff:fffe]/",
    "http://[100::1]/",
    "http://[4000::1]/",
    "http://[::zz]/",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_a_target_that_is_not_allowed_is_refused_unsent(url: str) -> None:
    looked_up: list[str] = []

    async def look(host: str, _: int) -> Sequence[str]:
        looked_up.append(host)
        return [PUBLIC]

    async with outbound(allow_private=False, look_up=look) as sender:
        found = await sender.post(url, b"secret-body", {}, 1)

    assert (found.refused, found.status) == (True, None)
    assert found.error.startswith("webhooks may not go there: ")
    assert "pass" not in found.error
    assert not looked_up


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        ["::1"],
        [PUBLIC, "fd00::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::10.0.0.1"],
    ],
    ids=str,
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_of_any_private_address_is_refused(addresses: list[str], scheme: str) -> None:
    async def look(host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("inner.test", 443 if scheme == "https" else 80)
        return addresses

    async with outbound(allow_private=False, look_up=look) as sender:
        found = await sender.post(f"{scheme}://inner.test/hook", b"{}", {}, 1)

    assert (found.refused, found.is_private) == (True, True)
    # What our network calls its hosts, and where they are, is not for who names a receiver.
    assert (
        found.error
        == "webhooks may not go there: inner.test does not lead to public addresses alone"
    )


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("64:ff9b::5db8:d70e", True),
        ("::ffff:93.184.215.14", True),
        ("2002:5db8:d70e::1", True),
        ("2001:0:5db8:d70e:0:0:a247:28f1", True),
        ("2001:0:0a00:0001:0:0:a247:28f1", False),
        ("2001:470::5efe:5db8:d70e", True),
        ("2001:470::200:5efe:5db8:d70e", True),
        ("2001:470::100:5efe:7f00:1", True),
        ("168.63.129.17", True),
        ("192.0.1.1", True),
        ("4000::1", False),
        ("192.88.99.1", True),
        ("100.127.255.255", False),
        ("::2", False),
    ],
)
def test_what_an_address_wraps_decides(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize("host", ["example.com", "0x7f.example", "1.example", "xn--abc", "a.0xg"])
def test_names_are_names(host: str) -> None:
    assert literal_of(host) is None


def test_a_url_is_sent_to_as_it_was_written() -> None:
    url = "https://a.example:8443/p%2Fq/%7Ex?sig=a%2Bb%3D&y=1,2#top"
    assert str(checked_url(url, allow_private=False)) == url
    assert (
        str(checked_url("https://a.example/\u00fc b", allow_private=False))
        == "https://a.example/%C3%BC%20b"
    )
    with pytest.raises(TargetRefusedError, match="no URL"):
        checked_url("http://a.example:x/", allow_private=True)


async def test_what_was_checked_is_what_is_connected_to() -> None:
    """A name that is public when it is looked up, and private right after, gains nothing."""
    looked_up: list[str] = []

    async def rebinds(host: str, _: int) -> Sequence[str]:
        looked_up.append(host)
        return [PUBLIC] if len(looked_up) == 1 else ["127.0.0.1"]

    async with (
        serving(answering(200)) as server,
        outbound(allow_private=False, look_up=rebinds) as sender,
    ):
        first = await sender.post(f"http://rebinds.test:{server.port}/", b"{}", {}, 0.3)
        assert looked_up == ["rebinds.test"]
        second = await sender.post(f"http://rebinds.test:{server.port}/", b"{}", {}, 0.3)
        assert not server.exchanges

    assert (first.status, first.refused) == (None, False)  # it went to the public one
    assert second.refused


async def test_a_name_without_an_address_could_not_be_reached() -> None:
    async def look(_: str, __: int) -> Sequence[str]:
        raise OSError("no such name")

    async with outbound(look_up=look) as sender:
        found = await sender.post("http://gone.test/", b"{}", {}, 5)

    assert (found.error, found.refused) == ("could not be reached: OSError", False)


async def test_a_name_that_nobody_tells_of_takes_no_longer_than_the_webhook_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = threading.Event()

    def ask(_: str, __: int) -> Sequence[str]:
        go.wait()
        return []

    monkeypatch.setattr("api_client.http.connect.addresses_of", ask)
    async with outbound() as sender:
        found = await sender.post("http://tarpit.test/", b"{}", {}, 0.1)
    go.set()

    assert found.error == "did not answer within 0.1 s"


async def test_private_addresses_pass_where_they_are_allowed_but_other_schemes_do_not() -> None:
    async with serving(answering(200)) as server, outbound() as sender:
        port = server.port
        assert (await sender.post(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).error == ""
        assert (await sender.post(f"ftp://127.0.0.1:{port}/", b"{}", {}, 5)).refused
        assert len(server.exchanges) == 1


async def test_a_user_and_password_in_the_url_are_sent_as_basic_authentication() -> None:
    async with serving(answering(200)) as server, outbound() as sender:
        await sender.post(f"http://us:p%40ss@127.0.0.1:{server.port}/h", b"{}", {}, 5)
        (exchange,) = server.exchanges

    assert exchange.target == "/h"
    assert exchange.headers["authorization"] == "Basic " + b64encode(b"us:p@ss").decode()


async def test_what_is_sent() -> None:
    body = b'{"a":  1}'
    async with serving(answering(200)) as server, outbound() as sender:
        await sender.post(f"{server.url}/p%2Fq?x=1#top", body, {"webhook-id": "msg_1"}, 5)
        (exchange,) = server.exchanges

    assert (exchange.method, exchange.target, exchange.body) == ("POST", "/p%2Fq?x=1", body)
    assert exchange.headers["webhook-id"] == "msg_1"
    assert exchange.headers["user-agent"] == "runqueue"
    assert exchange.headers["accept-encoding"] == "identity"
    assert exchange.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("status", [300, 400, 404, 410, 429, 500, 599])
async def test_any_other_answer_is_an_error_that_quotes_nothing(status: int) -> None:
    found = await posted(answering(status, b"words-of-the-receiver"))

    assert (found.status, found.error) == (status, f"the receiver answered {status}")
    assert "words" not in repr(found)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with serving(answering(200)) as inner:
        found = await posted(answering(status, location=f"{inner.url}/private"))
        assert not inner.exchanges

    assert (found.status, found.error) == (status, f"the receiver answered {status}")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("120", 120),
        ("7200", 7200),
        ("9999999", 86_400),
        ("a date", 1000),
        ("-5", 0),
        ("soon", None),
    ],
)
async def test_the_time_that_a_receiver_asks_for_is_read(given: str, seconds: float | None) -> None:
    if given == "a date":
        given = formatdate(time.time() + 1000, usegmt=True)
    found = await posted(answering(503, retry_after=given))

    assert found.retry_after == (None if seconds is None else pytest.approx(seconds, abs=3))


async def test_the_connection_of_a_long_answer_is_not_used_again() -> None:
    async with serving(answering(200, b"x" * 5_000_000)) as server, outbound() as sender:
        for _ in range(2):
            assert (await sender.post(server.url, b"{}", {}, 5)).status == 200

    assert server.connections == 2  # what is left of an answer does not meet the next webhook


async def test_a_body_that_breaks_off_or_never_comes_changes_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webhooks.sender.ANSWER_SECONDS", 0.2)

    async def breaks_off(exchange: Exchange) -> bool:
        await exchange.read_body()
        await exchange.send(response(200, b"0123456789")[:-5])
        return False

    async def stops(exchange: Exchange) -> bool:
        await breaks_off(exchange)
        await asyncio.Event().wait()
        return False

    for behaviour in (breaks_off, stops):
        found = await posted(behaviour)
        assert (found.status, found.error) == (200, "")


async def test_a_compressed_answer_is_not_blown_up() -> None:
    found = await posted(answering(200, b"\x1f\x8bno gzip at all", content_encoding="gzip"))

    assert (found.status, found.error) == (200, "")


async def test_no_answer_in_time_is_told_as_that() -> None:
    start = time.monotonic()
    found = await posted(hangs, 0.3)

    assert (found.status, found.error) == (None, "did not answer within 0.3 s")
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (reads_then_closes, "gave no answer: ServerDisconnectedError"),
        (sends_garbage, "gave no answer: ClientResponseError"),
    ],
)
async def test_what_is_no_answer_is_told_by_its_class(behaviour: Behaviour, words: str) -> None:
    assert (await posted(behaviour)).error == words


async def test_a_port_that_nobody_listens_on_could_not_be_reached() -> None:
    with port_nobody_listens_on() as port:
        async with outbound() as sender:
            found = await sender.post(f"http://127.0.0.1:{port}/", b"{}", {}, 5)

    assert found.error == "could not be reached: connection refused"


async def test_a_certificate_that_is_not_trusted_ends_it() -> None:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(Path(__file__).with_name("selfsigned.pem"))

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=own)
    port = server.sockets[0].getsockname()[1]
    async with server, outbound() as sender:
        found = await sender.post(f"https://127.0.0.1:{port}/", b"{}", {}, 5)

    assert found.error == "could not be reached: SSLCertVerificationError"


async def test_a_receiver_has_so_many_connections_and_no_more() -> None:
    go = asyncio.Event()

    async def waits(exchange: Exchange) -> bool:
        await exchange.read_body()
        await go.wait()
        await exchange.send(response(200))
        return True

    async with serving(waits) as server, outbound(per_host=2) as sender:
        sending = [asyncio.create_task(sender.post(server.url, b"{}", {}, 10)) for _ in range(5)]
        await eventually(lambda: len(server.exchanges) == 2)
        async with serving(answering(200)) as other:
            assert (await sender.post(other.url, b"{}", {}, 5)).error == ""
        assert server.connections == 2
        go.set()
        assert {(await task).status for task in sending} == {200}
        assert server.connections == 2


async def test_after_the_end_nothing_is_sent() -> None:
    async with serving(answering(200)) as server:
        async with outbound() as sender:
            await sender.post(server.url, b"{}", {}, 5)
        found = await sender.post(server.url, b"{}", {}, 5)
        await sender.aclose()

        assert len(server.exchanges) == 1
    assert found.error == "gave no answer: RuntimeError"


async def test_being_stopped_is_passed_on() -> None:
    async with serving(hangs) as server, outbound() as sender:
        task = asyncio.create_task(sender.post(server.url, b"{}", {}, 5))
        await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
