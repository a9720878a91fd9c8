"""Webhooks through a real forwarding proxy: to addresses that were checked, and to no others."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api_client.http.proxies import Proxies
from tests.api_client.loops import Run, both_loops
from tests.api_client.misbehaving import listening
from tests.api_client.rawserver import CERTIFICATE, Server, answering, response, server_tls, serving
from tests.proxying import ForwardingProxy, proxying
from webhooks.sender import Outbound, Posted

both_kinds = pytest.mark.parametrize("is_socks", [False, True], ids=["http", "socks"])

PUBLIC, OTHER = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


@asynccontextmanager
async def outbound(
    proxy: ForwardingProxy, no_proxy: str = "", **options: Any
) -> AsyncIterator[Any]:
    proxies = Proxies.from_environment({"NO_PROXY": no_proxy}, proxy.url)
    one = Outbound(**{"allow_private": False, "proxies": proxies, **options})
    try:
        yield one
    finally:
        await one.aclose()


async def post(sender: Outbound, url: str) -> Posted:
    return await sender.post(url, b"{}", {"x-skyvern-signature": "s"}, 10)


def look_up(*addresses: str) -> Any:
    async def look(_: str, __: int) -> Sequence[str]:
        return addresses

    return look


@both_loops
@both_kinds
def test_the_proxy_is_asked_for_the_address_that_was_checked_and_not_for_the_name(
    run: Run, is_socks: bool
) -> None:
    server = Server("", 0)

    async def check(proxy: ForwardingProxy) -> None:
        nonlocal server
        async with serving(answering(200)) as server:
            proxy.resolves[PUBLIC] = ("127.0.0.1", server.port)
            async with outbound(proxy, look_up=look_up(PUBLIC)) as sender:
                assert (await post(sender, "http://hooks.test/a?b=c")).status == 200

    with proxying(ForwardingProxy(is_socks, user="user:pass")) as proxy:
        run(check(proxy))
    assert (proxy.tunnels, proxy.requests) == ([f"{PUBLIC}:80"], [])
    (seen,) = server.exchanges
    assert (seen.target, seen.headers["host"]) == ("/a?b=c", "hooks.test")
    assert "proxy-authorization" not in seen.headers


@both_loops
@both_kinds
def test_over_tls_the_certificate_is_that_of_the_name_and_not_of_the_address(
    run: Run, is_socks: bool
) -> None:
    names: list[str | None] = []

    def note(_: Any, name: str | None, __: Any) -> None:
        names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200))

    tls = server_tls()
    tls.sni_callback = note
    unchecked = ssl.create_default_context(cafile=str(CERTIFICATE))
    unchecked.check_hostname = False
    checked = ssl.create_default_context(cafile=str(CERTIFICATE))

    async def check(proxy: ForwardingProxy) -> None:
        async with listening(serve, tls) as address:
            proxy.resolves[PUBLIC] = ("127.0.0.1", int(address.rpartition(":")[2]))
            async with outbound(proxy, look_up=look_up(PUBLIC), tls=unchecked) as sender:
                assert (await post(sender, "https://hooks.test/")).status == 200
            async with outbound(proxy, look_up=look_up(PUBLIC), tls=checked) as sender:
                found = await post(sender, "https://hooks.test/")
        assert found.error == "could not be reached: SSLCertVerificationError"

    with proxying(ForwardingProxy(is_socks)) as proxy:
        run(check(proxy))
    assert names[0] == "hooks.test"
    assert set(proxy.tunnels) == {f"{PUBLIC}:443"}


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["169.254.169.254"]])
@pytest.mark.parametrize("scheme", ["http", "https"])
@both_kinds
async def test_a_name_of_a_private_address_is_refused_and_the_proxy_not_asked(
    addresses: list[str], scheme: str, is_socks: bool
) -> None:
    with proxying(ForwardingProxy(is_socks)) as proxy:
        async with outbound(proxy, look_up=look_up(*addresses)) as sender:
            found = await post(sender, f"{scheme}://inner.test/hook")
    assert (found.refused, found.is_private, proxy.connections) == (True, True, 0)


async def test_a_name_that_we_cannot_look_up_is_not_left_to_the_proxy() -> None:
    async def none(_: str, __: int) -> Sequence[str]:
        raise OSError("no such name")

    with proxying(ForwardingProxy(resolves={"inner.test": ("127.0.0.1", 1)})) as proxy:
        async with outbound(proxy, look_up=none) as sender:
            found = await post(sender, "http://inner.test/hook")
    assert (found.status, found.refused, proxy.heads) == (None, False, [])
    assert found.error.startswith("could not be reached")


async def test_where_all_addresses_are_allowed_the_proxy_looks_names_up() -> None:
    async def none(_: str, __: int) -> Sequence[str]:
        raise AssertionError

    with proxying() as proxy:
        async with serving(answering(200)) as server:
            proxy.resolves["inner.test"] = ("127.0.0.1", server.port)
            async with outbound(proxy, look_up=none, allow_private=True) as sender:
                assert (await post(sender, "http://inner.test/hook")).status == 200
    assert proxy.tunnels == ["inner.test:80"]


async def test_what_no_proxy_names_is_spoken_to_directly_and_checked() -> None:
    with proxying() as proxy:
        async with outbound(proxy, "inner.test", look_up=look_up("127.0.0.1")) as sender:
            assert (await post(sender, "http://inner.test/hook")).is_private
        direct = outbound(proxy, "127.0.0.1", allow_private=True)
        async with serving(answering(201)) as server, direct as sender:
            assert (await post(sender, f"{server.url}/hook")).status == 201
    assert proxy.heads == []


@both_kinds
async def test_the_next_address_is_asked_for_where_the_proxy_reaches_none_at_the_first(
    is_socks: bool,
) -> None:
    with proxying(ForwardingProxy(is_socks)) as proxy:
        sender = outbound(proxy, look_up=look_up(OTHER, PUBLIC))
        async with serving(answering(200)) as server, sender as one:
            proxy.resolves = {OTHER: ("127.0.0.1", 1), PUBLIC: ("127.0.0.1", server.port)}
            assert (await post(one, "http://hooks.test/")).status == 200
    assert proxy.tunnels == [f"[{OTHER}]:80", f"{PUBLIC}:80"]


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        (ForwardingProxy(refuses=403), "the proxy answered 403: it gives no way to the server"),
        (ForwardingProxy(user="a:b"), "the proxy answered 407: it wants another user or password"),
        (ForwardingProxy(is_socks=True, refuses=4), "the proxy gives no tunnel: Host unreachable"),
    ],
)
async def test_a_proxy_that_refuses_is_told_without_its_address(
    proxy: ForwardingProxy, words: str
) -> None:
    with proxying(proxy):
        proxies = Proxies.from_environment({}, proxy.url.replace("a:b@", ""))
        async with outbound(proxy, proxies=proxies, look_up=look_up(PUBLIC)) as sender:
            found = await post(sender, "https://hooks.test/")
    assert found.error == f"could not be reached: {words}"
