"""The comparison itself: what it counts, what it finds, what is accepted. No Skyvern is needed."""

from __future__ import annotations

from typing import Any

from runqueue.request.requests import MODELS
from tests.contract.accepted import Accepted
from tests.contract.compare import Contract, Difference, sorted_out
from tests.contract.ours import HIDDEN, USED, Used, arguments_of, request_fields
from tests.contract.shapes import shape_of


def test_two_shapes_differ_in_named_aspects_with_both_sides_in_words() -> None:
    ours = shape_of({"type": "integer", "maximum": 9}, {})
    theirs = shape_of({"type": "integer", "maximum": 8}, {}, is_required=True)
    assert dict(ours.differences(theirs)) == {
        "bounds": "ours {maximum 9}, theirs {maximum 8}",
        "is_required": "ours False, theirs True",
    }


def described(fields: dict[str, Any], answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A description of one call."""
    reference = {"$ref": "#/components/schemas/WorkflowRunResponse"}
    operation = {
        "parameters": more.get("parameters", []),
        "requestBody": {
            "content": {"application/json": {"schema": {"type": "object", "properties": fields}}}
        },
        "responses": {"200": {"content": {"application/json": {"schema": reference}}}},
    }
    return {
        "routes": [[method, path] for method, path in HIDDEN],
        "openapi": {
            "paths": {"/v1/workflows/runs/{workflow_run_id}/retry": {"post": operation}},
            "components": {"schemas": {"WorkflowRunResponse": answer}},
        },
    }


RETRY = next(used for used in USED if used.path.endswith("/retry"))


def found(document: dict[str, Any], used: Used = RETRY) -> dict[str, str]:
    result = Contract(document).compared([used])
    assert result.compared > len(result.found)
    return {one.where.rpartition(" ")[2]: one.words for one in result.found}


def test_what_only_one_side_has_and_what_is_of_another_type_is_found() -> None:
    answer = {
        "type": "object",
        "required": ["run_id"],
        "properties": {
            "run_id": {"type": "string"},
            "status": {"enum": ["completed", "a_status_of_tomorrow"], "type": "string"},
            "step_count": {"type": "string"},
            "new_field": {"type": "string"},
        },
    }
    document = described(
        {"new_argument": {"type": "string"}},
        answer,
        parameters=[{"name": "x-max-steps-override", "in": "header"}],
    )
    differences = found(document)
    assert differences["body.new_argument"] == "theirs only"
    assert differences["header.x-user-agent"] == "ours only"
    assert "header.x-max-steps-override" not in differences
    assert differences["WorkflowRunResponse.new_field"] == "theirs only"
    assert differences["WorkflowRunResponse.output"] == "ours only"
    result = Contract(document).compared([RETRY])
    words = {one.where.partition("Response.")[2]: one.words for one in result.found}
    assert words["step_count types"] == "ours ['integer'], theirs ['string']"
    assert "a_status_of_tomorrow" in words["status values"]
    assert words["status required"] == "we need it, and it is not promised"
    assert "run_id required" not in words


def test_a_route_that_is_gone_is_found_whether_described_or_hidden() -> None:
    document = described({}, {"type": "object"})
    document["openapi"]["paths"], document["routes"] = {}, []
    result = Contract(document).compared(USED)
    assert len(result.found) == result.compared == len(USED) + len(HIDDEN)
    assert {one.words for one in result.found} == {"theirs: no such route"}


def test_differences_are_accepted_by_place_and_an_acceptance_of_nothing_is_stale() -> None:
    rules = (Accepted("a *.b", "meant"), Accepted("c", "meant once"))
    one, other = Difference("a x.b", "1"), Difference("d", "2")
    fits, open_, stale = sorted_out([one, other], rules)
    assert fits == [(one, rules[0])]
    assert open_ == [other]
    assert stale == [rules[1]]


def test_every_kind_of_request_and_every_call_of_the_client_is_compared() -> None:
    assert {used.kind for used in USED} - {None} == set(MODELS)
    for used in USED:
        if used.kind is not None:
            assert used.call is not None
            names = set(request_fields(used.kind))
            assert arguments_of(used.call) == names


def test_the_limits_that_our_check_adds_are_compared_in_place_of_the_model_s() -> None:
    fields = request_fields("workflow")
    assert fields["max_elapsed_time_minutes"].bounds == {"minimum": 1, "maximum": 480}
    assert not fields["start_fresh_browser"].is_nullable
    assert fields["webhook_url"].is_nullable
