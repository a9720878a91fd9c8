"""The Lua files: each loads, opens with its contract, and keeps to what Redis asks of scripts."""

import re
from hashlib import sha1

import pytest
import redis

from runqueue.store.scripts import LUA, ScriptCall, load, run, sources

SOURCES = {name: entry.read_text() for name, entry in sources().items()}
LIBS = sorted(sources(LUA / "lib"))
NAMES = sorted(SOURCES.keys() - set(LIBS))


def header(name: str) -> str:
    """The comment that a script opens with."""
    lines = SOURCES[name].splitlines()
    end = next(n for n, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:end])


def code(name: str) -> str:
    """A script without its comments."""
    return re.sub(r"--[^\n]*", "", SOURCES[name])


def test_there_are_scripts_to_test() -> None:
    assert {"enqueue", "claim", "mark_running", "finish", "retire"} <= set(NAMES)
    assert [
        *("batches", "board", "capacity", "clock", "core", "damaged", "deliveries", "doubts"),
        *("endpoints", "files", "further", "groups", "guesses", "holds", "jobs", "lanes"),
        *("limits", "line", "listing", "lists", "losses", "own_strays", "packed", "paging"),
        *("paused_groups", "quotas", "run_limits", "runs", "save", "server", "strays", "times"),
        *("trail", "trust", "unwanted", "webhooks"),
    ] == LIBS


@pytest.mark.parametrize("name", NAMES)
def test_a_script_opens_with_a_sentence_its_arguments_and_its_reply(name: str) -> None:
    text = re.sub(r"\A-- use: [^\n]*\n", "", header(name))
    assert re.match(r"-- [A-Z][^\n]{15,}", text), "a sentence that says what it does"
    assert re.search(r"ARGV\s+now_us\b", text), "its arguments, the clock first"
    assert re.search(r"Reply\b", text), "its reply"


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_that_a_script_reads_are_those_its_contract_names(name: str) -> None:
    contract = re.search(r"ARGV\s+(.*?)(?:\.?\s+Reply\b|\Z)", header(name), re.DOTALL)
    assert contract
    read = [int(n) for n in re.findall(r"ARGV\[(\d+)\]", code(name))]
    named = contract[1].count(",") + 1
    assert max(read, default=1) <= max(named, 1)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_script_uses_is_put_before_it_once(name: str) -> None:
    script = load(name)
    assert script.source.startswith(SOURCES["core"])
    assert script.source.endswith(SOURCES[name])
    assert script.sha == sha1(script.source.encode(), usedforsecurity=False).hexdigest()
    for part in LIBS:
        assert script.source.count(SOURCES[part]) <= 1
    uses = header(name).partition("\n")[0]
    if re.search(r"\b(allowed|take|read_limits)\(", code(name)):
        assert "limits" in uses
    if re.search(r"\bboard_(enter|leave)\(", code(name)):
        assert "board" in uses


@pytest.mark.parametrize("name", NAMES)
def test_redis_compiles_a_script(name: str, client: redis.Redis) -> None:
    assert client.script_load(load(name).source) == load(name).sha


@pytest.mark.parametrize("name", [*NAMES, *LIBS])
def test_a_script_uses_no_clock_of_its_own_and_no_key_without_the_account(name: str) -> None:
    text = code(name)
    assert name == "core" or "'TIME'" not in text, "NOW is the one clock"
    assert "KEYS[2]" not in text
    assert not re.search(r"call\('(?!INFO)[A-Z]+', '", text), (
        "a key begins with the account's prefix"
    )
    assert "math.random" not in text


@pytest.mark.parametrize("name", [*NAMES, *LIBS])
def test_no_time_becomes_text_but_by_int(name: str) -> None:
    """`NOW .. ''` would be 1.8e+15."""
    assert not re.search(r"\bNOW\s*\.\.|\.\.\s*NOW\b", code(name))


def test_a_server_that_does_not_know_a_script_is_taught_it(client: redis.Redis) -> None:
    client.script_flush()
    call = ScriptCall(load("job_states"), "default", ["nobody"], lambda reply: reply)
    assert run(client, call, now_us=5) == [b"5", b""]
    assert run(client, call, now_us=6) == [b"6", b""]


def test_a_script_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        load("no_such_transition")
