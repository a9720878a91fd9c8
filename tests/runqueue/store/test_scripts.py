"""The Lua files: each loads, opens with its contract, and keeps to what Redis asks of scripts."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import redis

from runqueue.store.scripts import LUA, ScriptCall, library, load, names_of, sources
from runqueue.store.sending import load_library, run

SOURCES = {name: entry.read_text() for name, entry in sources().items()}
LIBS = sorted(sources(LUA / "lib"))
NAMES = sorted(SOURCES.keys() - set(LIBS))
#: Scripts whose functions are made once, as those of modules.
WITH_FUNCTIONS = [name for name in NAMES if "\nlocal function body(q)\n" in SOURCES[name]]


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


def modules_used(name: str) -> set[str]:
    """The modules that a file says it uses."""
    first = SOURCES[name].partition("\n")[0]
    return set(first.removeprefix("-- use:").split()) if first.startswith("-- use:") else set()


def bound(name: str) -> set[str]:
    """The names that a file gives to something itself, in functions as well."""
    text = plain(name)
    found = [
        *re.findall(r"\blocal (?:function )?([\w, ]+?)(?=\s*[=(]|\s*$)", text, re.MULTILINE),
        *re.findall(r"\bfor ([\w, ]+?) (?:in|=)", text),
        *re.findall(r"\bfunction\b[^(\n]*\(([^)]*)\)", text),
    ]
    return {word.strip() for words in found for word in words.split(",")}


def bound_inside(name: str) -> set[str]:
    """The names that functions of a file give to something themselves."""
    text = "\n".join(line for line in plain(name).splitlines() if line.startswith(" "))
    found = re.findall(r"\blocal ([\w, ]+?)(?: =|$)", text, re.MULTILINE)
    return {word.strip() for words in found for word in words.split(",")}


def lengths(name: str) -> list[int]:
    """The lines of each function of a file, and at last those that stand in none."""
    text, open_blocks, found = plain(name), list[tuple[str, int]](), list[range]()
    for word in re.finditer(r"\b(?:function|do|if|repeat|end|until)\b", text):
        line = text.count("\n", 0, word.start())
        if word[0] not in {"end", "until"}:
            open_blocks.append((word[0], line))
        elif (opened := open_blocks.pop())[0] == "function":
            found.append(range(opened[1], line + 1))
    inside = {line for one in found for line in one}
    outside = {n for n, line in enumerate(text.splitlines()) if line.strip()} - inside
    return [*map(len, found), len(outside)]


def as_dict(row: list[Any]) -> dict[bytes, Any]:
    """Redis' list of names and values as a mapping."""
    return dict(zip(row[::2], row[1::2], strict=True))


def listed(client: redis.Redis, pattern: str) -> list[dict[bytes, Any]]:
    """The libraries of a server."""
    return [as_dict(row) for row in client.function_list(pattern)]


@pytest.mark.parametrize("name", [one for one in LIBS if one != "core"])
def test_a_module_returns_its_table(name: str) -> None:
    assert re.search(rf"^local {name} = {{}}$", SOURCES[name], re.MULTILINE)
    assert SOURCES[name].endswith(f"\nreturn {name}\n")


@pytest.mark.parametrize("name", [*NAMES, *LIBS])
def test_a_file_names_the_modules_that_it_uses_and_no_others(name: str) -> None:
    used = set(re.findall(r"(?<![\w.:])([a-z_]+)\.[A-Za-z_]", plain(name))) & set(LIBS)
    assert modules_used(name) == used - {name}


@pytest.mark.parametrize("name", [*NAMES, *LIBS])
def test_no_local_name_hides_a_module_that_a_file_uses(name: str) -> None:
    assert not bound(name) & modules_used(name)


@pytest.mark.parametrize("name", [*NAMES, *LIBS])
def test_no_function_is_longer_than_80_lines(name: str) -> None:
    assert max(lengths(name)) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_a_script_opens_with_a_sentence_its_arguments_and_its_reply(name: str) -> None:
    text = re.sub(r"\A(-- (?:use|flags): [^\n]*\n)*", "", header(name))
    assert re.match(r"-- [A-Z][^\n]{15,}", text), "a sentence that says what it does"
    assert re.search(r"ARGV\s+now_us\b", text), "its arguments, the clock first"
    assert re.search(r"Reply\b", text), "its reply"


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_that_a_script_reads_are_those_its_contract_names(name: str) -> None:
    contract = re.search(r"ARGV\s+(.*?)(?:\.?\s+Reply\b|\Z)", header(name), re.DOTALL)
    assert contract
    read = [int(n) for n in re.findall(r"\bq\.args\[(\d+)\]", code(name))]
    named = contract[1].count(",") + 1
    assert max(read, default=1) <= max(named, 1)


def test_the_library_has_every_file_once_and_a_module_after_those_that_it_uses() -> None:
    source = library().source
    places = {name: source.index(f"\nlocal {name} = {{}}\n") for name in LIBS if name != "core"}
    assert all(source.count(f"\nlocal {name} = {{}}\n") == 1 for name in places)
    for name, place in places.items():
        assert all(places[used] < place for used in modules_used(name))
    assert all(source.count(f"LIBRARY .. '{name}'") == 1 for name in NAMES)


def test_the_library_has_another_name_once_a_file_is_another(tmp_path: Path) -> None:
    shutil.copytree(str(LUA), tmp_path / "lua")
    with (tmp_path / "lua" / "read" / "stats.lua").open("a") as file:
        file.write("-- another\n")
    assert library(tmp_path / "lua").name != library().name


@pytest.mark.parametrize("name", [*LIBS, *WITH_FUNCTIONS])
def test_no_function_changes_what_a_module_has(name: str) -> None:
    """In a library it would outlive the call."""
    given = {name}
    for names in re.findall(r"^local (?!function )([\w, ]+?)(?: =|$)", plain(name), re.MULTILINE):
        given |= {one.strip() for one in names.split(",")}
    index = r"\[(?:[^][\n]|\[[^][\n]*\])*\]"
    written = re.findall(rf"^ .*?([\w.]+)(?:{index})? = ", plain(name), re.MULTILINE)
    filled = re.findall(r"\btable\.(?:insert|remove|sort)\((\w+)", plain(name))
    assert not given & {one.partition(".")[0] for one in (*written, *filled)} - bound_inside(name)


def test_redis_knows_every_script_by_its_function(client: redis.Redis) -> None:
    load_library(client, "runqueue:{default}:meta")
    (found,) = listed(client, library().name)
    functions = {as_dict(row)[b"name"].decode() for row in found[b"functions"]}
    assert functions == {load(name).function for name in NAMES}


@pytest.mark.parametrize("name", [*NAMES, *LIBS])
def test_a_script_uses_no_clock_of_its_own_and_no_key_without_the_account(name: str) -> None:
    text = code(name)
    assert name == "core" or "'TIME'" not in text, "q.now is the one clock"
    assert "KEYS[2]" not in text
    assert not re.search(r"call\('(?!INFO)[A-Z]+', '", text), (
        "a key begins with the account's prefix"
    )
    assert "math.random" not in text


@pytest.mark.parametrize("name", [*NAMES, *LIBS])
def test_no_time_becomes_text_but_by_int(name: str) -> None:
    """`q.now .. ''` would be 1.8e+15."""
    assert not re.search(r"\bq\.now\s*\.\.|\.\.\s*q\.now\b", code(name))


def test_a_server_that_does_not_know_the_library_is_given_it(client: redis.Redis) -> None:
    client.function_flush()
    call = ScriptCall(load("job_states"), "default", ["nobody"], lambda reply: reply)
    assert run(client, call, now_us=5) == [b"5", b""]
    assert run(client, call, now_us=6) == [b"6", b""]


def test_who_loads_the_library_after_another_process_did_meets_no_error(
    client: redis.Redis,
) -> None:
    client.function_flush()
    load_library(client, "runqueue:{default}:meta")
    load_library(client, "runqueue:{default}:meta")


def test_where_no_memory_is_left_the_libraries_of_other_versions_make_room(
    client: redis.Redis,
) -> None:
    client.function_flush()
    function = "redis.register_function('runqueue_0_x', function() return 1 end)"
    client.function_load(f"#!lua name=runqueue_0\n{function}\n--{'x' * 2_000_000}")
    client.config_set("maxmemory", client.info("memory")["used_memory"])
    try:
        load_library(client, "runqueue:{default}:meta")
    finally:
        client.config_set("maxmemory", 0)
    assert names_of(client.function_list("*")) == [library().name]


def test_a_server_without_memory_for_the_library_is_full(client: redis.Redis) -> None:
    client.function_flush()
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            load_library(client, "runqueue:{default}:meta")
    finally:
        client.config_set("maxmemory", 0)


def test_what_only_reads_is_answered_by_a_server_that_takes_no_writes(client: redis.Redis) -> None:
    load_library(client, "runqueue:{default}:meta")
    client.config_set("min-replicas-to-write", 1)
    try:
        call = ScriptCall(load("job_states"), "default", ["nobody"], lambda reply: reply)
        assert run(client, call, now_us=5) == [b"5", b""]
        writes = ScriptCall(load("pause"), "default", ["a reason"], lambda reply: reply)
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            run(client, writes)
    finally:
        client.config_set("min-replicas-to-write", 0)


def test_a_script_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        load("no_such_transition")
