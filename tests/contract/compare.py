"""Comparing: what the project sends and reads, with what a server's description says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.contract.accepted import Accepted
from tests.contract.ours import (
    HEADERS,
    HIDDEN,
    QUERY,
    Used,
    arguments_of,
    request_fields,
    response_fields,
)
from tests.contract.shapes import ASPECTS, Schema, fields_of, shape_of

#: Headers that every call has.
_OF_EVERY_CALL = {"x-api-key", "authorization"}


@dataclass(frozen=True)
class Difference:
    """One difference: where it is, and both sides in words."""

    where: str
    words: str


@dataclass
class Comparison:
    """What was compared, and what differs."""

    compared: int = 0
    found: list[Difference] = field(default_factory=list)

    def check(self, where: str, *, same: bool, words: str) -> None:
        """Count one behaviour, and note it if both sides differ."""
        self.compared += 1
        if not same:
            self.found.append(Difference(where, words))


class Contract:
    """A server's description, and what of it is used.

    Args:
        described: what `print_openapi.py` prints.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._paths: Schema = described["openapi"]["paths"]
        self._definitions: Schema = described["openapi"]["components"]["schemas"]
        self._routes = {(method, path.rstrip("/")) for method, path in described["routes"]}

    def compared(self, used: Sequence[Used]) -> Comparison:
        """Compare all calls that are used."""
        result = Comparison()
        for call in used:
            self._compare(call, result)
        for method, path in HIDDEN:
            there = _shape_of_path(path) in {
                _shape_of_path(p) for m, p in self._routes if m == method
            }
            result.check(f"{method} {path}", same=there, words="theirs: no such route")
        return result

    def _compare(self, used: Used, result: Comparison) -> None:
        name = f"{used.method} {used.path}"
        operation = self._paths.get(used.path, {}).get(used.method.lower())
        result.check(name, same=operation is not None, words="theirs: no such route")
        if operation is None:
            return
        theirs = self._request_fields(operation)
        self._compare_arguments(name, used, operation, theirs, result)
        if used.kind is not None:
            _compare_request(name, used, theirs, result)
        for model in used.models:
            self._compare_response(f"{name} {model.__name__}", model, operation, result)

    def _request_fields(self, operation: Schema) -> dict[str, Any]:
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        for part in schema.get("anyOf", [schema]):
            if found := fields_of(part, self._definitions):
                return found
        return {}

    def _compare_arguments(
        self,
        name: str,
        used: Used,
        operation: Schema,
        theirs: Mapping[str, Any],
        result: Comparison,
    ) -> None:
        given = (arguments_of(used.call) if used.call else frozenset()) | used.fields
        parameters = operation.get("parameters", ())
        there = {
            "query": {p["name"] for p in parameters if p["in"] == "query"},
            "header": {p["name"] for p in parameters if p["in"] == "header"} - _OF_EVERY_CALL,
            "body": set(theirs),
        }
        ours = {
            "query": given & QUERY if used.method == "GET" or "template" in given else frozenset(),
            "header": {HEADERS[one] for one in given & HEADERS.keys()},
        }
        ours["body"] = given - HEADERS.keys() - ours["query"]
        for place, names in there.items():
            for one in sorted(names | ours[place]):
                words = "ours only" if one in ours[place] else "theirs only"
                result.check(
                    f"{name} argument {place}.{one}", same=one in names & ours[place], words=words
                )

    def _compare_response(
        self, name: str, model: Any, operation: Schema, result: Comparison
    ) -> None:
        content = operation["responses"]["200"].get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        theirs = self._answer_fields(schema, model.__name__)
        ours = response_fields(model)
        for one in sorted(theirs.keys() | ours.keys()):
            where = f"{name}.{one}"
            if one not in ours or one not in theirs:
                words = "ours only" if one in ours else "theirs only"
                result.check(where, same=False, words=words)
                continue
            mine, other = ours[one], shape_of(theirs[one], self._definitions)
            readable = not other.types or _covers(mine.types, other.types)
            said = f"ours {sorted(mine.types)}, theirs {sorted(other.types)}"
            result.check(f"{where} types", same=readable, words=said)
            if mine.values and other.values:
                missing = sorted(other.values - mine.values)
                result.check(f"{where} values", same=not missing, words=f"theirs only: {missing}")
        required = {one for one, read in ours.items() if read.is_required}
        for one in sorted(required & theirs.keys()):
            promised = self._promised(schema, model.__name__)
            said = "we need it, and it is not promised"
            result.check(f"{name}.{one} required", same=one in promised, words=said)

    def _answer_fields(self, schema: Schema, model: str) -> Schema:
        return self._object(schema, model).get("properties", {})  # type: ignore[no-any-return]

    def _promised(self, schema: Schema, model: str) -> set[str]:
        return set(self._object(schema, model).get("required", ()))

    def _object(self, schema: Schema, model: str) -> Schema:
        """Return the schema of the object that an answer is, holds a list of, or may be."""
        while True:
            if "$ref" in schema:
                schema = self._definitions[schema["$ref"].rpartition("/")[2]]
            elif schema.get("type") == "array":
                schema = schema["items"]
            elif "oneOf" in schema or "anyOf" in schema:
                parts = schema.get("oneOf") or schema["anyOf"]
                schema = next(part for part in parts if model in part.get("$ref", ""))
            else:
                return schema


def _compare_request(name: str, used: Used, theirs: Mapping[str, Any], result: Comparison) -> None:
    assert used.kind is not None
    ours = request_fields(used.kind)
    for one in sorted(ours.keys() | theirs.keys()):
        where = f"{name} request.{one}"
        if one in HEADERS or one == "template":
            continue  # compared as an argument of the call
        if one not in ours or one not in theirs:
            words = "ours only" if one in ours else "theirs only"
            result.check(where, same=False, words=words)
            continue
        differences = dict(ours[one].differences(theirs[one]))
        for aspect in ASPECTS:
            result.check(
                f"{where} {aspect}",
                same=aspect not in differences,
                words=differences.get(aspect, ""),
            )


def _covers(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    """Say whether what is read covers what is sent; a number may be read of a whole one."""
    wider = mine | ({"integer"} if "number" in mine else set())
    return theirs <= wider


def _shape_of_path(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def sorted_out(
    found: Sequence[Difference], accepted: Sequence[Accepted]
) -> tuple[list[tuple[Difference, Accepted]], list[Difference], list[Accepted]]:
    """Return differences that are accepted, those that are not, and what accepts nothing."""
    fits = [(one, _reason(one, accepted)) for one in found]
    used = {rule.where for _, rule in fits if rule}
    return (
        [(one, rule) for one, rule in fits if rule],
        [one for one, rule in fits if not rule],
        [rule for rule in accepted if rule.where not in used],
    )


def _reason(one: Difference, accepted: Sequence[Accepted]) -> Accepted | None:
    return next((rule for rule in accepted if fnmatchcase(one.where, rule.where)), None)


def lines_of(
    fits: Sequence[tuple[Difference, Accepted]], open_: Sequence[Difference]
) -> Iterator[str]:
    """Yield each difference as a line, the open ones last."""
    for one, rule in fits:
        yield f"accepted  {one.where}: {one.words}\n          {rule.reason}"
    for one in open_:
        yield f"OPEN      {one.where}: {one.words}"
