"""Routes for bearers of tokens: what each of them shares is said here once."""

import inspect
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from config.gateway import Scope
from gateway.api.schemas import EXAMPLE_BATCH, Shape
from gateway.auth.tokens import requires
from gateway.http.counting import working
from gateway.http.problems import answers
from gateway.http.request_body import body_of
from gateway.tenants.scope import queue_of
from runqueue import AsyncRunQueue
from runqueue.errors import FieldError, InvalidRequest
from runqueue.problem_types import ProblemType
from runqueue.producer.listing import Filter, read_entries
from runqueue.records.job import JobState
from runqueue.request.time_range import TIME_WORDS, read_time

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
#: An answer: its description and its shape, or all that the OpenAPI file says of it.
Answer = tuple[str, Shape] | dict[str, Any]

#: The problems of every route with a token; those of one that asks the queue, that changes
#: something, that reads a body.
OF_TOKENS: Final = {
    ProblemType.TOKEN_UNKNOWN,
    ProblemType.SCOPE_MISSING,
    ProblemType.TOO_MANY_WRONG_TOKENS,
    ProblemType.INVALID_REQUEST,
    ProblemType.TOO_MUCH_IN_FLIGHT,
    ProblemType.INTERNAL_ERROR,
}
_OF_THE_QUEUE: Final = OF_TOKENS | {
    ProblemType.UNKNOWN_ACCOUNT,
    ProblemType.QUEUE_UNAVAILABLE,
    ProblemType.ARCHIVE_UNAVAILABLE,
    ProblemType.OTHER_FORMAT,
    ProblemType.DATA_DAMAGED,
}
_OF_CHANGES: Final = {ProblemType.QUEUE_FULL}
_OF_BODIES: Final = {
    ProblemType.BODY_INCOMPLETE,
    ProblemType.BODY_TIMEOUT,
    ProblemType.BODY_TOO_LARGE,
    ProblemType.UNSUPPORTED_MEDIA_TYPE,
}
#: Those of a route by what its path names.
_OF_PATHS: Final = {
    "{job_id}": ProblemType.JOB_NOT_FOUND,
    "{batch_id}": ProblemType.BATCH_NOT_FOUND,
}
#: Those of a route that takes jobs, and of one that changes a batch.
OF_JOBS: Final = {ProblemType.INVALID_JOB, ProblemType.QUOTA_REACHED, ProblemType.EVICTING_REDIS}
OF_BATCHES: Final = {
    ProblemType.BATCH_NOT_FOUND,
    ProblemType.BATCH_CANCELED,
    ProblemType.BATCH_EXPIRED,
}

Limit = Annotated[int, Query(ge=1, le=1000, description="How many to read.", examples=[100])]


def _time(given: object) -> object:
    try:
        return read_time(given) if isinstance(given, str) else given
    except ValueError as error:
        raise PydanticCustomError("time", "{words}", {"words": str(error)}) from None


Time = Annotated[datetime, BeforeValidator(_time, json_schema_input_type=str)]
Since = Annotated[
    Time | None,
    Query(
        description="Only jobs that ended then or later (those that have not ended: that were"
        f" enqueued then); {TIME_WORDS}.",
        examples=["12h"],
    ),
]
Until = Annotated[
    Time | None, Query(description="Only before this time, given as `since` is.", examples=["1h"])
]
Reason = Annotated[
    str | None,
    Query(
        min_length=1,
        description="Only jobs whose reason contains this text, whatever its case.",
        examples=["crashed"],
    ),
]


@dataclass(frozen=True, slots=True)
class _Filter:
    """Which jobs are meant."""

    state: Annotated[JobState | None, Query(description="Only in it.", examples=["dead"])] = None
    group: Annotated[str | None, Query(description="Only of it.", examples=["shop-a"])] = None
    batch: Annotated[str | None, Query(description="Only of it.", examples=[EXAMPLE_BATCH])] = None
    reason: Reason = None
    since: Since = None
    until: Until = None
    text: Annotated[
        str | None,
        Query(
            description="Only jobs in whose prompt, URL, custom_id or reason some word begins with"
            " each of these words; needs an archive.",
            examples=["invoice 4711"],
        ),
    ] = None
    metadata: Annotated[
        list[str] | None,
        Query(
            description="Only jobs with this entry, `name=value`; may be repeated.",
            examples=[["order=17"]],
        ),
    ] = None
    workflow: Annotated[str | None, Query(description="Only runs of it.", examples=["wpid_1"])] = (
        None
    )
    error: Annotated[
        str | None,
        Query(description="Only those of this group of errors; needs an archive.", examples=["17"]),
    ] = None
    custom_id: Annotated[
        str | None,
        Query(min_length=1, description="Only the job of this name.", examples=["order-17"]),
    ] = None
    namespace: Annotated[str, Query(description="That of the custom_id.", examples=[""])] = ""
    webhook: Annotated[
        Literal["pending", "abandoned", "unknown"] | None,
        Query(description="Only those whose webhook is in this state.", examples=["abandoned"]),
    ] = None
    is_open: Annotated[bool, Query(description="Only those that have not ended.")] = False
    is_paused: Annotated[bool, Query(description="Only those whose run waits for a person.")] = (
        False
    )

    @property
    def wanted(self) -> Filter:
        """The filter."""
        given = {name: getattr(self, name) for name in Filter._fields if hasattr(self, name)}
        return Filter(**given | {"metadata": read_entries(self.metadata or ())})


Wanted = Annotated[_Filter, Depends()]


class BodyFields(BaseModel):
    """What a caller sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def by_name(route: APIRoute) -> str:
    """Return the id of a route's operation in the OpenAPI file: the name of its function."""
    return route.name


class Routes(APIRouter):
    """The routes of one tag."""

    def __init__(self, tag: str) -> None:
        super().__init__(tags=[tag], generate_unique_id_function=by_name)

    def call(
        self,
        call: str,
        scope: Scope,
        summary: str,
        answer: Answer,
        *,
        status: int = 200,
        problems: Collection[ProblemType] = (),
        body: type[BaseModel] | dict[str, Any] | None = None,
        **more: Any,
    ) -> Callable[[Endpoint], Endpoint]:
        """Add a route; its docstring is its description.

        Args:
            call: its method and its path.
            scope: what a token needs; described, too.
            summary: of the description.
            answer: its good answer.
            status: that answer's.
            problems: the types of its problems besides those of every route.
            body: the model of its body, or that body as the OpenAPI file describes it.
            more: for FastAPI.
        """
        method, path = call.split()
        if isinstance(body, type):
            body = body_of({"schema": body.model_json_schema()})
        kinds = {*_OF_THE_QUEUE, *(_OF_BODIES if body else ()), *problems}
        kinds |= {kind for name, kind in _OF_PATHS.items() if name in path}
        responses = answers(kinds if method == "GET" else kinds | _OF_CHANGES)
        responses[status] = answer if isinstance(answer, dict) else described(*answer)
        responses |= more.pop("responses", {})

        def add(endpoint: Endpoint) -> Endpoint:
            self.add_api_route(
                path,
                endpoint,
                methods=[method],
                summary=summary,
                description=f"{inspect.getdoc(endpoint)}\n\nNeeds the scope `{scope}`.",
                status_code=status,
                dependencies=[Depends(requires(scope)), *([] if body else [Depends(_no_body)])],
                responses=responses,
                openapi_extra=body,
                **more,
            )
            return endpoint

        return add


def _no_body(request: Request) -> None:
    """Refuse a body of a call that reads none: its caller believes that it says something."""
    headers = request.headers
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        words = "expected none: what this call takes is in its path and query"
        raise InvalidRequest([FieldError("body", words)])


def described(description: str, shown: Shape) -> dict[str, Any]:
    """Describe an answer in JSON by its shape."""
    return {"description": description, "content": {"application/json": {"schema": shown}}}


@asynccontextmanager
async def one_at_a_time(request: Request) -> AsyncIterator[AsyncRunQueue]:
    """Yield the queue as the bearer sees it, once no other such call of his goes on."""
    async with working(request):
        yield queue_of(request)
