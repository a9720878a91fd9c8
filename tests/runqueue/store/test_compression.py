"""Packed requests and results read as they were, and only by those who know how."""

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import texts
from runqueue.request.job_spec import parse_line
from runqueue.store import codec, compression, pack_calls
from runqueue.store.keys import FORMAT
from runqueue.store.pack_calls import PlainJob

ENDED = 1_800_000_000_000_000
REQUEST = b'{"prompt":"Read the price.","url":"https://shop.test"}'
RESULT = b'{"run_id":"tsk_1","status":"completed","output":{"price":"12.50"}}'


@given(request=st.binary(), result=st.binary(), ended=st.integers(0, 2**63))
def test_any_bytes_come_back(request: bytes, result: bytes, ended: int) -> None:
    packed = compression.pack(request, result, ended)

    assert compression.is_packed(packed)
    assert compression.request_of(packed) == request
    assert compression.result_of(packed, ended) == result


@given(st.sampled_from([b"", b"{}", b" {}", b"\t{}", b"[1]", b'"x"', REQUEST, RESULT]))
def test_what_is_plain_is_returned_as_it_is(stored: bytes) -> None:
    assert not compression.is_packed(stored)
    assert compression.request_of(stored) is stored
    assert compression.result_of(stored, ENDED) is stored


def test_the_result_of_another_end_is_none_of_this_one() -> None:
    packed = compression.pack(REQUEST, RESULT, ENDED)

    assert compression.result_of(packed, ENDED + 1) == b""
    assert compression.request_of(packed) == REQUEST


@pytest.mark.parametrize("size", [0, 1, 5, 12, 13, 20, -1])
def test_what_is_cut_off_has_no_result(size: int) -> None:
    packed = compression.pack(REQUEST, RESULT, ENDED)[:size]

    assert compression.result_of(packed, ENDED) == b""


@pytest.mark.parametrize("size", [1, 5, 12, 13, 20])
def test_a_request_that_is_cut_off_cannot_be_read(size: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        compression.request_of(compression.pack(REQUEST, RESULT, ENDED)[:size])


def test_a_broken_one_cannot_be_read() -> None:
    broken = compression.pack(REQUEST, RESULT, ENDED)[:13] + b"\xff" * 40

    assert compression.result_of(broken, ENDED) == b""
    with pytest.raises(ValueError, match="broken"):
        compression.request_of(broken)


def test_other_phrases_are_another_format() -> None:
    digest = hashlib.sha256(compression.PHRASES).hexdigest()

    assert (FORMAT, digest) == (
        *(1, "65f0c6830f8c5c8f25ef3429f876de1edf046c7dacd3dbfd409536d40272cce1"),
    )


def test_a_request_and_its_answer_take_much_less_together() -> None:
    body = texts.body(1, 660)
    _, stored = codec.encode(parse_line({"kind": "task", "body": body}))
    result = texts.answer(1, body, 1_000)

    packed = pack_calls.packed(PlainJob("id", ENDED, stored, result))

    assert packed is not None
    assert len(packed.body) < 0.4 * (len(stored) + len(result))
    assert len(packed.body) < 0.9 * len(zlib.compress(stored + result)), "phrases are known"


def read(packed: pack_calls.Packed) -> tuple[bytes, bytes]:
    """What readers make of a packed job: its request, and its result."""
    _, request = codec.parts(packed.body)
    rest = packed.body.partition(b"\n")[2]
    return request, compression.result_of(packed.result or rest, packed.read.ended_us)


@given(result=st.binary(min_size=1, max_size=100).map(lambda some: some * 1_000))
def test_a_long_result_is_packed_by_itself(result: bytes) -> None:
    job = PlainJob("id", ENDED, b'{"k":"t"}\n' + REQUEST, b"{" + result)

    packed = pack_calls.packed(job)

    assert packed is not None
    assert bool(packed.result) == (len(job.result) > compression.APART)
    assert read(packed) == (REQUEST, job.result)


def test_what_would_not_get_shorter_stays_as_it_is() -> None:
    assert pack_calls.packed(PlainJob("id", ENDED, b'{"k":"t"}\n{"prompt":"x"}', b"")) is None


@pytest.mark.parametrize(
    "body",
    [b'{"k":"t"}\n\x02' + REQUEST, b'{"k":"t"}\n\x01' + REQUEST, b'{"k":"t"}', b"x"],
    ids=str,
)
def test_what_cannot_be_read_stays_as_it_is(body: bytes) -> None:
    assert pack_calls.packed(PlainJob("id", ENDED, body, RESULT)) is None


def test_one_that_ended_again_keeps_its_request_and_has_its_new_result() -> None:
    first = pack_calls.packed(
        PlainJob("id", ENDED, b'{"k":"t"}\n' + REQUEST, b'{"status":"failed"}')
    )
    assert first is not None

    second = pack_calls.packed(PlainJob("id", ENDED + 9, first.body, RESULT))

    assert second is not None
    assert read(second) == (REQUEST, RESULT)
    assert codec.submission(second.body, "a" * 24, 2).content.startswith(REQUEST[:-1])
