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


def plain(name: str) -> str:
    """A script without its comments and texts."""
    return re.sub(r"'(?:\\.|[^'\\\n])*'", "''", code(name))


def parts_used(name: str) -> set[str]:
    """The parts that a file says it uses, `core` apart."""
    first = SOURCES[name].partition("\n")[0]
    return set(first.removeprefix("-- use:").split()) if first.startswith("-- use:") else set()


def defined(part: str) -> set[str]:
    """The names that a part gives to what comes after it."""
    found = re.findall(r"^local (?:function (\w+)|([\w, ]+))", plain(part), re.MULTILINE)
    return {name.strip() for one in found for names in one for name in names.split(",")} - {""}


def bound(name: str) -> set[str]:
    """The names that a file gives to something itself, in functions as well."""
    found = re.findall(
        r"\blocal (?:function )?([\w, ]+?)(?=\s*[=(]|\s*$)|\bfor ([\w, ]+?) (?:in|=)"
        r"|\bfunction\b[^(\n]*\(([^)]*)\)",
        plain(name),
        re.MULTILINE,
    )
    return {word.strip() for one in found for words in one for word in words.split(",")}


OWNERS = {name: part for part in LIBS for name in defined(part)}


def test_there_are_scripts_to_test() -> None:
    assert {"enqueue", "claim", "mark_running", "finish", "retire"} <= set(NAMES)
    assert {"core", "counters", "lanes", "save"} <= set(LIBS)


def test_no_two_parts_give_the_same_name_to_what_comes_after_them() -> None:
    assert sum(len(defined(part)) for part in LIBS) == len(OWNERS)


@pytest.mark.parametrize("name", [*NAMES, *LIBS])
def test_a_file_names_the_parts_that_it_uses_and_no_others(name: str) -> None:
    words = set(re.findall(r"(?<![\w.:])[A-Za-z_]\w*", plain(name))) - bound(name)
    used = {OWNERS[word] for word in words & OWNERS.keys()}
    assert parts_used(name) == used - {"core", name}


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
    assert script.source.endswith(f"{SOURCES[name]}end\nreturn run()\n")
    assert script.sha == sha1(script.source.encode(), usedforsecurity=False).hexdigest()
    for part in LIBS:
        assert script.source.count(SOURCES[part]) <= 1


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
