"""What becomes of a webhook after a try, or a look: the decisions, without HTTP or Redis."""

import hashlib
import hmac
import re
from typing import Any, cast

import orjson
import pytest
import redis

from api_client import ReadClass, RunReading
from api_client.answers.redelivery import Reason, ReasonClass, Replay, ReplayClass
from config.webhooks import Redeliver
from runqueue.connection.urls import endpoint_of
from runqueue.records.delivery import DueDelivery
from runqueue.store.scripts import sources
from webhooks.sender import Posted
from worker.delivery.relay import answered, signed_by_skyvern, verdict, without_urls
from worker.delivery.watcher import checked, driven, reason_in_run

SCHEDULE = (5.0, 300.0, 1800.0)


def item(**fields: Any) -> DueDelivery:
    given = {
        "job_id": "j",
        "attempt": 1,
        "run_id": "r",
        "run_status": "completed",
        "webhook_route": "watch",
        "tries": 0,
        "looks": 0,
        "forced": False,
        "ended_us": 0,
        "signed": "",
        "url": "",
        "envelope": b"{}",
        "body": b"",
    }
    return DueDelivery(**{**given, **fields})


@pytest.mark.parametrize(
    ("tries", "posted", "said", "wait"),
    [
        (0, Posted(200), "delivered", 0),
        (9, Posted(204), "delivered", 0),
        (0, Posted(410, error="x"), "abandoned", 0),
        (0, Posted(refused=True, error="x"), "abandoned", 0),
        (0, Posted(error="x"), "again", 5),
        (0, Posted(500, error="x"), "again", 5),
        (1, Posted(500, error="x"), "again", 300),
        (2, Posted(404, error="x"), "again", 1800),
        (3, Posted(500, error="x"), "abandoned", 0),
        (0, Posted(429, error="x", retry_after=60.0), "again", 60),
        (1, Posted(503, error="x", retry_after=60.0), "again", 300),
        (3, Posted(503, error="x", retry_after=60.0), "abandoned", 0),
    ],
)
def test_what_becomes_of_a_webhook_after_a_try(
    tries: int, posted: Posted, said: str, wait: float
) -> None:
    found, seconds = verdict(tries, posted, SCHEDULE, 0.5)
    assert (found, round(seconds, 6)) == (said, wait)


@pytest.mark.parametrize(
    ("status", "did"),
    [
        *((status, True) for status in (200, 301, 400, 404, 410)),
        *((status, False) for status in (None, 408, 429, 500, 503, 599)),
    ],
)
def test_a_receiver_answered_if_the_failure_is_not_its_own(status: int | None, did: bool) -> None:
    assert answered(status) is did


URLS = [
    "https://A.example/hook?x=1",
    "HTTPS://a.EXAMPLE:8443",
    "http://a.example#top",
    "http://a.example?x=@b",
    "http://user:p%40ss@a.example:80/x@y",
    "http://u@v@a.example/",
    "http://[2001:DB8::1]:8080/x",
    "http://b\u00fccher.EXAMPLE/\u00fc",
    "http://\u00dc.EXAMPLE/",
    "http:///x",
    "h2t://x",
    "//a.example/x",
    "not a url",
    "",
]


@pytest.mark.parametrize("url", URLS)
def test_a_receiver_has_the_same_name_here_and_in_the_scripts(
    url: str, client: redis.Redis
) -> None:
    lua = sources()["endpoints"].read_text()
    found = re.search(r"function endpoints\.of.*?\nend\n", lua, re.DOTALL)
    assert found
    made = cast(
        bytes, client.eval(f"local endpoints = {{}} {found[0]}return endpoints.of(ARGV[1])", 0, url)
    )

    assert endpoint_of(url) == made.decode()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", ["a", "a.", "a://", "://", "url: /", "?"])
def test_words_take_time_by_their_length_alone(part: str) -> None:
    # A look whose time grows with the square would take minutes.
    assert isinstance(without_urls(part * (400_000 // len(part))), str)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (
            "could not POST https://user.test/o'key?token=s3cret, twice",
            "could not POST https://user.test, twice",
        ),
        (
            "Pool(host='user.test'): Max retries exceeded with url: /s3cret?token=s3cret (Caused…)",
            "Pool(host='user.test'): Max retries exceeded with url: / (Caused…)",
        ),
        ("no answer from user.test/?token=s3cret&b=1", "no answer from user.test/"),
        ("[https://user.test/a(b)!c].", "[https://user.test]."),
        ("did it arrive? no", "did it arrive? no"),
    ],
)
def test_nothing_that_may_be_in_a_url_keeps_its_secrets_in_words(words: str, left: str) -> None:
    assert without_urls(words) == left


TOLD, MUTE = ReasonClass.REPORTED, ReasonClass.NOT_SUPPORTED
LOST, TROUBLE = ReasonClass.NOT_FOUND, ReasonClass.TROUBLE


@pytest.mark.parametrize(
    ("reason", "age", "looks", "redeliver", "said", "wait"),
    [
        (Reason(TOLD, ""), 11, 0, "always", "delivered", 0),
        (Reason(TOLD, "refused"), 11, 0, "on_failure", None, 0),
        (Reason(TOLD, "refused"), 11, 0, "always", None, 0),
        (Reason(TOLD, "refused"), 11, 0, "never", "abandoned", 0),
        (Reason(TOLD), 11, 0, "always", "again", 10),
        (Reason(TOLD), 25, 1, "on_failure", "again", 20),
        (Reason(TOLD), 50, 2, "on_failure", "again", 30),
        (Reason(TOLD), 80, 3, "on_failure", "again", 60),
        (Reason(TOLD), 129, 9, "on_failure", "again", 60),
        (Reason(TOLD), 131, 4, "on_failure", "unknown", 0),
        (Reason(TOLD), 131, 4, "never", "unknown", 0),
        (Reason(TOLD), 131, 4, "always", None, 0),
        (Reason(MUTE), 30, 0, "always", "again", 100),
        (Reason(MUTE), 125, 0, "always", "again", 10),
        (Reason(MUTE), 131, 1, "on_failure", "unknown", 0),
        (Reason(MUTE), 131, 1, "always", None, 0),
        (Reason(LOST), 30, 0, "on_failure", "again", 100),
        (Reason(LOST), 131, 1, "on_failure", "unknown", 0),
        (Reason(TROUBLE), 30, 0, "on_failure", "again", 10),
        (Reason(TROUBLE, retry_after=90.0), 5_000, 7, "always", "again", 90),
        (Reason(TROUBLE), 86_401, 7, "always", "unknown", 0),
    ],
)
def test_what_a_look_says(
    *, reason: Reason, age: float, looks: int, redeliver: Redeliver, said: str | None, wait: float
) -> None:
    found = checked(item(looks=looks), reason, age, redeliver)

    assert (None if found is None else found.verdict) == said
    if found is not None:
        assert found.was_tried is False
        assert found.wait_us == pytest.approx(wait * 1e6)


def tried(status: int | None = None, error: str = "") -> Replay:
    return Replay(ReplayClass.TRIED, status, error, status_code=200)


@pytest.mark.parametrize(
    ("replay", "tries", "looks", "said", "was_tried", "wait"),
    [
        (tried(200), 0, 0, "delivered", True, 0),
        (tried(204), 5, 0, "delivered", True, 0),
        (tried(200, "it broke off"), 0, 0, "again", True, 5),
        (tried(500, "The receiver answered 500"), 0, 0, "again", True, 5),
        (tried(500), 1, 0, "again", True, 300),
        (tried(None, "no route"), 0, 0, "again", True, 5),
        (tried(None), 0, 0, "again", True, 5),
        (tried(410, "gone"), 0, 0, "abandoned", True, 0),
        (tried(500, "x"), 3, 0, "abandoned", True, 0),
        (Replay(ReplayClass.NOT_REPORTED, status_code=200), 0, 0, "unknown", True, 0),
        (Replay(ReplayClass.PENDING, status_code=409), 0, 0, "again", False, 30),
        (Replay(ReplayClass.PENDING, status_code=409), 3, 119, "again", False, 30),
        (Replay(ReplayClass.PENDING, status_code=409), 0, 120, "abandoned", True, 0),
        (Replay(ReplayClass.REFUSED, status_code=400), 0, 0, "abandoned", True, 0),
        (Replay(ReplayClass.TROUBLE), 0, 0, "again", True, 5),
        (Replay(ReplayClass.TROUBLE, retry_after=9.0), 0, 0, "again", True, 9),
        (Replay(ReplayClass.TROUBLE, status_code=401), 3, 0, "abandoned", True, 0),
    ],
)
def test_what_sending_again_came_to(
    *, replay: Replay, tries: int, looks: int, said: str, was_tried: bool, wait: float
) -> None:
    found = driven(item(tries=tries, looks=looks), replay, SCHEDULE, 0.5)

    assert (found.verdict, found.was_tried) == (said, was_tried)
    assert found.wait_us == pytest.approx(wait * 1e6)
    assert found.status == replay.receiver_status


def run(**fields: Any) -> RunReading:
    body = orjson.dumps({"output": fields.pop("output", None)})
    return RunReading(**{"outcome": ReadClass.RUN, "body": body, **fields})


def test_an_old_servers_run_tells_of_its_webhook() -> None:
    words = "Run finished but failed to send Webhook: 500"
    found = reason_in_run(run(failure_reason=words, output={}))

    assert found == Reason(TOLD, words)
    assert reason_in_run(run(failure_reason=words)) is None  # nothing was extracted: it failed
    assert reason_in_run(run(failure_reason="the site is down", output={})) is None
    assert reason_in_run(run(output={})) is None
    assert reason_in_run(RunReading(ReadClass.TROUBLE)) is None


def test_only_what_skyvern_signed_passes_for_it() -> None:
    payload, keys = b'{"run_id": "r"}', ["new", "old"]

    def replay(key: str, **fields: Any) -> Replay:
        signature = hmac.new(key.encode(), payload, hashlib.sha256).hexdigest()
        given = {"payload": payload, "signature": signature, "timestamp": "17", **fields}
        return Replay(ReplayClass.TRIED, 200, **given)

    assert signed_by_skyvern(replay("new"), keys) == f"{replay('new').signature} 17"
    assert signed_by_skyvern(replay("old"), keys)
    assert signed_by_skyvern(replay("other"), keys) == ""
    assert signed_by_skyvern(replay("new", payload=b""), keys) == ""
    assert signed_by_skyvern(replay("new", payload=b"{}"), keys) == ""
    odd = signed_by_skyvern(replay("new", timestamp="1 2\r\nx: y"), keys)
    assert re.fullmatch(r"[0-9a-f]{64} \d+", odd)
