"""The OpenAPI description: FastAPI's of its routes, with the schemas of lines and of problems.

Skyvern's webhooks are not in it: nobody else sends any.
"""

from typing import Any

from fastapi import FastAPI

from gateway.api import job_schema
from gateway.api.schemas import shape_of
from gateway.http.problems import Problem
from runqueue.errors import NotAllowed
from runqueue.problem_types import ProblemType, member_types


def describe(app: FastAPI) -> dict[str, Any]:
    """Return an application's description."""
    whole = app.openapi()
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    problem["properties"] |= _members()
    parts = {**problem.pop("$defs"), "Problem": problem, **job_schema.schemas()}
    whole.setdefault("components", {}).setdefault("schemas", {}).update(parts)
    return whole


def _members() -> dict[str, Any]:
    """Describe what problems have of the errors that a client makes of them."""
    errors = {one.error for one in ProblemType if one.error} - {NotAllowed}
    types = {name: kind for error in errors for name, kind in member_types(error).items()}
    return {name: shape_of(types[name]) for name in sorted(types)}
