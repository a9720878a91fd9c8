"""What consumers of results say: that they have one."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from gateway.auth import requires
from gateway.gate import gate_of
from gateway.problems import answers
from runqueue import delivery_calls
from runqueue.accounts import account_of
from runqueue.ids import is_id
from runqueue.scripts import run_async

_EXAMPLE = "p5gqn6yzbfm3vdk2a4rx7wtj"

router = APIRouter(tags=["jobs"])

JobId = Annotated[str, Path(description="The job's id.", examples=[_EXAMPLE])]


class Acknowledged(BaseModel):
    """The webhook of a job counts as delivered."""

    job_id: str = Field(examples=[_EXAMPLE])
    webhook: Literal["delivered"] = "delivered"


@router.post(
    "/v1/jobs/{job_id}/webhook/ack",
    summary="Confirm that the result has arrived",
    dependencies=[Depends(requires("enqueue"))],
    responses=answers(401, 403, 404, 409, 503),
)
async def acknowledge(job_id: JobId, request: Request) -> Acknowledged:
    """Say that the result of a job is there, so that its webhook is not sent (again).

    Say it as often as you like. Needs the scope `enqueue`.
    """
    gate = gate_of(request)
    account = account_of(job_id, gate.accounts) if is_id(job_id) else None
    code = -1
    if account is not None:
        (code,) = await run_async(gate.redis, delivery_calls.confirm_delivery(account, [job_id]))
    if code < 0:
        raise HTTPException(404, "no such job is on record")
    if code == 0:
        raise HTTPException(409, "the job has not ended, or nobody is to be told of it")
    return Acknowledged(job_id=job_id)
