"""How a request lies in Redis, and what is sent of it."""

import os
import subprocess
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue import ids
from runqueue.request.job_spec import JobSpec, parse_line
from runqueue.request.requests import KINDS, Kind
from runqueue.store import codec

JOB = "abcdefghijklmnopqrstuvwx"
MARKER = f"[rq:{JOB}.3]"
PARAMETER = f"rq_job={JOB}.3."


def job(kind: str = "task", *, body: dict[str, Any] | None = None, **options: Any) -> JobSpec:
    """A checked job; what its kind requires is there."""
    first: dict[str, Any] = {
        "task": {"prompt": "Read."},
        "workflow": {"workflow_id": "wpid_1"},
        "login": {"credential_type": "skyvern", "credential_id": "cred_1"},
        "download_files": {"navigation_goal": "Get it."},
    }[kind]
    return parse_line({"kind": kind, "body": {**first, **(body or {})}, **options})


def sent(spec: JobSpec, *, mark: bool = True) -> codec.Post:
    """The third attempt of a job as it is sent."""
    _, stored = codec.encode(spec)
    return codec.submission(stored, JOB, 3, mark=mark)


def content(spec: JobSpec, *, mark: bool = True) -> dict[str, Any]:
    loaded = orjson.loads(sent(spec, mark=mark).content)
    assert isinstance(loaded, dict)
    return loaded


# The marker.


def test_a_task_s_title_ends_with_the_marker() -> None:
    assert content(job(body={"title": "Invoices"}))["title"] == f"Invoices {MARKER}"


@pytest.mark.parametrize("body", [{}, {"title": None}, {"title": ""}])
def test_a_task_without_a_title_gets_the_marker_for_one(body: dict[str, Any]) -> None:
    assert content(job(body=body))["title"] == MARKER


@pytest.mark.parametrize("body", [{}, {"title": "Invoices"}, {"title": None}])
def test_a_workflow_s_title_goes_as_it_came(body: dict[str, Any]) -> None:
    found = content(job("workflow", body=body))
    assert {name: found[name] for name in found if name == "title"} == body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("url", "marked"),
    [
        ("https://a.example/hook", f"https://a.example/hook?{PARAMETER}"),
        ("https://a.example/hook?", f"https://a.example/hook?{PARAMETER}"),
        ("https://a.example/hook?x=1", f"https://a.example/hook?x=1&{PARAMETER}"),
        ("https://a.example/hook?x=1&", f"https://a.example/hook?x=1&{PARAMETER}"),
        ("https://a.example/hook#top", f"https://a.example/hook?{PARAMETER}#top"),
        ("https://a.example/hook?x=1#a?b", f"https://a.example/hook?x=1&{PARAMETER}#a?b"),
        ("https://a.example", f"https://a.example?{PARAMETER}"),
    ],
)
def test_a_webhook_url_carries_the_marker_before_its_fragment(
    kind: str, url: str, marked: str
) -> None:
    assert content(job(kind, body={"webhook_url": url}))["webhook_url"] == marked


@pytest.mark.parametrize("kind", KINDS)
def test_no_webhook_url_is_made_up(kind: str) -> None:
    assert "webhook_url" not in content(job(kind))
    assert content(job(kind, body={"webhook_url": None}))["webhook_url"] is None


@pytest.mark.parametrize(
    "body", [{}, {"title": "Invoices"}, {"title": None, "webhook_url": "https://a.example/h#f"}]
)
def test_without_a_mark_the_body_goes_as_it_came(body: dict[str, Any]) -> None:
    assert content(job(body=body), mark=False) == {"prompt": "Read.", **body}


OTHER = JOB[::-1]


@pytest.mark.parametrize("kind", ["task", "workflow"])
def test_a_request_that_was_copied_from_another_run_carries_its_own_marker_alone(
    kind: Kind,
) -> None:
    body: dict[str, Any] = {
        "title": f"Invoices {ids.title_marker(OTHER, 1)}",
        "webhook_url": f"https://h.test/?a=1&{ids.url_marker(OTHER, 1)}",
    }
    if kind == "workflow":
        body["run_metadata"] = {"rq_job": ids.tag_value(OTHER, 1), "a": "b"}
        assert codec.can_tag("workflow", body["run_metadata"])
    _, stored = codec.encode(job(kind, body=body))

    post = codec.submission(stored, JOB, 3, tag=True)

    assert OTHER.encode() not in post.content
    found = orjson.loads(post.content)
    assert found["title"] == (f"Invoices {MARKER}" if kind == "task" else "Invoices")
    assert found["webhook_url"] == f"https://h.test/?a=1&{PARAMETER}"
    if kind == "workflow":
        assert found["run_metadata"] == {"a": "b", **TAG}


@pytest.mark.parametrize(
    ("switches", "title"),
    [({"mark": False, "tag": True}, "Invoices"), ({"mark": False}, None), ({"tag": False}, None)],
)
def test_where_markers_are_turned_off_a_request_carries_none_of_the_run_that_it_was_copied_from(
    switches: dict[str, Any], title: str | None
) -> None:
    body = {
        "title": " ".join(filter(None, [title, ids.title_marker(OTHER, 1)])),
        "webhook_url": f"https://h.test/?a=1&{ids.url_marker(OTHER, 1)}",
        "run_metadata": {"rq_job": ids.tag_value(OTHER, 1), "a": "b"},
    }
    _, stored = codec.encode(job("workflow", body=body))

    post = codec.submission(stored, JOB, 3, **switches)

    assert OTHER.encode() not in post.content
    found = orjson.loads(post.content)
    assert {name: found[name] for name in found if name == "title"} == (
        {"title": title} if title else {}
    )
    assert found["run_metadata"] == {"a": "b"}
    assert found["webhook_url"].startswith("https://h.test/?a=1")


def test_each_attempt_carries_its_own_number() -> None:
    _, stored = codec.encode(job())
    titles = [orjson.loads(codec.submission(stored, JOB, n).content)["title"] for n in (1, 11)]
    assert titles == [f"[rq:{JOB}.1]", f"[rq:{JOB}.11]"]


# The tag.

TAG = {"rq_job": f"{JOB}.3"}


def metadata(spec: JobSpec, *, mark: bool = True, tag: bool = True) -> Any:
    _, stored = codec.encode(spec)
    post = codec.submission(stored, JOB, 3, mark=mark, tag=tag)
    return orjson.loads(post.content).get("run_metadata", "not there")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, TAG),
        ({"run_metadata": None}, TAG),
        ({"run_metadata": {"a": "b"}}, {"a": "b", **TAG}),
        ({"parameters": {"run_metadata": 1}}, TAG),
        (
            {"run_metadata": {str(n): "x" for n in range(19)}},
            {**dict.fromkeys(map(str, range(19)), "x"), **TAG},
        ),
    ],
)
def test_a_workflow_s_metadata_carries_the_attempt_beside_the_user_s_own(
    given: dict[str, Any], sent: dict[str, str]
) -> None:
    spec = job("workflow", body=given)
    assert metadata(spec) == sent
    assert codec.can_tag("workflow", given.get("run_metadata"))


@pytest.mark.parametrize("given", [{str(n): "x" for n in range(20)}, {"rq_job": "mine"}])
def test_metadata_that_is_full_or_uses_our_key_goes_as_it_came(given: dict[str, str]) -> None:
    assert metadata(job("workflow", body={"run_metadata": given})) == given
    assert not codec.can_tag("workflow", given)


@pytest.mark.parametrize("kind", ["task", "login", "download_files"])
def test_only_workflows_are_tagged(kind: Kind) -> None:
    assert metadata(job(kind)) == "not there"
    assert not codec.can_tag(kind, None)


@pytest.mark.parametrize("switches", [{"tag": False}, {"mark": False}])
def test_a_tag_is_left_out_where_it_is_turned_off(switches: dict[str, bool]) -> None:
    own = {"run_metadata": {"a": "b"}}
    assert metadata(job("workflow", body=own), **switches) == {"a": "b"}
    assert metadata(job("workflow"), **switches) == "not there"


def test_the_tag_that_is_sent_is_the_one_that_is_looked_for() -> None:
    value = metadata(job("workflow"))["rq_job"]
    assert value == f"{JOB}.3"
    assert ids.tag_marker(JOB, 3) == f"rq_job:{value}"


# The job's own metadata.


def with_metadata(
    given: dict[str, str], body: dict[str, Any] | None = None, kind: str = "workflow"
) -> JobSpec:
    spec = job(kind, body=body or {})
    spec.metadata = orjson.dumps(given).decode()
    return spec


def numbered(count: int) -> dict[str, str]:
    return {f"n{n}": "x" for n in range(count)}


@pytest.mark.parametrize(
    ("own", "given", "sent"),
    [
        (None, {"order": "17"}, {"order": "17"}),
        ({"a": "b"}, {"order": "17"}, {"a": "b", "order": "17"}),
        ({"order": "16"}, {"order": "17", "a": "b"}, {"order": "16", "a": "b"}),
        ({" order ": "16"}, {"order": "17"}, {" order ": "16"}),
        ({"rq_job": ids.tag_value(OTHER, 1)}, {"order": "17"}, {"order": "17"}),
    ],
)
def test_a_workflow_s_run_gets_the_entries_that_its_request_lacks(
    own: Any, given: dict[str, str], sent: dict[str, str]
) -> None:
    spec = with_metadata(given, {"run_metadata": own} if own else {})
    assert metadata(spec) == {**sent, **TAG}


def test_a_run_gets_as_many_entries_as_there_is_room_for_beside_the_tag() -> None:
    assert metadata(with_metadata(numbered(20))) == {**numbered(19), **TAG}
    own = {str(n): "x" for n in range(15)}
    found = metadata(with_metadata(numbered(20), {"run_metadata": own}))
    assert found == {**own, **numbered(4), **TAG}
    for most in (19, 20):
        own = {str(n): "x" for n in range(most)}
        found = metadata(with_metadata(numbered(20), {"run_metadata": own}))
        assert found == (own if most == 20 else {**own, **TAG})


@pytest.mark.parametrize(
    "entry",
    [{"rq_job": "mine"}, {"skyvern.x": "1"}, {"a": "__other__"}, {"a": "__untagged__"}, {"a": " "}],
)
def test_an_entry_that_the_server_does_not_take_is_left_out(entry: dict[str, str]) -> None:
    assert metadata(with_metadata({**entry, "order": "17"})) == {"order": "17", **TAG}


@pytest.mark.parametrize("switches", [{"tag": False}, {"mark": False}])
def test_a_server_that_is_sent_no_tags_is_sent_no_metadata(switches: dict[str, bool]) -> None:
    assert metadata(with_metadata({"order": "17"}), **switches) == "not there"


@pytest.mark.parametrize("kind", ["task", "login", "download_files"])
def test_only_runs_of_workflows_get_metadata(kind: str) -> None:
    assert metadata(with_metadata({"order": "17"}, kind=kind)) == "not there"


def test_requests_that_differ_in_metadata_alone_are_the_same_request() -> None:
    read = [
        codec.read_request(codec.encode(with_metadata(given))[1])
        for given in ({"order": "17"}, {"order": "18"})
    ]
    assert read[0] == read[1] == codec.read_request(codec.encode(job("workflow"))[1])


# The body.


def test_a_body_that_has_nothing_but_a_title_is_still_json() -> None:
    stored = b'{"k":"t","title":"x"}\n{}'
    assert orjson.loads(codec.submission(stored, JOB, 3).content) == {"title": f"x {MARKER}"}
    assert codec.submission(b'{"k":"w"}\n{}', JOB, 3).content == b"{}"


def test_the_order_of_keys_is_the_caller_s_and_the_spliced_ones_go_last() -> None:
    schema = {"z": 1, "a": {"y": 2, "b": 3}}
    spec = parse_line(
        {
            "kind": "task",
            "body": {"title": "T", "max_steps": 3, "data_extraction_schema": schema, "prompt": "P"},
        }
    )
    text = sent(spec).content
    assert list(orjson.loads(text)) == ["max_steps", "data_extraction_schema", "prompt", "title"]
    assert orjson.dumps(schema) in text


def test_a_body_with_a_line_break_inside_is_kept_whole() -> None:
    found = content(job(body={"prompt": 'Line 1\nLine 2 "quoted" é \u2028'}))
    assert found["prompt"] == 'Line 1\nLine 2 "quoted" é \u2028'


def test_headers_leave_the_body() -> None:
    post = sent(job(body={"user_agent": "Agent/1"}))
    assert post.headers == {"x-user-agent": "Agent/1"}
    assert orjson.loads(post.content) == {"prompt": "Read.", "title": MARKER}
    post = sent(job("workflow", body={"max_steps_override": 7}))
    assert post.headers == {"x-max-steps-override": "7"}
    assert orjson.loads(post.content) == {"workflow_id": "wpid_1"}


@pytest.mark.parametrize(
    ("template", "query"), [(True, "template=true"), (False, "template=false"), (None, "")]
)
def test_template_is_a_query_of_a_workflow(template: bool | None, query: str) -> None:
    post = sent(job("workflow", body={"template": template}))
    assert post.query == query
    assert "template" not in orjson.loads(post.content)


def test_parameters_and_headers_are_not_shown_in_logs() -> None:
    post = sent(job(body={"user_agent": "secret-agent"}))
    assert "secret-agent" not in repr(post)


text = st.text(max_size=40)


@given(title=st.none() | text, prompt=st.text(min_size=1, max_size=40), steps=st.integers(1, 50))
def test_whatever_the_title_the_content_is_json_with_the_marker_last_in_it(
    title: str | None, prompt: str, steps: int
) -> None:
    stored = (
        orjson.dumps({"k": "t", "title": title})
        + b"\n"
        + orjson.dumps({"prompt": prompt, "max_steps": steps})
    )
    found = orjson.loads(codec.submission(stored, JOB, 3).content)
    assert found["title"].endswith(MARKER)
    assert found["title"].startswith(title or "")
    assert (found["prompt"], found["max_steps"]) == (prompt, steps)


# The envelope and the digest.


def test_the_envelope_tells_kind_key_namespace_and_workflow() -> None:
    spec = job("workflow", custom_id="order-17", namespace="erp")
    line = codec.encode(spec)[1].partition(b"\n")[0]
    assert codec.read_envelope(line) == ("workflow", "order-17", "erp", "", "wpid_1")
    for kind in KINDS:
        line = codec.encode(job(kind))[1].partition(b"\n")[0]
        workflow = "wpid_1" if kind == "workflow" else None
        assert codec.read_envelope(line) == (kind, None, "", "", workflow)


@pytest.mark.parametrize(
    "options",
    [
        {"priority": "urgent"},
        {"group": "shop"},
        {"custom_id": "order-17"},
        {"namespace": "erp", "custom_id": "x"},
        {"delay": 60},
        {"deadline": 3_600},
    ],
)
def test_the_digest_ignores_options(options: dict[str, Any]) -> None:
    assert codec.encode(job(**options))[0] == codec.encode(job())[0]


def test_the_digest_ignores_the_order_of_keys() -> None:
    one = parse_line({"kind": "task", "body": {"prompt": "P", "max_steps": 3}})
    two = parse_line({"kind": "task", "body": {"max_steps": 3, "prompt": "P"}})
    assert codec.encode(one)[0] == codec.encode(two)[0]
    assert codec.encode(one)[1] != codec.encode(two)[1]


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "Write."},
        {"title": "T"},
        {"title": None},
        {"webhook_url": "https://a.example"},
        {"user_agent": "Agent/1"},
        {"max_steps": 3},
    ],
)
def test_the_digest_covers_the_whole_body(body: dict[str, Any]) -> None:
    assert codec.encode(job(body=body))[0] != codec.encode(job())[0]


def test_the_digest_has_sixteen_bytes_and_tells_kinds_apart() -> None:
    digests = [codec.encode(job(kind))[0] for kind in KINDS]
    assert {len(digest) for digest in digests} == {16}
    assert len(set(digests)) == len(KINDS)


def test_a_job_is_stored_as_the_same_text_in_every_interpreter() -> None:
    script = (
        "from runqueue.request.job_spec import parse_line\n"
        "from runqueue.store import codec\n"
        "body = {'webhook_url': 'https://user.test/', 'workflow_id': 'wpid_1',"
        " 'title': 't', 'max_steps_override': 4}\n"
        "print(codec.encode(parse_line({'kind': 'workflow', 'body': body})))"
    )
    stored = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in "01"
    }
    assert len(stored) == 1
