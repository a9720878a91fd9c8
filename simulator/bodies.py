"""Reading a request's JSON, and reporting its faults in FastAPI's format."""

import json
from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from simulator.replies import Json, RefusedError

ModelT = TypeVar("ModelT", bound=BaseModel)

_MISSING: Json = {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}


async def read(model: type[ModelT], request: web.Request) -> ModelT:
    """Read a request's body.

    Args:
        model: its shape.
        request: its `Content-Type` has to be JSON's.

    Raises:
        RefusedError: 422 for a body that is missing, no JSON or of another shape; 400 for one
            that is no text.
    """
    body = await request.read()
    content = parsed(body) if _is_json(request.content_type) else body.decode(errors="replace")
    if not body or content is None:
        raise RefusedError(422, [_MISSING])
    return checked(model, content, "body")


async def read_optional(model: type[ModelT], request: web.Request) -> ModelT | None:
    """Read a body that may be missing, or null."""
    body = await request.read()
    if not body or body == b"null":
        return None
    return await read(model, request)


def checked(model: type[ModelT], content: object, where: str) -> ModelT:
    """Make a model of what was sent, in the `body`, `query` or `header`.

    Raises:
        RefusedError: 422, it is of another shape.
    """
    try:
        return model.model_validate(content, from_attributes=True)
    except ValidationError as error:
        raise RefusedError(422, field_errors(error, where)) from None


def parsed(body: bytes) -> object:
    """Parse JSON.

    Raises:
        RefusedError: 422 with the position of the mistake; 400 for bytes that are no text.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Python's own parser accepts a little more, and reports where it failed.
        return _parsed_by_python(body)


def field_errors(error: ValidationError, where: str) -> list[Json]:
    """FastAPI's form of a validation error.

    Args:
        error: pydantic's.
        where: `body`, `query` or `header`.
    """
    shown: list[Json] = []
    for item in error.errors(include_url=False):
        line: Json = {"type": item["type"], "loc": [where, *item["loc"]], "msg": item["msg"]}
        line["input"] = item["input"]
        if "ctx" in item:
            line["ctx"] = {
                name: {} if isinstance(value, Exception) else value
                for name, value in item["ctx"].items()
            }
        shown.append(line)
    return shown


def _parsed_by_python(body: bytes) -> object:
    try:
        return json.loads(body) if body else None
    except json.JSONDecodeError as error:
        problem: Json = {"type": "json_invalid", "loc": ["body", error.pos]}
        problem |= {"msg": "JSON decode error", "input": {}, "ctx": {"error": error.msg}}
        raise RefusedError(422, [problem]) from None
    except UnicodeDecodeError:
        raise RefusedError(400, "There was an error parsing the body") from None


def _is_json(content_type: str) -> bool:
    kind = content_type.partition("/")[2]
    return content_type.startswith("application/") and (kind == "json" or kind.endswith("+json"))
