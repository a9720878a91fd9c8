"""Reading answers: the parts that need no socket, and answers nobody has thought of."""

import orjson
import pytest

from api_client.answers.outcomes import SubmissionClass, classify_exception
from api_client.answers.parts import MAX_WORDS, http_date, parse_json, retry_after, server_words
from api_client.errors import AnswerLostError, BodyTooLargeError, NotSentError
from api_client.types import is_over

DATE = "Wed, 25 Nov 2026 12:00:00 GMT"
NAMED = {400, 401, 402, 403, 404, 405, 409, 410, 413, 422, 429, 503}


def words(body: bytes) -> str:
    return server_words(body, parse_json(body))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (["body", "prompt"], "body.prompt: Wrong"),
        (["body", 3, {"a": 1}, ["b"], None, 1.5], "body.3: Wrong"),
        ([[[]]], ": Wrong"),
        ("body", "Wrong"),
        (None, "Wrong"),
    ],
)
def test_a_fault_s_place_is_told_in_its_words_and_numbers(place: object, said: str) -> None:
    assert words(orjson.dumps({"detail": [{"loc": place, "msg": "Wrong"}]})) == said


@pytest.mark.parametrize(
    ("exc", "outcome"),
    [
        (NotSentError("refused"), SubmissionClass.NOT_SENT),
        (AnswerLostError("reset"), SubmissionClass.UNKNOWN),
        (BodyTooLargeError("64 MiB"), SubmissionClass.UNKNOWN),
        (ConnectionRefusedError(), SubmissionClass.UNKNOWN),
        (KeyboardInterrupt(), SubmissionClass.UNKNOWN),
    ],
)
def test_only_our_own_word_for_it_means_not_sent(
    exc: BaseException, outcome: SubmissionClass
) -> None:
    submission = classify_exception(exc)
    assert submission.outcome is outcome
    assert submission.detail


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("99999999", 3600.0),
        ("9" * 400, None),
        ("Wed, 25 Nov 2026 12:00:30 GMT", 30.0),
        ("Wed, 25 Nov 2026 11:00:00 GMT", 0.0),
        ("Thu, 25 Nov 2027 12:00:00 GMT", 3600.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("\u0665", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_bounds(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value, "date": DATE}) == seconds


def test_a_retry_after_date_is_counted_from_now_when_the_server_tells_no_time() -> None:
    now = http_date(DATE)
    assert now == 1795608000.0
    assert retry_after({"retry-after": "Wed, 25 Nov 2026 12:00:09 GMT"}, now=now) == 9.0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"detail": "Invalid credentials"}', "Invalid credentials"),
        (b'{"error": "Internal error"}', "Internal error"),
        (b'{"detail": {"message": "No credits"}}', "No credits"),
        (b"upstream\r\n\x1b[31m timed  out", "upstream [31m timed out"),
        (b'"a JSON string"', "a JSON string"),
        (b'{"prompt": "secret"}', ""),
        (b'["secret"]', ""),
        (b"\xff\xfe", "��"),
        (b"", ""),
    ],
)
def test_the_server_s_words_are_found_in_every_known_shape(body: bytes, expected: str) -> None:
    assert words(body) == expected


def test_the_server_s_words_are_cut_to_a_bounded_length() -> None:
    assert len(words(b"x" * 100_000)) == MAX_WORDS
    assert len(words(b'{"detail": "%s"}' % (b"x" * 100_000))) == MAX_WORDS


@pytest.mark.parametrize("status", [None, 7, [], {}, "", "COMPLETED"])
def test_a_status_that_is_none_of_the_known_is_not_over(status: object) -> None:
    assert not is_over(status, retry_pending=False)
