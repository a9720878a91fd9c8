"""What a Skyvern server is known to refuse, or to ignore without a word. Pure functions.

Seen on the version named here (tests/real/test_server_rules.py checks each rule with a server). A
rule is about values that have the right type already; whether it is enforced is
`request_checks.RequestChecks`' matter.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from runqueue.errors import FieldError
from runqueue.request.requests import Kind

#: The version of Skyvern whose rules these are.
SERVER: Final = "Skyvern 1.0.56"
#: Minutes that a run may be given at most.
MAX_MINUTES: Final = 480
#: Entries of `run_metadata`; characters of a key, and of a value, without blanks around them.
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 20, 64, 256
#: Values of `run_metadata` that the server keeps for itself.
RESERVED_VALUES: Final = frozenset({"__untagged__", "__other__"})
#: What keys of `run_metadata` that the server keeps for itself begin with; it drops them.
RESERVED_KEYS: Final = "skyvern."
#: Engines that start a fresh browser, and take a browser profile.
PROFILE_ENGINES: Final = frozenset({"skyvern-2.0"})
#: The fields of which a run names one to have its own browser.
_BROWSERS: Final = ("browser_session_id", "browser_profile_id", "browser_address")
#: Browsers whose type cannot be chosen any more.
_OPEN_BROWSERS: Final = ("browser_session_id", "browser_address")

#: Fields that may be left out, and may not be null.
NOT_NULL: Final[Mapping[Kind, frozenset[str]]] = {
    "task": frozenset({"engine", "publish_workflow", "start_fresh_browser"}),
    "workflow": frozenset({"start_fresh_browser", "agent_id"}),
    "login": frozenset({"start_fresh_browser"}),
    "download_files": frozenset({"start_fresh_browser"}),
}
#: Objects whose values may not be null.
_TEXT_VALUES: Final = ("extra_http_headers", "cdp_connect_headers", "error_code_mapping")
#: What a credential of each type is named by.
CREDENTIALS: Final[Mapping[str, tuple[str, ...]]] = {
    "skyvern": ("credential_id",),
    "1password": ("onepassword_vault_id", "onepassword_item_id"),
    "azure_vault": ("azure_vault_name", "azure_vault_username_key", "azure_vault_password_key"),
}

_Faults = Iterator[FieldError]
_Body = Mapping[str, Any]


def broken_rules(kind: Kind, body: _Body) -> list[FieldError]:
    """Return what a server refuses or ignores in a request whose fields have the right types."""
    found = [*_nulls(kind, body)]
    for name, rule in _RULES.items():
        if body.get(name) is not None:
            found += rule(kind, body)
    return found


def _fault(name: str, message: str) -> FieldError:
    return FieldError(f"body.{name}", f"{message} ({SERVER})")


def _nulls(kind: Kind, body: _Body) -> _Faults:
    for name, value in body.items():
        if value is None and name in NOT_NULL[kind]:
            yield _fault(name, "expected a value or no such field, got null: the server refuses it")
    for name in _TEXT_VALUES:
        value = body.get(name)
        if isinstance(value, Mapping) and None in value.values():
            yield _fault(name, "expected text for each name, got null: the server refuses it")


def _fresh_browser(kind: Kind, body: _Body) -> _Faults:
    if body["start_fresh_browser"] is not True:
        return
    for name in _BROWSERS:
        if body.get(name):
            said = f"expected no {name} beside a fresh browser: the server refuses both together"
            yield _fault("start_fresh_browser", said)
            return
    yield from _engine("start_fresh_browser", kind, body)


def _engine(name: str, kind: Kind, body: _Body) -> _Faults:
    # The server carries a task that is to be published out with this engine.
    takes = body.get("engine") in PROFILE_ENGINES or body.get("publish_workflow") is True
    if kind == "task" and not takes:
        said = 'expected "engine": "skyvern-2.0" beside it: the server refuses it on others'
        yield _fault(name, said)


def _browser_type(_kind: Kind, body: _Body) -> _Faults:
    for name in _OPEN_BROWSERS:
        if body.get(name) is not None:
            said = f"expected no {name} beside it: a browser that is open has its type already"
            yield _fault("browser_type", said)
            return


def _minutes(_kind: Kind, body: _Body) -> _Faults:
    if body["max_elapsed_time_minutes"] > MAX_MINUTES:
        said = f"expected at most {MAX_MINUTES}, got {body['max_elapsed_time_minutes']}"
        yield _fault("max_elapsed_time_minutes", f"{said}: the server refuses more")


def _workflow_model(kind: Kind, _body: _Body) -> _Faults:
    if kind == "workflow":
        said = "expected no model: the server ignores it, a workflow's model stands in the workflow"
        yield _fault("model", said)


def _metadata(_kind: Kind, body: _Body) -> _Faults:
    metadata = body["run_metadata"]
    if len(metadata) > MAX_METADATA:
        said = f"expected at most {MAX_METADATA} entries, got {len(metadata)}"
        yield _fault("run_metadata", f"{said}: the server refuses more")
        return
    for key, value in metadata.items():
        if said := entry_fault(key, value):
            # A key may be long, and what is in notes is the user's.
            yield _fault("run_metadata", said)
            return


def entry_fault(key: str, value: object) -> str:
    """Return why the server does not take an entry of `run_metadata`; '' = it does."""
    if not isinstance(value, str):
        return "expected text for each key: the server refuses anything else"
    if len(key.strip()) > MAX_METADATA_KEY or len(value.strip()) > MAX_METADATA_VALUE:
        return (
            f"expected keys of at most {MAX_METADATA_KEY} characters and values of at most"
            f" {MAX_METADATA_VALUE}: the server refuses longer ones"
        )
    if key.strip().startswith(RESERVED_KEYS):
        return f"expected keys that do not begin with {RESERVED_KEYS!r}: the server drops them"
    if value.strip() in RESERVED_VALUES:
        return f"expected no value {value.strip()!r}: the server refuses it"
    return ""


def _proxy(kind: Kind, body: _Body) -> _Faults:
    location = body["proxy_location"]
    if isinstance(location, Mapping) and kind in {"login", "download_files"}:
        said = "expected a name such as RESIDENTIAL: the server takes no object here"
        yield _fault("proxy_location", said)


def _credential(_kind: Kind, body: _Body) -> _Faults:
    for name in CREDENTIALS.get(body["credential_type"], ()):
        if not body.get(name):
            said = f"required with the credential_type {body['credential_type']}"
            yield _fault(name, said)


_RULES: Final[Mapping[str, Callable[[Kind, _Body], _Faults]]] = {
    "start_fresh_browser": _fresh_browser,
    "browser_profile_id": partial(_engine, "browser_profile_id"),
    "browser_type": _browser_type,
    "max_elapsed_time_minutes": _minutes,
    "model": _workflow_model,
    "run_metadata": _metadata,
    "proxy_location": _proxy,
    "credential_type": _credential,
}
#: Fields that some rule is about: a body without any of these, and without null, breaks none.
RULED: Final = frozenset(_RULES)
