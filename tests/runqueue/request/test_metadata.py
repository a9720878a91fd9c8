"""Metadata: which names and texts a job or a batch may have, and what is said of others."""

import json
from enum import StrEnum
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue import InvalidBatch, InvalidJob, JobSpec, TaskRunRequest
from runqueue.producer.upload import line_of
from runqueue.request.job_spec import parse_line
from runqueue.request.metadata import read_metadata, read_pairs, refused_metadata
from runqueue.store import codec

LINE: dict[str, Any] = {"kind": "task", "body": {"prompt": "Read."}}
TWENTY = {f"n{n}": "x" for n in range(20)}
NAMES = st.text("abcXYZ019_.-", min_size=1, max_size=64)
TEXTS = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=256)


class Label(StrEnum):
    ORDER = "order"


@given(st.dictionaries(NAMES, TEXTS, max_size=4))
def test_valid_metadata_is_kept_as_it_was_given_also_on_its_way_through_a_file(
    metadata: dict[str, str],
) -> None:
    spec = parse_line({**LINE, "metadata": metadata})
    assert json.loads(spec.metadata or "{}") == metadata
    assert parse_line(line_of(spec)) == spec
    assert JobSpec.of(TaskRunRequest(prompt="Read."), metadata=metadata).metadata == spec.metadata


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("order=17", "'order=17'"),
        (["order"], "an array"),
        ({**TWENTY, "more": "x"}, "21 entries"),
        ({"": "x"}, "the name empty text"),
        ({"a b": "x"}, "the name 'a b'"),
        ({"größe": "x"}, "the name 'größe'"),
        ({"a\n": "x"}, r"the name 'a\n'"),
        ({"a\u202eb": "x"}, r"the name 'a\u202eb'"),
        ({"n" * 65: "x"}, f"the name '{'n' * 60}'"),
        ({17: "x"}, "the name 17"),
        ({"order": 17}, "a whole number as order"),
        ({"order": None}, "null as order"),
        ({"order": {"n": "17"}}, "an object as order"),
        ({"order": "x" * 257}, "257 characters as order"),
        ({f"n{n}": "x" * 200 for n in range(20)}, "4,170 bytes"),
        ({"order": "a\x00b"}, "control characters as order (U+0000)"),
        ({"order": "a\nb"}, "control characters as order (U+000A)"),
        ({"order": "a\u202eb"}, "control characters as order (U+202E)"),
        ({"order": "a\u2066b"}, "control characters as order (U+2066)"),
        ({"order": "\ud800"}, "control characters as order (U+D800)"),
    ],
)
def test_what_is_wrong_with_metadata_is_said_of_its_field(metadata: Any, said: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        parse_line({**LINE, "metadata": metadata})
    (fault,) = caught.value.errors
    assert fault.field == "metadata"
    assert fault.message.startswith("expected an object of at most 20 entries, names of 1 to 64 of")
    assert fault.message.endswith(f", got {said}")


def test_the_most_that_metadata_may_have_is_taken() -> None:
    most = {f"{n:064}": "ä" * 67 for n in range(20)}
    assert refused_metadata(most) == ""
    assert orjson.loads(read_metadata(most) or "") == most


def test_texts_of_an_enum_are_plain_texts() -> None:
    assert read_metadata({Label.ORDER: Label.ORDER}) == '{"order":"order"}'


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_job_with_no_entry_is_one_without_metadata(nothing: Any) -> None:
    assert parse_line({**LINE, "metadata": nothing}) == parse_line(LINE)


def test_metadata_is_no_part_of_what_an_idempotency_key_stands_for() -> None:
    workflow = {"kind": "workflow", "body": {"workflow_id": "wpid_1"}}
    for line in (LINE, workflow):
        digests = [
            codec.encode(parse_line({**line, "metadata": metadata}))[0]
            for metadata in (None, {"order": "17"}, {"order": "18"})
        ]
        assert len(set(digests)) == 1


def test_a_pair_may_have_more_signs_of_equality() -> None:
    assert read_pairs(["a=b=c", "d="]) == {"a": "b=c", "d": ""}


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["order"], "expected name=value, got 'order'"),
        (["a=1", "a=2"], "expected each name once, got 'a' twice"),
    ],
)
def test_a_pair_without_a_value_and_a_name_that_comes_twice_are_refused(
    pairs: list[str], said: str
) -> None:
    with pytest.raises(InvalidBatch, match=said):
        read_pairs(pairs)
