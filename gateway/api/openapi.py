"""The OpenAPI description: FastAPI's of its routes, with the schemas of lines and of problems.

Skyvern's webhooks are not in it: nobody else sends any.
"""

from typing import Any

from fastapi import FastAPI

from gateway.api import job_schema
from gateway.http.problems import Problem


def describe(app: FastAPI) -> dict[str, Any]:
    """Return an application's description."""
    whole = app.openapi()
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = {**problem.pop("$defs"), "Problem": problem, **job_schema.schemas()}
    whole.setdefault("components", {}).setdefault("schemas", {}).update(parts)
    return whole
