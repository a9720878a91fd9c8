"""The fault proxy does what it says, over real sockets."""

import socket
import threading
from collections.abc import Iterator

import pytest

from lab.proxy import Network, Proxy
from lab.waiting import until


class _Echo:
    """A server that sends back what it gets, in capitals; `heard` is all it ever got."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            try:
                while data := peer.recv(65_536):
                    self.heard += data
                    peer.sendall(data.upper())
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[_Echo]:
    server = _Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: _Echo) -> Iterator[Proxy]:
    with Network() as network:
        yield network.proxy("127.0.0.1", echo.port)


def _dial(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def _silent(client: socket.socket, seconds: float = 0.2) -> bool:
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)
    return False


def _is_cut(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True


def test_bytes_pass_both_ways_and_an_end_of_one_side_is_passed_on(proxy: Proxy) -> None:
    with _dial(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"HELLO"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_connection_is_cut_after_so_many_bytes(proxy: Proxy, echo: _Echo, how: str) -> None:
    proxy.up.cut_after, proxy.up.cut = 3, "fin" if how == "fin" else "rst"
    with _dial(proxy) as client:
        client.sendall(b"hello")
        while not _is_cut(client):
            pass
    assert echo.heard == b"hel"


def test_a_black_hole_accepts_and_swallows(proxy: Proxy, echo: _Echo) -> None:
    proxy.up.swallow = proxy.down.swallow = True
    with _dial(proxy) as client:
        client.sendall(b"hello")
        assert _silent(client)
        assert echo.heard == b""
        assert proxy.up.met == 1
        proxy.heal()
        assert _is_cut(client), "bytes are missing in it"


def test_one_way_can_be_dropped_alone(proxy: Proxy, echo: _Echo) -> None:
    proxy.down.swallow = True
    with _dial(proxy) as client:
        client.sendall(b"hello")
        assert _silent(client)
        assert echo.heard == b"hello"


def test_what_is_held_passes_when_the_way_is_healed(proxy: Proxy, echo: _Echo) -> None:
    with _dial(proxy) as client:
        proxy.hold("up")
        client.sendall(b"late")
        assert _silent(client)
        assert echo.heard == b""
        proxy.heal()
        assert client.recv(100) == b"LATE"


def test_a_proxy_that_refuses_is_not_there_until_it_is_healed(proxy: Proxy) -> None:
    with _dial(proxy) as before:
        before.sendall(b"here")
        assert before.recv(100) == b"HERE"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            _dial(proxy)
        before.sendall(b"open")
        assert before.recv(100) == b"OPEN", "what is open stays"
    proxy.heal()
    with _dial(proxy) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"AGAIN"


def _takes_nobody(proxy: Proxy) -> bool:
    with socket.socket() as client:
        client.settimeout(0.3)
        try:
            client.connect(("127.0.0.1", proxy.port))
        except TimeoutError:
            return True
    return False


def test_a_proxy_that_stalls_takes_connections_once_it_is_healed(proxy: Proxy) -> None:
    proxy.stall()
    until(lambda: _takes_nobody(proxy), 10, "the backlog to be full")
    proxy.heal()
    with _dial(proxy) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"AGAIN"


def test_a_trap_holds_its_pattern_until_it_is_released(proxy: Proxy, echo: _Echo) -> None:
    trap = proxy.trap("up", b"secret")
    with _dial(proxy) as client:
        client.sendall(b"plain")
        assert client.recv(100) == b"PLAIN"
        client.sendall(b"sec")
        assert client.recv(100) == b"SEC"
        client.sendall(b"ret")
        trap.wait(5)
        assert echo.heard == b"plainsec"
        trap.release()
        assert client.recv(100) == b"RET"
        client.sendall(b"secret")
        assert client.recv(100) == b"SECRET", "it is spent"


def test_a_trap_that_drops_cuts_the_connection_unsent(proxy: Proxy, echo: _Echo) -> None:
    trap = proxy.trap("up", b"secret")
    with _dial(proxy) as client:
        client.sendall(b"secret")
        trap.wait(5)
        trap.drop()
        assert _is_cut(client)
    assert echo.heard == b""


def test_a_trap_may_wait_for_the_reply_to_its_pattern(proxy: Proxy, echo: _Echo) -> None:
    trap = proxy.trap("up", b"ask", reply=True)
    with _dial(proxy) as client:
        client.sendall(b"ask")
        trap.wait(5)
        assert echo.heard == b"ask"
        assert _silent(client)
        trap.release()
        assert client.recv(100) == b"ASK"
