"""What the conformance test does with each server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx

from tests.real.conformance_requests import (
    DECLARED,
    HOST,
    OLD_ENGINES,
    QUERIES,
    definition,
    downloads,
    logins,
    tasks,
    workflow_runs,
)
from tests.real.conformance_talk import Talk, json_of

Fields = dict[str, Any]

TASKS = "/v1/run/tasks"
WORKFLOWS = "/v1/run/workflows"
LOGIN = "/v1/run/tasks/login"
DOWNLOAD = "/v1/run/tasks/download_files"


def _mark() -> str:
    return f"mark{uuid.uuid4().hex[:12]}"


def requests(talk: Talk, path: str, kind: str, bodies: dict[str, Fields]) -> None:
    """Each request: the answer, and of what became a run, its end and its item in the list."""
    runs: dict[str, str] = {}
    for name, body in bodies.items():
        answer = talk.try_out(f"{kind}, {name}: submit", "POST", path, body)
        if answer is not None:
            runs[name] = answer["run_id"]
    for name, run_id in runs.items():
        end = talk.end_of(run_id)
        talk.note(f"{kind}, {name}: get", end)
        # What cannot be shown does not end either: its own server fails to read it, too.
        talk.note(f"{kind}, {name}: list item", talk.listed(run_id, over="run_id" in end))


def every_task(talk: Talk) -> None:
    requests(talk, TASKS, "task", tasks())


def every_workflow_run(talk: Talk) -> None:
    workflow = talk.create_workflow(definition("Conformance", *DECLARED))
    bodies = {name: {"workflow_id": workflow} | body for name, body in workflow_runs().items()}
    requests(talk, WORKFLOWS, "workflow", bodies)


def every_login(talk: Talk) -> None:
    requests(talk, LOGIN, "login", logins())


def every_download(talk: Talk) -> None:
    requests(talk, DOWNLOAD, "download_files", downloads())


def workflows(talk: Talk) -> None:
    """How a workflow is named, made and not found."""
    for name, body in {
        "declared parameters": definition("Made", *DECLARED),
        "no parameters": definition("Bare"),
    }.items():
        talk.try_out(f"create workflow, {name}", "POST", "/v1/workflows", body)
    refusals: dict[str, Fields] = {
        "nothing": {},
        "no title": {"json_definition": {"workflow_definition": {"parameters": [], "blocks": []}}},
    }
    for name, refused in refusals.items():
        answer = talk.ask("POST", "/v1/workflows", refused)
        talk.note(f"create workflow, {name}", {"status": answer.status_code})
    workflow = talk.create_workflow(definition("Named"))
    for path in (WORKFLOWS, "/v1/run/agents"):
        for field in ("workflow_id", "agent_id"):
            talk.try_out(f"run by {field} at {path}", "POST", path, {field: workflow})
    both = {"workflow_id": workflow, "agent_id": workflow}
    talk.try_out("run by both names", "POST", WORKFLOWS, both)
    talk.try_out("run template", "POST", f"{WORKFLOWS}?template=true", {"workflow_id": workflow})
    talk.try_out("run template bad", "POST", f"{WORKFLOWS}?template=x", {"workflow_id": workflow})
    steps = {"x-max-steps-override": "5"}
    talk.try_out("run with steps", "POST", WORKFLOWS, {"workflow_id": workflow}, headers=steps)
    steps = {"x-max-steps-override": "many"}
    talk.try_out("run with bad steps", "POST", WORKFLOWS, {"workflow_id": workflow}, headers=steps)
    agent = {"x-user-agent": "runqueue/1"}
    talk.try_out("run with agent", "POST", WORKFLOWS, {"workflow_id": workflow}, headers=agent)
    bodies: dict[str, Fields] = {
        "unknown workflow": {"workflow_id": "wpid_999"},
        "no workflow": {},
        "workflow number": {"workflow_id": 5},
    }
    for name, body in bodies.items():
        talk.try_out(f"run {name}", "POST", WORKFLOWS, body)
    fails = [{"block_type": "http_request", "label": "h1", "method": "GET", "url": HOST}]
    broken = talk.create_workflow(definition("Fails", blocks=fails))
    run_id = talk.submit(WORKFLOWS, {"workflow_id": broken})
    talk.note("a workflow run that fails", talk.end_of(run_id))


def own_workflows(talk: Talk) -> None:
    """What the workflow of a login or a download shows of the request, which its run does not."""
    bodies = {f"login, {name}": (LOGIN, body) for name, body in logins().items()}
    bodies |= {f"download_files, {name}": (DOWNLOAD, body) for name, body in downloads().items()}
    for name, (path, body) in bodies.items():
        answer = talk.ask("POST", path, body)
        if answer.status_code != 200:
            continue
        run = talk.ask("GET", f"/v1/runs/{answer.json()['run_id']}").json()
        workflow = talk.ask("GET", f"/v1/workflows/{run['run_request']['workflow_id']}").json()
        inner = workflow.pop("workflow_definition")
        block = inner["blocks"][0]
        goal = body.get("prompt", body.get("navigation_goal"))
        talk.note(f"workflow of {name}", {
            "workflow": {name: workflow[name] for name in ("title", "status", "version")},
            "block": {name: block.get(name) for name in _OF_A_BLOCK},
            # Where none is sent, the server writes one.
            "goal": block["navigation_goal"] if goal is not None else None,
            "parameters": [
                {name: one.get(name) for name in _OF_A_PARAMETER} for one in inner["parameters"]
            ],
            "parameters of the block": len(block["parameters"]),
        })  # fmt: skip


_OF_A_BLOCK = (
    *("label", "title", "block_type", "url", "totp_verification_url", "totp_identifier"),
    *("max_steps_per_run", "download_suffix", "download_timeout"),
)
_OF_A_PARAMETER = (
    *("parameter_type", "key", "vault_id", "item_id", "totp_field_name", "totp_identifier"),
    *("vault_name", "username_key", "password_key", "totp_secret_key"),
    *("bitwarden_collection_id", "bitwarden_item_id", "url_parameter_key"),
)


def searches(talk: Talk) -> None:
    """What a search, a tag and a filter find."""
    workflow = talk.create_workflow(
        definition(
            "Search",
            *DECLARED,
            {
                "key": "named_parameter",
                "workflow_parameter_type": "string",
                "default_value": "d",
                "description": "a described parameter",
            },
        )
    )
    found: dict[str, list[Any]] = {}
    for name, (path, body) in _needles(workflow).items():
        mark = _mark()
        text = json.dumps(body).replace("NEEDLE", mark)
        run_id = talk.submit(path, json.loads(text))
        for key in (mark, mark.upper(), mark[3:12]):
            found.setdefault(name, []).append(talk.found(f"search_key={key}").count(run_id))
        listed = talk.ask("GET", f"/v1/agents/runs?search_key={mark}").json()
        found[name].append([item["workflow_run_id"] for item in listed].count(run_id))
        others = [other for other in talk.found(f"search_key={mark}") if other != run_id]
        found[name].append([talk.listed(other) for other in others])
    for name, counts in found.items():
        talk.note(f"search, {name}", counts)
    declared = talk.submit(WORKFLOWS, {"workflow_id": workflow, "parameters": {"need": "n"}})
    plain = talk.submit(TASKS, {"prompt": "p", "url": f"{HOST}/100%_x", "title": "100%_x"})
    two = talk.submit(TASKS, {"prompt": "p", "url": HOST, "engine": "skyvern-2.0"})
    beneath = talk.end_of(two)["app_url"].rpartition("/")[2]
    talk.try_out("2.0 task by the id of its workflow run", "GET", f"/v1/runs/{beneath}")
    talk.note("search by id and names", {
        "run id": talk.found(f"search_key={declared}"),
        "part of the run id": declared in talk.found(f"search_key={declared[3:]}"),
        "task id": talk.found(f"search_key={plain}"),
        "2.0 id": talk.found(f"search_key={two}"),
        "New Workflow": two in talk.found("search_key=New%20Workflow"),
        "workflow id": declared in talk.found(f"search_key={workflow}"),
        "workflow's title": declared in talk.found("search_key=Search"),
        "parameter's key": declared in talk.found("search_key=named_parameter"),
        "parameter's description": declared in talk.found("search_key=a%20described%20parameter"),
        "default value": declared in talk.found("search_key=http://h/x"),
        "literal % and _": plain in talk.found("search_key=100%25_x"),
        "% is no wildcard": plain in talk.found("search_key=1%25x"),
        "filter by workflow": declared in talk.found(f"workflow_permanent_id={workflow}"),
        "task in a filter by workflow": plain in talk.found(f"workflow_permanent_id={workflow}"),
        "filter by type": plain in talk.found("run_type=task_v1&page_size=100"),
        "filter by another type": plain in talk.found("run_type=workflow_run&page_size=100"),
        "two types": plain in talk.found("run_type=workflow_run&run_type=task_v1&page_size=100"),
    })  # fmt: skip


def _needles(workflow: str) -> dict[str, tuple[str, Fields]]:
    one: Fields = {"prompt": "p", "url": HOST}
    two = one | {"engine": "skyvern-2.0"}
    flow: Fields = {"workflow_id": workflow, "parameters": {"need": "n"}}
    login: Fields = {
        "credential_type": "1password", "onepassword_vault_id": "v", "onepassword_item_id": "i",
        "url": HOST,
    }  # fmt: skip
    goal: Fields = {"navigation_goal": "g", "url": HOST}
    fields: dict[str, tuple[str, Fields]] = {}
    for name, path, base in (
        ("1.0", TASKS, one), ("2.0", TASKS, two), ("workflow", WORKFLOWS, flow),
        ("login", LOGIN, login), ("download_files", DOWNLOAD, goal),
    ):  # fmt: skip
        for field, value in {
            "title": "has NEEDLE in it",
            "url": f"{HOST}/NEEDLE",
            "prompt": "NEEDLE",
            "webhook_url": f"{HOST}/?rq=NEEDLE",
            "totp_url": f"{HOST}/NEEDLE",
            "totp_identifier": "NEEDLE",
            "extra_http_headers": {"x-mark": "NEEDLE"},
            "run_metadata": {"rq_job": "NEEDLE"},
            "navigation_goal": "NEEDLE",
            "data_extraction_schema": {"NEEDLE": 1},
        }.items():
            fields[f"{name} {field}"] = (path, base | {field: value})
    fields["workflow parameter"] = (WORKFLOWS, flow | {"parameters": {"need": "NEEDLE"}})
    fields["workflow json parameter"] = (
        WORKFLOWS, flow | {"parameters": {"need": "n", "data": {"deep": ["NEEDLE"]}}},
    )  # fmt: skip
    fields["workflow undeclared parameter"] = (
        WORKFLOWS, flow | {"parameters": {"need": "n", "other": "NEEDLE"}},
    )  # fmt: skip
    fields["workflow header name"] = (WORKFLOWS, flow | {"extra_http_headers": {"NEEDLE": "v"}})
    return fields


def tags(talk: Talk) -> None:
    """Tags of a run: by `run_metadata`, by the route, and as a filter."""
    workflow = talk.create_workflow(definition("Tags"))
    mark, other = _mark(), _mark()
    body = {"workflow_id": workflow, "run_metadata": {"rq_job": mark, "env": other}}
    run_id = talk.submit(WORKFLOWS, body)
    bare = talk.submit(WORKFLOWS, {"workflow_id": workflow})
    talk.note("tags, filter", {
        query: [run_id in talk.found(f"tags={query.format(mark=mark, other=other)}"),
                bare in talk.found(f"tags={query.format(mark=mark, other=other)}")]
        for query in (
            "rq_job:{mark}", "rq_job:{other}", "{mark}", "{other}", "rq_job:*", "env:*",
            "rq_job:{mark},env:{other}", "rq_job:{mark},env:nothing", "rq_job:{mark},rq_job:no",
            "rq_job:{mark}&tags=env:{other}", "rq_job:{mark}&tags=env:x", "rq_job:{mark}x",
            "rq_job:{mark}&status=running&status=queued&status=created&status=completed",
            "rq_job:{mark}&search_key=nothing-has-this", "RQ_JOB:{mark}", "skyvern.trigger:api",
        )
    })  # fmt: skip
    shown = talk.ask("GET", f"/v1/runs/{run_id}/tags")
    talk.note("tags, shown", {"status": shown.status_code, "keys": sorted(json_of(shown))})
    talk.note("tags, own", _own_tags(json_of(shown)))
    give = {"tags": [{"key": "later", "value": mark}, {"value": other}]}
    given = talk.ask("POST", f"/v1/runs/{bare}/tags", give)
    talk.note("tags, given later", {"status": given.status_code, "own": _own_tags(json_of(given))})
    talk.note("tags, found later", [
        talk.found(f"tags=later:{mark}") == [bare], bare in talk.found(f"tags={other}"),
    ])  # fmt: skip
    gone = talk.ask("DELETE", f"/v1/runs/{bare}/tags/later")
    talk.note("tags, taken away", {"status": gone.status_code, "own": _own_tags(json_of(gone))})
    talk.note("tags, not found after", bare in talk.found(f"tags=later:{mark}"))
    task = talk.submit(TASKS, {"prompt": "p", "url": HOST})
    talk.try_out("tags of a task", "GET", f"/v1/runs/{task}/tags")
    talk.try_out("tags given to a task", "POST", f"/v1/runs/{task}/tags", give)
    for name, bad in {
        "reserved key": {"key": "skyvern.x", "value": "v"}, "odd key": {"key": "a b", "value": "v"},
        "no value": {"key": "a"}, "comma": {"key": "a", "value": "b,c"},
    }.items():  # fmt: skip
        answer = talk.ask("POST", f"/v1/runs/{bare}/tags", {"tags": [bad]})
        talk.note(f"tags given, {name}", {"status": answer.status_code})


def _own_tags(shown: Any) -> Any:
    """The tags that a user gave; the server adds some of its own."""
    if not isinstance(shown, dict) or not isinstance(shown.get("tags"), list):
        return shown
    mine = [tag for tag in shown["tags"] if not str(tag.get("key")).startswith("skyvern.")]
    return sorted(
        [{"key": tag.get("key"), "kinds": {name: type(tag[name]).__name__ for name in tag}}
         for tag in mine],
        key=str,
    )  # fmt: skip


def lists(talk: Talk) -> None:
    """Order, pages and filters of the list, and what it refuses."""
    workflow = talk.create_workflow(
        definition("Pages", {"key": "n", "workflow_parameter_type": "string", "default_value": "d"})
    )
    mark = _mark()
    runs = [
        talk.submit(WORKFLOWS, {"workflow_id": workflow, "parameters": {"n": f"{mark}-{n}"}})
        for n in range(7)
    ]
    newest = runs[::-1]
    search = f"search_key={mark}"
    talk.note("list, pages", [
        talk.found(search) == newest,
        talk.found(f"{search}&page_size=3") == newest[:3],
        talk.found(f"{search}&page_size=3&page=2") == newest[3:6],
        talk.found(f"{search}&page_size=3&page=3") == newest[6:],
        talk.found(f"{search}&page_size=3&page=4") == [],
        talk.found("page_size=7") == newest,
        talk.found("page_size=2&page=2") == newest[2:4],
    ])  # fmt: skip
    for run_id in runs:
        talk.end_of(run_id)
    live = "status=created&status=queued&status=running"
    talk.note("list, status filter", [
        talk.found(f"{search}&status=completed") == newest,
        talk.found(f"{search}&{live}"),
        talk.found(f"{search}&status=failed&status=completed&page_size=2") == newest[:2],
    ])  # fmt: skip
    for query in QUERIES:
        name = query if len(query) < 60 else f"{query[:50]}…({len(query)})"
        talk.try_out(f"list, {name}", "GET", f"/v1/runs?{query}")
    headers = talk.ask("GET", f"/v1/runs?{search}&page_size=1").headers
    talk.note("list, headers", {
        "content-type": headers["content-type"], "date": "date" in headers,
    })  # fmt: skip


def lives(talk: Talk) -> None:
    """A run that is live, canceled, asked for again: tasks and workflow runs."""
    wait = [{"block_type": "wait", "label": "w1", "wait_sec": 600}]
    long = talk.create_workflow(definition("Long", blocks=wait))
    short = talk.create_workflow(definition("Short"))
    run_id = talk.submit(WORKFLOWS, {"workflow_id": long})
    talk.until(
        lambda: talk.ask("GET", f"/v1/runs/{run_id}").json()["status"] == "running", "running"
    )
    talk.try_out("a running workflow run", "GET", f"/v1/runs/{run_id}")
    talk.try_out("a running workflow run, listed", "GET", f"/v1/runs?search_key={run_id}")
    talk.try_out("retry of a running run", "POST", f"/v1/workflows/runs/{run_id}/retry")
    talk.try_out("retry_webhook of a running run", "POST", f"/v1/runs/{run_id}/retry_webhook")
    talk.try_out("cancel of a running workflow run", "POST", f"/v1/runs/{run_id}/cancel")
    talk.try_out("a canceled workflow run", "GET", f"/v1/runs/{run_id}")
    talk.try_out("cancel of a canceled workflow run", "POST", f"/v1/runs/{run_id}/cancel")
    talk.try_out("a canceled workflow run, listed", "GET", f"/v1/runs?search_key={run_id}")
    done = talk.submit(WORKFLOWS, {"workflow_id": short})
    talk.end_of(done)
    talk.try_out("cancel of a completed workflow run", "POST", f"/v1/runs/{done}/cancel")
    talk.try_out("a completed workflow run after a cancel", "GET", f"/v1/runs/{done}")
    task = talk.submit(TASKS, {"prompt": "p", "url": HOST})
    talk.end_of(task)
    talk.try_out("cancel of a finished task", "POST", f"/v1/runs/{task}/cancel")
    two = talk.submit(TASKS, {"prompt": "p", "url": HOST, "engine": "skyvern-2.0"})
    talk.end_of(two)
    talk.try_out("cancel of a finished 2.0 task", "POST", f"/v1/runs/{two}/cancel")
    live = talk.submit(WORKFLOWS, {"workflow_id": long})
    other = talk.submit(WORKFLOWS, {"workflow_id": long})
    ids = [live, other, live, done, task, "tsk_999"]
    answer = talk.ask("POST", "/v1/runs/cancel", {"run_ids": ids}).json()
    talk.note("bulk cancel", {
        name: sorted({live: "live", other: "other", done: "done", task: "task"}.get(i, i)
                     for i in answer[name])
        for name in sorted(answer)
    })  # fmt: skip
    talk.note("bulk cancel, statuses", [talk.end_of(i)["status"] for i in (live, other, done)])
    for name, body in {"none": {"run_ids": []}, "nothing": {}, "numbers": {"run_ids": [5]},
                       "too many": {"run_ids": ["wr_1"] * 101}}.items():  # fmt: skip
        talk.try_out(f"bulk cancel, {name}", "POST", "/v1/runs/cancel", body)
    again = talk.try_out("retry of a workflow run", "POST", f"/v1/workflows/runs/{done}/retry")
    if again is not None:
        talk.note("retry of a workflow run, new id", again["run_id"] != done)
        talk.note("a run that was retried", talk.end_of(again["run_id"]))
    for path in ("/v1/agents/runs/wr_999/retry", "/v1/workflows/runs/wr_999/retry"):
        talk.try_out(f"retry at {path}", "POST", path)


def live_tasks(talk: Talk) -> None:
    """A 2.0 task that is canceled while it works, which without a browser is a matter of luck."""
    task = {"prompt": "p", "engine": "skyvern-2.0", "url": f"{HOST}/?sim_end=never"}
    run_id, answer = _canceled_alive(talk, task | {"webhook_url": f"{talk.receiver.url}/live/200"})
    talk.note("cancel of a live 2.0 task", {"status": answer.status_code, "body": json_of(answer)})
    talk.note("cancel of a live 2.0 task, status", talk.end_of(run_id)["status"])
    told = talk.until(
        lambda: [
            body
            for body in (json.loads(one.body) for one in talk.receiver.at("/live/200"))
            if body["run_id"] == run_id
        ],
        "no webhook of the canceled task",
    )
    talk.note("cancel of a live 2.0 task, webhook", told[0]["status"])
    talk.try_out("cancel of a canceled 2.0 task", "POST", f"/v1/runs/{run_id}/cancel")
    _, answer = _canceled_alive(talk, task | {"webhook_url": f"{HOST}/nobody"})
    talk.note(
        "cancel with a dead receiver", {"status": answer.status_code, "body": json_of(answer)}
    )
    wait = [{"block_type": "wait", "label": "w1", "wait_sec": 600}]
    long = talk.create_workflow(definition("Live", blocks=wait))
    flow = talk.submit(WORKFLOWS, {"workflow_id": long, "webhook_url": f"{HOST}/nobody"})
    path = f"/v1/runs/{flow}/cancel"
    talk.try_out("cancel of a workflow run with a dead receiver", "POST", path)
    failed = {"prompt": "p", "url": HOST, "webhook_url": f"{HOST}/nobody"}
    for engine in ("skyvern-1.0", "skyvern-2.0"):
        run_id = talk.submit(TASKS, failed | {"engine": engine})
        talk.end_of(run_id)
        first = talk.ask("GET", f"/v1/runs/{run_id}").json()["failure_reason"]
        lost_reason = "Failed to send webhook" in str(first)
        talk.note(f"failed {engine} task with a dead receiver, reason names it", lost_reason)


def _canceled_alive(talk: Talk, task: Fields) -> tuple[str, httpx.Response]:
    """Cancel tasks until one was canceled before it failed; gives it, and the answer."""
    for _ in range(20):
        run_id = talk.submit(TASKS, task)
        answer = talk.ask("POST", f"/v1/runs/{run_id}/cancel")
        if talk.end_of(run_id)["status"] == "canceled":
            break
    return run_id, answer


def without_address(talk: Talk) -> None:
    """Tasks for which a model thinks of an address: only that it does is compared, not which."""
    for engine in OLD_ENGINES:
        body = {"prompt": "Buy a chair", "engine": engine}
        answer = talk.ask("POST", TASKS, body)
        run = answer.json()
        assert answer.status_code == 200, run
        shown = talk.end_of(run["run_id"])["run_request"]
        talk.note(f"without an address, {engine}", {
            "first url": type(run["run_request"]["url"]).__name__,
            "url": type(shown["url"]).__name__,
            "prompt": type(shown["prompt"]).__name__,
            "the rest": {name: shown[name] for name in shown if name not in ("url", "prompt")},
        })  # fmt: skip


def unknown(talk: Talk) -> None:
    """What is not there, not allowed or not readable."""
    for run_id in ("tsk_999", "tsk_v2_999", "wr_999", "nonsense"):
        talk.try_out(f"get {run_id}", "GET", f"/v1/runs/{run_id}")
        talk.try_out(f"cancel {run_id}", "POST", f"/v1/runs/{run_id}/cancel")
        talk.try_out(f"retry_webhook {run_id}", "POST", f"/v1/runs/{run_id}/retry_webhook")
        talk.try_out(f"timeline {run_id}", "GET", f"/v1/runs/{run_id}/timeline")
        talk.try_out(f"artifacts {run_id}", "GET", f"/v1/runs/{run_id}/artifacts")
        talk.try_out(f"tags {run_id}", "GET", f"/v1/runs/{run_id}/tags")
    for path in ("/v1/workflows/runs/wr_999", "/api/v1/tasks/tsk_999", "/v1/nothing", "/nothing"):
        talk.try_out(f"get {path}", "GET", path)
    for method, path in (
        ("GET", TASKS),
        ("PUT", TASKS),
        ("DELETE", "/v1/runs"),
        ("POST", "/v1/runs/tsk_999"),
        ("GET", "/v1/runs/tsk_999/cancel"),
    ):
        talk.try_out(f"{method} {path}", method, path)
    task = {"prompt": "p", "url": HOST}
    for name, headers in {"no key": {"x-api-key": ""}, "wrong key": {"x-api-key": "wrong"}}.items():
        for method, path, body in (("POST", TASKS, task), ("GET", "/v1/runs", None),
                                   ("GET", "/v1/runs/tsk_1", None)):  # fmt: skip
            talk.try_out(f"{name}, {method} {path}", method, path, body, headers=headers)
    for name, content in {
        "no body": None, "not JSON": b'{"prompt": ', "empty": b"", "a list": b"[]",
        "a text": b'"x"', "a number": b"5", "null": b"null", "not UTF-8": b'{"prompt": "\xff"}',
        "text after": b'{"prompt": "p"} x', "twice": b'{"prompt": 5, "prompt": "p", "url": 5}',
        "surrogate": b'{"prompt": "\\ud800", "url": 5}',
    }.items():  # fmt: skip
        talk.try_out(f"task body, {name}", "POST", TASKS, content)
    form = {"content-type": "application/x-www-form-urlencoded"}
    talk.try_out("task body, as a form", "POST", TASKS, {"prompt": "p", "url": 5}, headers=form)
    for kind in ("application/json; charset=utf-8", "application/x+json", "text/plain", ""):
        headers = {"content-type": kind}
        wrong = {"prompt": "p", "url": 5}
        talk.try_out(f"task body, as {kind!r}", "POST", TASKS, wrong, headers=headers)
    talk.try_out("version", "GET", "/v1/version")
    talk.try_out("version, no key", "GET", "/v1/version", headers={"x-api-key": ""})
    talk.try_out("heartbeat", "GET", "/api/v1/heartbeat")


def webhooks(talk: Talk) -> None:
    """What a webhook brings, and what `retry_webhook` says, for each kind of run."""
    short = talk.create_workflow(definition("Hooks", *DECLARED[1:3]))
    hook = talk.receiver.url
    bodies: dict[str, tuple[str, Fields]] = {
        f"task {engine}": (TASKS, {"prompt": "p", "url": HOST, "engine": engine})
        for engine in OLD_ENGINES
    }
    bodies["workflow"] = (WORKFLOWS, {"workflow_id": short})
    bodies["download_files"] = (DOWNLOAD, {"navigation_goal": "g", "url": HOST})
    runs = {
        name: talk.submit(path, body | {"webhook_url": f"{hook}/{number}/200"})
        for number, (name, (path, body)) in enumerate(bodies.items())
    }
    for number, (name, run_id) in enumerate(runs.items()):
        path = f"/{number}/200"
        first = talk.until(lambda path=path: talk.receiver.at(path), f"no webhook of {name}")[0]
        talk.note(f"webhook of {name}, body", json.loads(first.body))
        talk.note(f"webhook of {name}, headers", _kept(first.headers))
        _noted(talk, run_id)
        again = talk.ask("POST", f"/v1/runs/{run_id}/retry_webhook").json()
        payload = json.loads(again.pop("payload"))
        talk.note(f"retry_webhook of {name}, payload", payload)
        talk.note(f"retry_webhook of {name}, answer", again)
        second = talk.receiver.at(path)[-1]
        talk.note(f"retry_webhook of {name}, delivered", json.loads(second.body) == payload)
    _webhook_troubles(talk, short, runs["workflow"], runs["task skyvern-1.0"])


def _noted(talk: Talk, run_id: str) -> None:
    """Wait until the server has noted what came of a run's webhook, where it shows that."""
    if run_id.startswith("tsk_v2_"):
        return
    kind = "/api/v1/tasks" if run_id.startswith("tsk_") else "/v1/workflows/runs"
    talk.until(
        lambda: talk.ask("GET", f"{kind}/{run_id}").json()["webhook_failure_reason"] is not None,
        "no note of the webhook",
    )


def _kept(headers: dict[str, str]) -> dict[str, str]:
    dropped = {"accept", "accept-encoding", "connection"}
    return {name: value for name, value in sorted(headers.items()) if name not in dropped}


def _webhook_troubles(talk: Talk, workflow: str, run_id: str, task: str) -> None:
    hook = talk.receiver.url
    for name, target in {
        "500": f"{hook}/x/500", "302": f"{hook}/x/302", "404": f"{hook}/x/404",
        "closed port": f"{HOST}/x", "normalised": f"{hook.upper().replace('HTTP', 'http')}/a b/200",
        "another scheme": "ftp://localhost/x", "malformed": "http://", "words": "not a url",
        "without a scheme": hook.removeprefix("http://"), "empty": "",
    }.items():  # fmt: skip
        for kind, subject in (("workflow", run_id), ("task", task)):
            answer = talk.ask("POST", f"/v1/runs/{subject}/retry_webhook", {"webhook_url": target})
            content = json_of(answer)
            if isinstance(content, dict):
                content.pop("payload", None)
            talk.note(f"retry_webhook of a {kind} to {name}",
                      {"status": answer.status_code, "body": content})  # fmt: skip
    talk.try_out("retry_webhook to a number", "POST", f"/v1/runs/{run_id}/retry_webhook",
                 {"webhook_url": 5})  # fmt: skip
    talk.try_out("retry_webhook, list", "POST", f"/v1/runs/{run_id}/retry_webhook", [1])
    silent = talk.submit(WORKFLOWS, {"workflow_id": workflow})
    talk.end_of(silent)
    talk.try_out("retry_webhook without a URL", "POST", f"/v1/runs/{silent}/retry_webhook")
    for status, tries in (("500", 3), ("404", 1)):
        path = f"/tries/{status}"
        body = {"workflow_id": workflow, "webhook_url": f"{hook}{path}"}
        abandoned = talk.submit(WORKFLOWS, body)
        talk.until(lambda path=path, tries=tries: len(talk.receiver.at(path)) >= tries, "tries")
        reason = talk.until(
            lambda abandoned=abandoned: talk.ask("GET", f"/v1/workflows/runs/{abandoned}").json()[
                "webhook_failure_reason"
            ],
            "no failure reason",
        )
        talk.note(f"webhook refused with {status}", [len(talk.receiver.at(path)), reason])
    answer = talk.ask("GET", f"/v1/agents/runs?search_key={run_id}").json()
    talk.note("agents/runs item", answer)
    shown = talk.ask("GET", f"/v1/workflows/runs/{run_id}").json()
    talk.note("workflows/runs item", shown)
    talk.note("api/v1/tasks item", talk.ask("GET", f"/api/v1/tasks/{task}").json())


def further(talk: Talk) -> None:
    """Timeline, artifacts and browser sessions."""
    short = talk.create_workflow(definition("Further"))
    run_id = talk.submit(WORKFLOWS, {"workflow_id": short})
    task = talk.submit(TASKS, {"prompt": "p", "url": HOST})
    for subject in (run_id, task):
        talk.end_of(subject)
    talk.try_out("timeline of a workflow run", "GET", f"/v1/runs/{run_id}/timeline")
    talk.try_out("timeline of a task", "GET", f"/v1/runs/{task}/timeline")
    talk.try_out("artifacts of a workflow run", "GET", f"/v1/runs/{run_id}/artifacts")
    bad = f"/v1/runs/{run_id}/artifacts?artifact_type=nothing"
    talk.note("artifacts of no type", talk.ask("GET", bad).status_code)
    artifacts = talk.ask("GET", f"/v1/runs/{task}/artifacts")
    talk.note("artifacts of a task", [artifacts.status_code, isinstance(artifacts.json(), list)])
    for name, body in {
        "timeout below the least": {"timeout": 1}, "timeout text": {"timeout": "soon"},
        "url bad": {"url": "ftp://x"}, "profile bad": {"browser_profile_id": "x"},
        "profile unknown": {"browser_profile_id": "bp_1"},
        "type unknown": {"browser_type": "lynx"},
    }.items():  # fmt: skip
        talk.try_out(f"create session, {name}", "POST", "/v1/browser_sessions", body)
    for method, path in (("GET", ""), ("POST", "/close"), ("POST", "/extend")):
        body = {"additional_minutes": 5} if path == "/extend" else None
        name = f"session unknown, {method} {path}"
        talk.try_out(name, method, f"/v1/browser_sessions/pbs_999{path}", body)
    made = talk.try_out("create session", "POST", "/v1/browser_sessions", {"timeout": 10})
    if made is None:
        return
    session = made["browser_session_id"]
    talk.try_out("get session", "GET", f"/v1/browser_sessions/{session}")
    extend = f"/v1/browser_sessions/{session}/extend"
    talk.try_out("extend session", "POST", extend, {"additional_minutes": 5})
    talk.try_out("extend session by nothing", "POST", extend, {"additional_minutes": 0})
    talk.try_out("extend session, no minutes", "POST", extend, {})
    talk.try_out("close session", "POST", f"/v1/browser_sessions/{session}/close")
    talk.try_out("close session again", "POST", f"/v1/browser_sessions/{session}/close")
    talk.try_out("get closed session", "GET", f"/v1/browser_sessions/{session}")
    talk.try_out("extend closed session", "POST", extend, {"additional_minutes": 5})
    for name, path, body in (
        ("a task", TASKS, {"prompt": "p", "url": HOST}),
        ("a 2.0 task", TASKS, {"prompt": "p", "url": HOST, "engine": "skyvern-2.0"}),
        ("a workflow run", WORKFLOWS, {"workflow_id": short}),
        ("a download", DOWNLOAD, {"navigation_goal": "g", "url": HOST}),
    ):
        answer = talk.ask("POST", path, body | {"browser_session_id": session})
        content = json_of(answer) if answer.status_code != 200 else None
        talk.note(f"{name} in a closed session",
                  {"status": answer.status_code, "body": content})  # fmt: skip


SCENARIOS: dict[str, Callable[[Talk], None]] = {
    "tasks": every_task,
    "workflow runs": every_workflow_run,
    "logins": every_login,
    "downloads": every_download,
    "workflows": workflows,
    "own workflows": own_workflows,
    "searches": searches,
    "tags": tags,
    "lists": lists,
    "lives": lives,
    "live tasks": live_tasks,
    "without an address": without_address,
    "unknown": unknown,
    "webhooks": webhooks,
    "further": further,
}
