"""Making a client, and what it says of itself."""

import logging
from typing import Any

import httpx
import pytest

from api_client import ApiError, AsyncSkyvern, AsyncTransport, Skyvern, SkyvernEnvironment
from tests.api_client.rawserver import answering, serving
from tests.api_client.twins import KEY, TASK, FakeTransport, Kind, answer, both, twin
from tests.proxying import proxying

CLIENTS: dict[Kind, type[Skyvern | AsyncSkyvern]] = {"async": AsyncSkyvern, "blocking": Skyvern}


Own = httpx.Client | httpx.AsyncClient


def own_httpx_client(kind: Kind, **options: Any) -> Own:
    return httpx.AsyncClient(**options) if kind == "async" else httpx.Client(**options)


async def close(own: Own) -> None:
    close_it = own.aclose if isinstance(own, httpx.AsyncClient) else own.close
    if (closing := close_it()) is not None:
        await closing


@both
async def test_the_key_is_taken_from_the_environment_when_none_is_given(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", "from-the-environment")
    for given, sent in ((None, "from-the-environment"), ("given", "given")):
        transport = FakeTransport(answer(200, TASK))
        async with twin(kind, api_key=given, transport=transport) as client:
            await client.submit()
        assert transport.requests[0].headers["x-api-key"] == sent


@both
@pytest.mark.parametrize(("given", "set_"), [(None, None), (None, ""), ("", "from")])
def test_a_missing_key_names_both_places_to_give_it(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, given: str | None, set_: str | None
) -> None:
    monkeypatch.delenv("SKYVERN_API_KEY", raising=False)
    if set_ is not None:
        monkeypatch.setenv("SKYVERN_API_KEY", set_)
    with pytest.raises(ValueError, match=r"api_key.*SKYVERN_API_KEY"):
        CLIENTS[kind](api_key=given)


@both
@pytest.mark.parametrize(
    "key", ["with\nbreak", "secret\n", " secret", "secret-é", "secret\x00"], ids=ascii
)
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(kind: Kind, key: str) -> None:
    with pytest.raises(ValueError, match="api_key: it has blanks") as caught:
        CLIENTS[kind](api_key=key)
    assert key not in str(caught.value)


@both
@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "https://api.skyvern.com/"),
        ({"environment": SkyvernEnvironment.PRODUCTION}, "https://api.skyvern.com/"),
        ({"environment": SkyvernEnvironment.STAGING}, "https://api-staging.skyvern.com/"),
        ({"environment": SkyvernEnvironment.LOCAL}, "http://localhost:8000/"),
        ({"base_url": "http://h/x", "environment": SkyvernEnvironment.STAGING}, "http://h/x/"),
    ],
)
def test_a_client_says_where_it_goes_and_no_more(
    kind: Kind, given: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SKYVERN_BASE_URL", raising=False)
    client = CLIENTS[kind](api_key=KEY, **given)
    assert repr(client) == f"{CLIENTS[kind].__name__}(base_url={url!r})"
    assert KEY not in repr((client.agent, vars(client)))
    assert url in repr(client.agent)


#: Nothing can be sent there, whatever the network does.
UNREACHABLE = ["http://h:99999", "http://h..x", f"http://{'h' * 64}.test"]


@both
@pytest.mark.parametrize(
    "url",
    ["", " ", "ftp://h", "skyvern", "http://h/?a=b", "http://u@h", "http://h:x", *UNREACHABLE],
)
def test_a_base_url_that_cannot_be_used_is_refused(kind: Kind, url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        CLIENTS[kind](api_key=KEY, base_url=url)


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", httpx.URL("http://h")),
        ("environment", "https://api.skyvern.com"),
        ("api_key", b"key"),
        ("timeout", "5"),
        ("timeout", True),
        ("httpx_client", "client"),
        ("transport", "transport"),
        ("limiter", object()),
        ("retry", 3),
    ],
)
def test_an_argument_of_another_kind_is_named(kind: Kind, name: str, value: object) -> None:
    arguments: dict[str, Any] = {"api_key": KEY} | {name: value}
    with pytest.raises(TypeError, match=f"^{name}: expected"):
        CLIENTS[kind](**arguments)


async def test_a_client_or_transport_of_the_other_twin_is_named() -> None:
    async with httpx.AsyncClient() as own, AsyncTransport() as transport:
        for given in ({"httpx_client": own}, {"transport": transport}):
            with pytest.raises(TypeError, match=rf"^{next(iter(given))}: expected httpx\."):
                Skyvern(api_key=KEY, **given)
    with httpx.Client() as blocking, httpx.HTTPTransport() as sender:
        for other in ({"httpx_client": blocking}, {"transport": sender}):
            with pytest.raises(TypeError, match=rf"^{next(iter(other))}: expected httpx\."):
                AsyncSkyvern(api_key=KEY, **other)


@both
async def test_an_own_client_and_a_transport_are_one_too_many(kind: Kind) -> None:
    own = own_httpx_client(kind)
    options: dict[str, Any] = {"httpx_client": own, "transport": FakeTransport()}
    with pytest.raises(TypeError, match="httpx_client and transport"):
        CLIENTS[kind](api_key=KEY, **options)
    await close(own)


@both
async def test_a_proxy_is_the_one_given_or_the_environment_s(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with proxying() as proxy:
        async with serving(answering(200, TASK)) as server:
            async with twin(kind, base_url=server.url, proxy=proxy.url) as client:
                await client.submit()
            async with twin(kind, base_url=server.url, proxy="none") as client:
                await client.submit()
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            async with twin(kind, base_url=server.url) as client:
                await client.submit()
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            async with twin(kind, base_url=server.url) as client:
                await client.submit()
    assert len(server.exchanges) == 4
    assert proxy.requests == [f"POST {server.url}/v1/run/tasks"] * 2


@both
def test_a_proxy_that_cannot_be_used_is_refused_and_not_shown(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("https://u:Secret1@a.test", "http://", ""):
        with pytest.raises(ValueError, match=r"^proxy: expected the URL of a proxy") as error:
            CLIENTS[kind](api_key=KEY, proxy=url)
        assert "Secret1" not in str(error.value)
    with pytest.raises(TypeError, match=r"^proxy: expected str, got int$"):
        CLIENTS[kind](api_key=KEY, proxy=1)  # type: ignore[arg-type]
    monkeypatch.setenv("HTTPS_PROXY", "https://u:Secret1@a.test")
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY: expected the URL of a proxy") as error:
        CLIENTS[kind](api_key=KEY)
    assert "Secret1" not in str(error.value)


def test_a_socks_proxy_is_refused_by_the_blocking_client_and_its_user_not_shown() -> None:
    words = r"^proxy: expected an http proxy, got socks5://a\.test:1080: AsyncSkyvern"
    with pytest.raises(ValueError, match=words):
        Skyvern(api_key=KEY, proxy="socks5://u:Secret1@a.test")


@both
async def test_a_proxy_beside_a_client_or_transport_of_its_own_is_refused(kind: Kind) -> None:
    own = own_httpx_client(kind)
    others: list[dict[str, Any]] = [{"httpx_client": own}, {"transport": FakeTransport()}]
    for other in others:
        with pytest.raises(TypeError, match=r"^proxy: expected none beside"):
            CLIENTS[kind](api_key=KEY, proxy="http://a.test", **other)
    await close(own)


@both
async def test_headers_are_sent_with_every_request_and_before_ours(kind: Kind) -> None:
    transport = FakeTransport(answer(200, TASK))
    headers = {"X-Tenant": "t", "User-Agent": "mine"}
    async with twin(kind, transport=transport, headers=headers) as client:
        await client.submit()
        await client.call("get_run", "tsk_1")
        await client.submit(additional_headers={"x-tenant": "other"})
    tenants = [request.headers["x-tenant"] for request in transport.requests]
    assert tenants == ["t", "t", "other"]
    assert {request.headers["user-agent"] for request in transport.requests} == {"mine"}


#: A call, its arguments, and the seconds it has where nobody says.
Call = tuple[str, dict[str, str], float]
CALLS: list[Call] = [
    ("run_task", {"prompt": "p"}, 60),
    ("get_run", {"run_id": "tsk_1"}, 60),
    ("cancel_run", {"run_id": "tsk_1"}, 120),
    ("retry_run_webhook", {"run_id": "tsk_1"}, 90),
]


@both
@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call[0]))
@pytest.mark.parametrize(
    ("given", "expected"),
    [((None, None), None), ((30, None), 30), ((None, 5), 5), ((30, 200), 200), ((100, None), 100)],
)
async def test_a_call_has_the_time_it_was_given_else_the_time_it_needs(
    kind: Kind, call: Call, given: tuple[float | None, float | None], expected: float | None
) -> None:
    name, arguments, patience = call
    timeout, option = given
    transport = FakeTransport(answer(200, TASK))
    async with twin(kind, transport=transport, timeout=timeout) as client:
        options = {"timeout_in_seconds": option}
        await client.call(name, **arguments, request_options=options)
    assert transport.timeouts == [pytest.approx(expected or patience, abs=1)]


@both
async def test_an_own_client_s_timeout_is_kept_unless_another_is_given(kind: Kind) -> None:
    sent = FakeTransport(answer(200, TASK))
    own = own_httpx_client(kind, transport=sent, timeout=7)
    for given, expected in ((None, 7), (9, 9)):
        async with twin(kind, httpx_client=own, timeout=given) as client:
            await client.call("get_run", "tsk_1")
        assert sent.timeouts.pop() == pytest.approx(expected, abs=1)
    assert not own.is_closed
    await close(own)


@both
@pytest.mark.parametrize(("own_limit", "of_a_read"), [(None, 60), (5, 5)])
async def test_a_cancel_by_an_own_client_has_the_time_that_its_webhook_needs(
    kind: Kind, own_limit: float | None, of_a_read: float
) -> None:
    sent = FakeTransport(answer(200, TASK))
    own = own_httpx_client(kind, transport=sent, timeout=own_limit)
    async with twin(kind, httpx_client=own) as client:
        await client.call("cancel_run", "tsk_1")
        await client.call("get_run", "tsk_1")
    assert sent.timeouts == [pytest.approx(120, abs=1), pytest.approx(of_a_read, abs=1)]
    await close(own)


class Closable(FakeTransport):
    closed = False

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


@both
@pytest.mark.parametrize("own", [False, True])
async def test_a_closed_client_says_so_at_once(kind: Kind, own: bool) -> None:
    options = {} if own else {"transport": FakeTransport(answer(200, TASK))}
    async with serving(answering(200, TASK)) as server:
        async with twin(kind, base_url=server.url, **options) as client:
            await client.submit()
        with pytest.raises(RuntimeError, match="the client is closed"):
            await client.submit()


@both
async def test_a_transport_that_was_passed_in_is_left_open(kind: Kind) -> None:
    transport = Closable(answer(200, TASK))
    async with twin(kind, transport=transport) as client:
        await client.submit()
    assert not transport.closed
    if isinstance(client.client, Skyvern):
        with client.client:
            pass
    else:
        async with client.client:
            pass
    assert not transport.closed


@both
@pytest.mark.parametrize("status", [200, 400, 403, 404, 418, 429, 500, 503])
async def test_the_key_the_server_echoes_is_in_no_error_and_no_log(
    kind: Kind, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echoing = answer(status, {"detail": f"wrong: {KEY}!", "run_id": KEY, "status": [KEY]})
    async with twin(kind, transport=FakeTransport(echoing)) as client:
        for call in (client.submit(max_retries=0), client.call("get_run", "tsk_1")):
            with pytest.raises(ApiError) as caught:
                await call
            assert KEY not in str(caught.value) + repr(caught.value)
    assert KEY not in caplog.text


@both
async def test_each_attempt_is_logged_when_debugging_without_query_body_or_key(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="api_client")
    transport = FakeTransport(answer(500), answer(200, TASK))
    async with twin(kind, transport=transport) as client:
        await client.call(
            "get_run", "tsk_1", request_options={"additional_query_parameters": {"q": "private"}}
        )
        await client.call("run_task", prompt="private")
    lines = [record.getMessage() for record in caplog.records if record.name == "api_client"]
    size = len(answer(200, TASK).content)
    assert lines == [
        "GET /v1/runs/tsk_1: 500, 0 bytes",
        "again in 0.0 s, after GET /v1/runs/tsk_1: 500",
        f"GET /v1/runs/tsk_1: 200, {size} bytes",
        f"POST /v1/run/tasks: 200, {size} bytes",
    ]
    assert KEY not in caplog.text
