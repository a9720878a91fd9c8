"""`runqueue doctor`: what it finds where all is well, and what it says of each trouble."""

import asyncio
import json
import re
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner, Result

from api_client.http.proxies import Proxies
from api_client.versions import CERTIFIED_VERSIONS
from config.settings import Account, Settings
from lab.clusters import cluster
from runqueue import RunQueue
from runqueue.connection.client import sync_client
from runqueue.store.keys import ACCOUNTS, FORMAT, FORMAT_KEY, Keys
from runqueue.store.live_processes import Process
from runqueue.store.sending import load_library
from simulator.model.options import DEFAULT_API_KEY
from tests.api_client.rawserver import port_nobody_listens_on
from tests.figures import stats
from tests.gateway.gating import KEY, gating
from tests.proxying import ForwardingProxy, proxying
from tests.simulator.simulating import simulating
from tests.worker.working import Work, working
from worker.doctor import queue_checks, redis_checks
from worker.doctor.api_checks import check_api, check_public_url, check_version
from worker.doctor.doctor import doctor
from worker.doctor.findings import Finding, FindingLevel

REDIS_PASSWORD = "redis-password"

app = typer.Typer()
app.command()(doctor)


def ask(*arguments: str, **environ: str) -> Result:
    """Give the command in an environment."""
    return CliRunner().invoke(app, list(arguments), env=environ)


def account(base_url: str, key: str = DEFAULT_API_KEY) -> Account:
    """An account's settings."""
    return Account.model_validate({"api_key": key, "base_url": base_url})


def well(found: Finding) -> bool:
    """Whether a finding is as it should be."""
    return found.level is FindingLevel.OK


async def test_where_all_is_well_nothing_is_wrong_and_each_thing_is_named(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, max_concurrent_runs=10) as bench:
        environ = {
            "SKYVERN_API_KEY": DEFAULT_API_KEY,
            "SKYVERN_BASE_URL": bench.api.url,
            "RUNQUEUE_REDIS_URL": redis_url,
        }
        result = await asyncio.to_thread(ask, "--json", **environ)

    told = json.loads(result.stdout)
    levels = {found["check"]: found["level"] for found in told["checks"]}
    assert result.exit_code == 0, told
    assert levels.keys() >= {
        "settings", "file descriptors", "redis", "version", "role", "persistence", "eviction",
        "memory", "clock", "account default", "workers default",
        "limits default", "broker", "API default", "public URL",
    }  # fmt: skip
    for check in ("redis", "version", "role", "eviction", "clock", "broker"):
        assert levels[check] == "ok", told
    for check in ("account default", "workers default", "API default", "public URL"):
        assert levels[check] == "ok", told
    # The worker of the test has no limits, the environment names none.
    assert levels["limits default"] == "warning"


def test_without_settings_it_says_so_and_looks_at_redis_all_the_same(redis_url: str) -> None:
    result = ask(RUNQUEUE_REDIS_URL=redis_url, RUNQUEUE_MAX_BURST="3")

    assert result.exit_code == 1
    assert "wrong    settings: SKYVERN_API_KEY: expected the API key" in result.stdout
    assert "did you mean RUNQUEUE_MAX_BURST_SIZE?" in result.stdout
    assert re.search(r"ok +eviction: noeviction", result.stdout)


async def test_a_key_that_only_the_workers_have_is_no_fault_of_the_queue(
    client: redis.Redis, redis_url: str
) -> None:
    async with working(client, redis_url, max_concurrent_runs=10):
        result = await asyncio.to_thread(ask, RUNQUEUE_REDIS_URL=redis_url)

    assert result.exit_code == 0, result.stdout
    assert "warning  settings: SKYVERN_API_KEY is not set here" in result.stdout
    assert "export it and SKYVERN_BASE_URL in this terminal" in result.stdout
    assert re.search(r"ok +workers default: 1 process", result.stdout)


async def test_before_the_first_worker_nothing_is_compared_with_what_it_will_write(
    redis_url: str,
) -> None:
    async with simulating() as api:
        environ = {
            "SKYVERN_API_KEY": DEFAULT_API_KEY,
            "SKYVERN_BASE_URL": api.url,
            "RUNQUEUE_REDIS_URL": redis_url,
        }
        result = await asyncio.to_thread(ask, "--json", **environ)

    checks = {found["check"]: found for found in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 0
    assert checks["limits default"]["level"] == "ok"
    assert checks["limits default"]["said"] == "none yet: the first worker writes those it has"
    assert checks["workers default"]["level"] == "warning"
    assert "runqueue up" in checks["workers default"]["do"]


def test_no_secret_is_shown_whatever_is_wrong() -> None:
    with port_nobody_listens_on() as port:
        result = ask(
            "--json",
            SKYVERN_API_KEY=KEY,
            SKYVERN_BASE_URL=f"http://127.0.0.1:{port}",
            RUNQUEUE_REDIS_URL=f"redis://user:{REDIS_PASSWORD}@127.0.0.1:{port}/0",
            RUNQUEUE_PUBLIC_URL=f"http://127.0.0.1:{port}",
        )

    levels = {found["check"]: found["level"] for found in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 1
    assert {"redis", "API default", "public URL"} <= {
        check for check, level in levels.items() if level == "wrong"
    }
    assert KEY not in result.output
    assert REDIS_PASSWORD not in result.output


@pytest.mark.parametrize(
    ("status", "words", "do"),
    [
        (401, "the key is refused", "SKYVERN_API_KEY"),
        (402, "no balance", "add credit"),
        (429, "answers 429", "try again"),
        (500, "answers 500", "try again"),
    ],
)
async def test_what_the_api_refuses_names_what_to_change(status: int, words: str, do: str) -> None:
    async with simulating() as api:
        await api.fault({"status": status, "body": {"detail": KEY}}, times=5)
        found = await check_api("default", account(api.url, KEY), Proxies())

    assert not well(found)
    assert words in found.said
    assert do in found.do
    assert KEY not in str(found)


async def test_a_server_without_the_list_of_runs_is_warned_of() -> None:
    async with simulating() as api:
        missing = {"status": 404, "body": {"detail": "Not Found"}}
        await api.fault(missing, match={"route": "list_runs"}, times=1)
        found = await check_api("default", account(api.url), Proxies())

    assert found.level is FindingLevel.WARNING
    assert "no list of runs" in found.said


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (
            {"status": 200, "body": {"version": CERTIFIED_VERSIONS[0]}},
            FindingLevel.OK,
            "a certified one",
        ),
        (
            {"status": 200, "body": {"version": CERTIFIED_VERSIONS[-1]}},
            FindingLevel.OK,
            "a certified one",
        ),
        (
            {"status": 200, "body": {"version": "0.9.9"}},
            FindingLevel.WARNING,
            "0.9.9, not a certified",
        ),
        (
            {"status": 404, "body": {"detail": "Not Found"}},
            FindingLevel.OK,
            "the server tells none",
        ),
        ({"status": 500, "body": {"error": "down"}}, FindingLevel.WARNING, "did not tell it"),
    ],
)
async def test_the_servers_version_is_told_and_whether_it_is_certified(
    answer: dict[str, Any], level: FindingLevel, words: str
) -> None:
    async with asked_for_its_version(answer) as url:
        found = await check_version("default", account(url), Proxies())

    assert (found.level, words in found.said) == (level, True), found
    if level is FindingLevel.WARNING:
        assert CERTIFIED_VERSIONS[0] in found.said
        assert "docs/guarantees.md" in found.do


@asynccontextmanager
async def asked_for_its_version(answer: dict[str, Any]) -> AsyncIterator[str]:
    """Have a server that answers a question for its version as given."""

    async def version(_: web.Request) -> web.Response:
        return web.json_response(answer["body"], status=answer["status"])

    app = web.Application()
    app.router.add_get("/v1/version", version)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        (ForwardingProxy(), "takes the key"),
        (ForwardingProxy(user="a:b"), "answered 407: it wants another user or password"),
    ],
)
async def test_the_proxy_that_leads_to_the_api_is_asked_and_named(
    proxy: ForwardingProxy, words: str
) -> None:
    async with simulating() as api:
        with proxying(proxy):
            url = f"http://127.0.0.1:{proxy.port}"
            proxies = Proxies.from_environment({}, url)
            found = await check_api("default", account(api.url), proxies)

    assert f"{api.url} by the proxy {url}" in found.said
    assert words in found.said
    assert well(found) or "NO_PROXY" in found.do


async def test_what_is_no_skyvern_is_a_wrong_base_url(redis_url: str) -> None:
    async with gating(redis_url) as door:
        found = await check_api("acme", account(door.url), Proxies())

    assert found.level is FindingLevel.WRONG
    assert "RUNQUEUE_ACCOUNTS__ACME__BASE_URL" in found.do


async def test_a_web_page_at_the_base_url_is_called_one() -> None:
    async with simulating() as api:
        await api.fault({"html200": True})
        found = await check_api("default", account(api.url), Proxies())

    assert found.level is FindingLevel.WRONG
    assert found.said == f"{api.url} answers 200 with HTML, not with JSON"
    assert found.do == "correct SKYVERN_BASE_URL: this is no Skyvern API"


async def test_the_public_url_is_ours_if_a_gateway_with_our_key_answers_there(
    redis_url: str,
) -> None:
    async with gating(redis_url) as door:
        same = await check_public_url(door.url, "default", account("http://x", KEY), Proxies())
        other = await check_public_url(
            door.url, "default", account("http://x", "another"), Proxies()
        )

    assert well(same), same
    assert "does not know the account's key" in other.said
    assert "SKYVERN_API_KEY" in other.do


def test_of_a_cluster_every_primary_is_looked_at(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes, sync_client(nodes.url) as client:
        nodes.nodes[1].ask("CONFIG SET", "maxmemory-policy", "allkeys-lru")
        found = {one.check: one for one in redis_checks.check_server(client)}

    ports = [node.port for node in nodes.nodes]
    assert all(well(found[f"role 127.0.0.1:{port}"]) for port in ports)
    evicting = [port for port in ports if not well(found[f"eviction 127.0.0.1:{port}"])]
    assert evicting == [ports[1]]


async def test_a_public_url_that_is_somebody_elses_is_told() -> None:
    async with simulating() as api:
        found = await check_public_url(api.url, "default", account("http://x"), Proxies())

    assert found.level is FindingLevel.WRONG
    assert "no gateway of ours" in found.said


def test_the_libraries_of_versions_that_are_gone_are_named(client: redis.Redis) -> None:
    client.function_flush()
    assert redis_checks.functions(client).said == "none of this version yet"
    load_library(client, "runqueue:{default}:meta")
    assert redis_checks.functions(client).level is FindingLevel.OK
    function = "redis.register_function('runqueue_0_x', function() return 1 end)"
    client.function_load(f"#!lua name=runqueue_0\n{function}")
    found = redis_checks.functions(client)
    assert (found.level, found.said) == (
        FindingLevel.WARNING,
        "this version's; those of others: runqueue_0",
    )
    client.function_flush()


@pytest.mark.parametrize(
    ("info", "judge", "level", "words"),
    [
        ({"redis_version": "6.2.14"}, redis_checks.version, FindingLevel.WRONG, "Redis 6.2.14"),
        ({"redis_version": "7.0.1"}, redis_checks.version, FindingLevel.OK, "Redis 7.0.1"),
        (
            {"redis_version": "7.2.4", "valkey_version": "9.0.0"},
            redis_checks.version,
            FindingLevel.OK,
            "Valkey 9.0.0",
        ),
        ({"role": "slave"}, redis_checks.role, FindingLevel.WRONG, "a replica"),
        (
            {"role": "master", "cluster_enabled": 1},
            redis_checks.role,
            FindingLevel.WRONG,
            "Cluster",
        ),
        (
            {"role": "master", "connected_slaves": 1},
            redis_checks.role,
            FindingLevel.OK,
            "1 replica",
        ),
        ({"aof_enabled": 0}, redis_checks.persistence, FindingLevel.WARNING, "no append-only file"),
        ({"aof_enabled": 1}, redis_checks.persistence, FindingLevel.OK, "append-only"),
        ({"loading": 1}, redis_checks.persistence, FindingLevel.WARNING, "reading its data"),
        (
            {"aof_enabled": 1, "aof_last_write_status": "err"},
            redis_checks.persistence,
            FindingLevel.WRONG,
            "aof_last_write_status",
        ),
        (
            {"used_memory": 95, "maxmemory": 100},
            redis_checks.memory,
            FindingLevel.WRONG,
            "maxmemory",
        ),
        (
            {"used_memory": 80, "maxmemory": 100},
            redis_checks.memory,
            FindingLevel.WARNING,
            "maxmemory",
        ),
        (
            {"used_memory": 0, "total_system_memory": 11_000_000},
            redis_checks.memory,
            FindingLevel.OK,
            "room for 10,000 small jobs",
        ),
        ({"used_memory": 5}, redis_checks.memory, FindingLevel.OK, "does not tell"),
    ],
)
def test_each_figure_of_redis_is_judged(
    info: dict[str, Any], judge: Callable[[Any], Finding], level: FindingLevel, words: str
) -> None:
    found = judge(info)

    assert found.level is level
    assert words in found.said
    assert bool(found.do) is (level is not FindingLevel.OK)


def test_a_policy_that_drops_jobs_is_wrong() -> None:
    assert redis_checks.policy("eviction", {"maxmemory_policy": "allkeys-lru"}).level == "wrong"


@pytest.mark.parametrize(
    ("server", "level", "words"),
    [
        (100.0, FindingLevel.OK, "this machine's"),
        (95.0, FindingLevel.WARNING, "5.0 s behind"),
        (111.0, FindingLevel.WARNING, "10.0 s ahead of"),
        (300.0, FindingLevel.WRONG, "ahead of"),
    ],
)
def test_two_clocks_that_differ_are_told(server: float, level: FindingLevel, words: str) -> None:
    found = redis_checks.clock(server, 100.0, 101.0)

    assert found.level is level
    assert words in found.said


def test_a_broker_that_is_full_of_messages_or_serves_others_is_warned_of(
    client: redis.Redis, redis_url: str
) -> None:
    client.rpush("runqueue.stages", *range(101))
    for name in ("celery", "runqueue", "runqueue.stages"):
        client.sadd(f"_kombu.binding.{name}", "x")
    client.sadd("_kombu.binding.celery.pidbox", "x")

    found = list(redis_checks.check_broker(client, redis_url))

    assert [one.level for one in found] == ["warning", "warning"]
    assert "101 messages of workers and 0 of producers wait" in found[0].said
    assert found[1].said == "other queues are there, too: celery"


def test_messages_of_producers_that_wait_are_told_apart_from_those_of_workers(
    client: redis.Redis, redis_url: str
) -> None:
    client.rpush("runqueue", *range(101))

    (found,) = redis_checks.check_broker(client, redis_url)

    assert found.level == "warning"
    assert "0 messages of workers and 101 of producers wait" in found.said
    assert "many lines" in found.do


def test_the_name_of_the_broker_s_unix_socket_is_understood() -> None:
    made = redis_checks.broker_client("redis+socket:///run/redis.sock?virtual_host=3")

    options = made.connection_pool.connection_kwargs
    assert (options["path"], options["db"]) == ("/run/redis.sock", 3)


def test_data_of_another_format_is_wrong_and_says_what_to_do(
    client: redis.Redis, redis_url: str
) -> None:
    client.set(FORMAT_KEY, FORMAT + 1)

    result = ask("--json", RUNQUEUE_REDIS_URL=redis_url)

    checks = {found["check"]: found for found in json.loads(result.stdout)["checks"]}
    assert checks["format"]["level"] == "wrong"
    assert f"holds format {FORMAT + 1}" in checks["format"]["said"]
    assert "another Redis or database" in checks["format"]["do"]
    assert "account default" not in checks


@pytest.mark.parametrize(
    ("left", "level", "words"),
    [
        ([], FindingLevel.WARNING, "no process"),
        ([14.0, 12.0], FindingLevel.OK, "2 processes, the last heartbeat 1 s ago"),
        ([14.0, 3.0], FindingLevel.WARNING, "no heartbeat for 12 s of host-1"),
    ],
)
def test_a_process_whose_heartbeat_is_late_is_named(
    left: list[float], level: FindingLevel, words: str
) -> None:
    processes = [
        Process(f"host-{n}", "default", 15 - one, True, 0, ()) for n, one in enumerate(left)
    ]

    found = queue_checks.heartbeats("default", processes)

    assert found.level is level
    assert words in found.said


@pytest.mark.parametrize(
    ("kind", "paused", "level", "do"),
    [
        ("breaker", False, FindingLevel.WARNING, "goes on by itself"),
        ("account", False, FindingLevel.WRONG, "`runqueue resume`"),
        ("person", False, FindingLevel.WRONG, "`runqueue resume`"),
        (None, True, FindingLevel.WARNING, "somebody paused it"),
        ("account", True, FindingLevel.WRONG, "`runqueue resume`"),
    ],
)
def test_a_hold_is_wrong_if_it_wants_a_person_and_no_person_began_it(
    kind: str | None, paused: bool, level: FindingLevel, do: str
) -> None:
    held = stats(hold_reason="HTTP 401", hold_seconds=60.0, hold_kind=kind, paused=paused)

    found = queue_checks.health(held)

    assert (found.level, found.said.count("account default")) == (level, 0)
    assert "HTTP 401" in found.said
    assert do in found.do


def test_a_limit_that_differs_is_told_apart_by_who_set_it() -> None:
    known = stats(limits={"a": 1.0, "b": 2.0, "c": 3.0}, overridden={"b": 2.0})

    found = list(queue_checks.limits(known, {"a": 1.0, "b": 9.0, "c": 4.0}))

    assert [one.said for one in found] == [
        "b was set live to 2, and is 9 here",
        "c is 3 in the queue, and 4 here",
    ]
    assert well(next(queue_checks.limits(known, {"a": 1.0})))


def test_an_account_without_settings_here_is_warned_of(
    client: redis.Redis, queue: RunQueue
) -> None:
    found = list(queue_checks.check_account(queue, "acme", None, None))

    assert "RUNQUEUE_ACCOUNTS__ACME__API_KEY" in found[0].do


@pytest.mark.parametrize(("details", "warns"), [("failed", True), ("never", True), ("all", False)])
def test_a_price_of_credits_that_are_not_all_read_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, details: str, warns: bool
) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", KEY)
    monkeypatch.setenv("RUNQUEUE_RUN_DETAILS", details)
    assert not list(queue_checks.credits_read(Settings()))
    monkeypatch.setenv("RUNQUEUE_PRICE_PER_CREDIT", "0.05")
    assert bool(list(queue_checks.credits_read(Settings()))) is warns


def test_too_few_descriptors_for_the_places_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", KEY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))

    found = queue_checks.open_files(Settings(max_open_calls=500))

    assert found.level is FindingLevel.WARNING
    assert "256 here; a worker needs up to 3,300" in found.said


def test_quarantined_jobs_are_named_of_an_account_that_is_looked_at_like_any_other(
    client: redis.Redis, redis_url: str
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.zadd(f"{Keys('shop').prefix}quarantined", {"nma3": 1, "nma4": 2})

    result = ask("--json", RUNQUEUE_REDIS_URL=redis_url)

    checks = {found["check"]: found for found in json.loads(result.stdout)["checks"]}
    assert checks["records shop"]["level"] == "warning"
    assert checks["records shop"]["said"].startswith("2 jobs are quarantined")
    assert checks["records shop"]["said"].endswith(": nma3, nma4")
    assert "quarantined" not in checks["account shop"]["said"]
    assert "records default" not in checks


async def test_what_has_ended_and_still_holds_a_key_is_told(work: Work) -> None:
    async with work() as bench:
        await bench.one_pass("submit")
        bench.client.sadd(f"{Keys('default').prefix}key:site:a", "nobody")
        found = list(queue_checks.check_account(bench.queue, "default", bench.stats(), None))
    (told,) = [one for one in found if one.check == "keys default"]
    assert told.level is FindingLevel.WARNING
    assert told.said.startswith("1 held by what has ended, such as key:site:a by nobody")
    assert told.do == "runqueue keys repair"


def test_a_damaged_account_is_named_and_every_other_is_looked_at(
    client: redis.Redis, redis_url: str
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.set(f"{Keys('shop').prefix}limits", "a typo")

    result = ask("--json", RUNQUEUE_REDIS_URL=redis_url)

    checks = {found["check"]: found for found in json.loads(result.stdout)["checks"]}
    assert checks["account shop"]["level"] == "wrong"
    assert "its keys are damaged: WRONGTYPE" in checks["account shop"]["said"]
    assert "account default" in checks
