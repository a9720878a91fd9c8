"""Tokens of a gateway, large requests and answers that one may have, and the memory they take."""

import hashlib
import hmac
import zlib
from pathlib import Path

import httpx

from runqueue import RunQueue
from runqueue.records.claim_items import RunAccepted
from runqueue.store import worker_calls
from webhooks.receiver_address import address

_MIB = 2**20
_HOUR_US = 3_600_000_000


def key_of(account: str) -> str:
    """Return the API key of an account of the gateway."""
    return f"key-{account}-01"


def environment_of(tokens: dict[str, str]) -> dict[str, str]:
    """Return the settings of a gateway with some tokens, each for an account of its name."""
    digests = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in tokens.items()}
    keys = {f"RUNQUEUE_ACCOUNTS__{name.upper()}__API_KEY": key_of(name) for name in tokens}
    listed = (f"{name}:enqueue+read@{name}:{digest}" for name, digest in digests.items())
    return {"RUNQUEUE_API_TOKENS": ",".join(listed), **keys}


def array(unit: bytes, size: int, first: bytes = b"[") -> bytes:
    """Return an array of about so many bytes."""
    return first + unit * ((size - len(first) - 2) // len(unit)) + b"1]"


def compressed(line: bytes, lines: int) -> bytes:
    """Return so many lines, compressed."""
    packer = zlib.compressobj(9, wbits=31)
    some = (line + b"\n") * 10_000
    return b"".join([*(packer.compress(some) for _ in range(lines // 10_000)), packer.flush()])


def large_answer(queue: RunQueue, url: str, account: str) -> str:
    """Have a job end with a result of 7 MiB; returns the path of its answer, which has 14."""
    queue.enqueue_many([{"account": account, "kind": "task", "body": {"prompt": "Read it."}}])
    queue.send(worker_calls.heartbeat(account, "lab", _HOUR_US, -1, 0, first=True))
    (job,) = queue.send(worker_calls.claim(account, "lab", "c", 1, 0, receives=True)).items
    run_id = f"tsk_{job.job_id}"
    accepted = RunAccepted(job.job_id, job.attempt, run_id, "created", _HOUR_US)
    queue.send(worker_calls.mark_running(account, [accepted]))
    output = b"x" * 7 * _MIB
    body = b'{"run_id":"%s","status":"completed","output":"%s"}' % (run_id.encode(), output)
    key = key_of(account)
    signature = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    hook = address(url, account, job.job_id, job.attempt, key)
    httpx.post(hook, content=body, headers={"x-skyvern-signature": signature}).raise_for_status()
    return f"/v1/jobs/{job.job_id}"


def peak_mib(pid: int) -> float:
    """Return the most memory that a process ever had, in mebibytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
