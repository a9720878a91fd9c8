"""Sending a webhook to a user's URL, once.

The URL is not trusted. So its addresses are checked, and the connection goes to a checked one: a
name is looked up once for a connection, by us. A proxy gets such an address: it might resolve the
name otherwise. It gets the name only if all addresses are allowed. No redirect is followed, no
cookie kept, and nothing of an answer's body is used.
"""

import asyncio
import io
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ssl import CertificateError, SSLContext
from typing import Any, NamedTuple, Self

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from api_client.answers.parts import retry_after
from api_client.http.connect import HostNames, TunnelError, connect
from api_client.http.proxies import Proxies, ProxyServer
from api_client.http.transport import IDLE_LIMIT
from config.webhooks import WebhookSettings
from webhooks.url_policy import PrivateTargetError, TargetRefusedError, checked_url, is_public

#: Bytes of an answer that are read, so that its connection can be used again; and seconds.
MAX_ANSWER, ANSWER_SECONDS = 4096, 2.0
#: The longest Retry-After that is kept, in seconds; longer ones are cut to it.
MAX_RETRY_AFTER = 86_400.0
#: Connections to one receiver at once.
PER_HOST = 25

#: Bytes. aiohttp warns of larger bodies of type bytes, because it writes them at one go.
_LARGE_BODY = 1024 * 1024

#: The name of a failure to connect.
_CAUSES = {socket.gaierror: "its name is not found", ConnectionRefusedError: "connection refused"}

#: Looks a name up: host and port in, its addresses out; raises an OSError if it has none.
LookUp = Callable[[str, int], Awaitable[Sequence[str]]]


class Posted(NamedTuple):
    """The result of one webhook.

    Args:
        status: the receiver's answer; None = none came.
        retry_after: seconds of the receiver's Retry-After, a day at most.
        error: why it was not delivered; '' = it was. It quotes neither the answer nor the URL.
        refused: webhooks may not go there; nothing was sent.
        is_private: it was refused because an address is not of the public internet.
    """

    status: int | None = None
    retry_after: float | None = None
    error: str = ""
    refused: bool = False
    is_private: bool = False

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str]) -> Self:
        """Return what a receiver's answer says."""
        error = "" if 200 <= status < 300 else f"the receiver answered {status}"
        wait = retry_after(headers, most=MAX_RETRY_AFTER)
        return cls(status, wait, error)

    def __repr__(self) -> str:
        return f"Posted({self.status}, error={self.error!r}, refused={self.refused})"


class Outbound:
    """Sends webhooks over sessions that belong to the loop of their first use.

    Args:
        allow_private: whether they may go to addresses that are not of the public internet.
        per_host: connections to one receiver at once.
        look_up: how names become addresses; None = as the system knows them.
        tls: True verifies with the system's certificates; an SSLContext, which may hold a client
            certificate (mTLS), is used as it is.
        proxies: lead to the receivers; without, connections are direct.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        per_host: int = PER_HOST,
        look_up: LookUp | None = None,
        tls: bool | SSLContext = True,
        proxies: Proxies = Proxies(),  # noqa: B008 - it is never changed
    ) -> None:
        self._allow_private = allow_private
        self._per_host = per_host
        self._names = HostNames()
        self._look_up = look_up or self._names.look_up
        self._tls = tls
        self._proxies = proxies
        #: Of each proxy, and of none.
        self._sessions: dict[ProxyServer | None, aiohttp.ClientSession] = {}
        self._closed = False

    @classmethod
    def of(cls, settings: WebhookSettings, proxies: Proxies) -> Self:
        """Return what sends all webhooks of a worker's account, or a gateway's, as settings say."""
        return cls(allow_private=settings.allow_private_webhook_targets, proxies=proxies)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Posted:
        """Send a webhook; errors are returned in the result, not raised.

        Args:
            url: the receiver's.
            body, headers: those of the request.
            timeout: seconds for all of it.
        """
        try:
            # An address never comes to the resolver, which checks names.
            target = checked_url(url, allow_private=self._allow_private)
            return await self._post(target, body, headers, timeout)
        except TargetRefusedError as refusal:
            return Posted(
                error=f"webhooks may not go there: {refusal}",
                refused=True,
                is_private=isinstance(refusal, PrivateTargetError),
            )
        except Exception as exc:  # noqa: BLE001 - the receiver may do anything
            return Posted(error=_words(exc, timeout))

    async def _post(
        self, url: yarl.URL, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Posted:
        session = self._opened(self._proxies.find(str(url)))
        async with session.post(
            url,
            data=body if len(body) <= _LARGE_BODY else io.BytesIO(body),
            headers={"user-agent": "runqueue", "accept-encoding": "identity", **headers},
            timeout=aiohttp.ClientTimeout(total=timeout),
            allow_redirects=False,
        ) as answer:
            await _read(answer)
            return Posted.of(answer.status, answer.headers)

    def _opened(self, proxy: ProxyServer | None) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("closed")
        if proxy not in self._sessions:
            self._sessions[proxy] = aiohttp.ClientSession(
                connector=self._connector(proxy),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._sessions[proxy]

    def _connector(self, proxy: ProxyServer | None) -> aiohttp.TCPConnector:
        is_left = proxy is not None and self._allow_private  # to the proxy
        look_up = None if is_left else self._look_up
        options: dict[str, Any] = {
            "resolver": _Resolver(look_up, self._allow_private),
            "use_dns_cache": False,  # each connection goes to an address checked for it
            "limit": 0,
            "limit_per_host": self._per_host,
            "keepalive_timeout": IDLE_LIMIT,
            "ssl": self._tls,
        }
        if proxy is None:
            return aiohttp.TCPConnector(**options)
        return _ThroughProxy(proxy, self._names, **options)

    async def aclose(self) -> None:
        """Close every connection; nothing is sent afterwards."""
        self._closed = True
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()
        self._names.close()


class _Resolver(AbstractResolver):
    """Gives aiohttp the addresses of a name if webhooks may go to all of them.

    Args:
        look_up: looks it up; None = it is given unresolved, to be sent to a proxy.
        allow_private: whether the addresses need not be public.
    """

    def __init__(self, look_up: LookUp | None, allow_private: bool) -> None:
        self._look_up = look_up
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a name up, once; of both families."""
        if self._look_up is None:
            return [
                ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)
            ]
        found = [ipaddress.ip_address(text) for text in await self._look_up(host, port)]
        for address in found:
            if not self._allow_private and not is_public(address):
                raise PrivateTargetError(f"{host} does not lead to public addresses alone")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class _ThroughProxy(aiohttp.TCPConnector):
    """Connects to receivers by tunnels of a proxy, whatever their scheme.

    aiohttp's own way would send the proxy whole requests to `http` receivers, by name. There is no
    public way to put another in its place; tests over real sockets guard this one.
    """

    def __init__(self, proxy: ProxyServer, names: HostNames, **options: Any) -> None:
        super().__init__(**options)
        self._through = proxy
        self._proxy_names = names

    async def _wrap_create_connection(  # type: ignore[override]
        self, factory: Any, *, addr_infos: Any, req: Any, ssl: Any, server_hostname: Any, **_: Any
    ) -> tuple[asyncio.Transport, Any]:
        error: Exception = OSError("no address")
        while addr_infos:  # emptied: aiohttp is not to begin again
            host, port = addr_infos.pop(0)[4][:2]
            try:
                return await connect(
                    *(factory, self._proxy_names, host, port),
                    proxy=self._through,
                    tls=ssl,
                    server_hostname=server_hostname,
                )
            except CertificateError as exc:
                error = aiohttp.ClientConnectorCertificateError(req.connection_key, exc)
            except OSError as exc:
                error = aiohttp.ClientConnectorError(req.connection_key, exc)
        raise error


async def _read(answer: aiohttp.ClientResponse) -> None:
    """Read a short body; the connection of another is closed."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await answer.content.readexactly(MAX_ANSWER)
    except asyncio.IncompleteReadError:  # that was all of it
        return
    except (aiohttp.ClientError, OSError, TimeoutError):
        pass
    answer.close()  # the rest of it must not reach the next webhook


def _words(exc: Exception, timeout: float) -> str:
    """Say why no answer came: classes of errors only, since their texts may quote the URL."""
    if isinstance(exc, TimeoutError):
        return f"did not answer within {timeout:g} s"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"could not be reached: {type(exc.certificate_error).__name__}"
    if isinstance(exc, aiohttp.ClientConnectorError):
        if isinstance(exc.os_error, TunnelError):  # the proxy's address is not shown to users
            return f"could not be reached: the proxy {exc.os_error.why}"
        cause = type(exc.os_error)
        return f"could not be reached: {_CAUSES.get(cause, cause.__name__)}"
    return f"gave no answer: {type(exc).__name__}"
