"""The errors: what they carry, and what they never show."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from runqueue.connection.client import find_url
from runqueue.errors import FieldError, InvalidJob, MalformedURL, NoQueueHere, QueueUnavailable

SECRET = "hunter2"


def test_an_invalid_job_is_a_value_error_that_lists_its_faults_and_survives_pickling() -> None:
    error = InvalidJob([FieldError("body.a", "no"), FieldError("group", "neither")])
    assert isinstance(error, ValueError)
    assert str(pickle.loads(pickle.dumps(error))) == "body.a: no; group: neither"


def test_a_malformed_url_is_an_unreachable_queue_that_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(MalformedURL()))
    assert isinstance(error, QueueUnavailable)
    assert "expected a URL such as redis://localhost:6379/0, redis+cluster://" in str(error)


def test_where_no_queue_is_named_none_runs_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNQUEUE_REDIS_URL", raising=False)
    with pytest.raises(NoQueueHere) as refused:
        find_url()
    said = (
        "no queue runs in this folder: start `runqueue up` (or `runqueue server` alone) here,"
        " or set RUNQUEUE_REDIS_URL"
    )
    assert str(refused.value) == str(pickle.loads(pickle.dumps(refused.value))) == said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@db.test:6379/0?password={SECRET}", "redis://db.test:6379/0"),
        (f"unix://user:{SECRET}@/run/redis.sock", "unix:///run/redis.sock"),
        (f"redis://:{SECRET}@[::1/0", "(malformed URL)"),
    ],
)
def test_an_unreachable_queue_is_named_without_its_password(url: str, shown: str) -> None:
    error = QueueUnavailable(url, "refused")
    for seen in (error, pickle.loads(pickle.dumps(error))):
        assert str(seen) == f"Redis at {shown}: refused"
    assert SECRET not in str(QueueUnavailable(f"redis://:{SECRET}@db.test", f"bad {SECRET}"))
