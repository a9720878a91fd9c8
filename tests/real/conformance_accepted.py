"""How the simulator differs from a real Skyvern, by version: what stays, with its reason."""

from __future__ import annotations

from tests.real.conformance_compare import Accepted

_NO_NAMES = "the simulator resolves no names, so none is unresolvable"

ACCEPTED: dict[str, tuple[Accepted, ...]] = {
    "1.0.56": (
        Accepted("task, url www twice: * > *", _NO_NAMES),
        Accepted("task, url international host: * > *", _NO_NAMES),
        Accepted("task, url no host: * > *", _NO_NAMES),
        Accepted(
            "task, one field prompt empty, 2.0: * > *started_at",
            "the real engine fails before it starts; the simulator's ends are drawn",
        ),
        Accepted(
            "a workflow run that fails > answer.output.h1_output.error",
            "the words of the real server's HTTP client",
        ),
        Accepted(
            "timeline of a workflow run > *.description", "the real server has its model write one"
        ),
        Accepted("artifacts of * > *", "the simulator keeps no artifacts"),
        Accepted(
            "login, * > answer.output",
            "the server under test has no password manager, so its logins fail at once",
        ),
        Accepted(
            "workflow, one field browser_type: submit > answer.body.detail",
            "the same refusal in words of our own",
        ),
    ),
    "1.0.40": (
        Accepted(
            "tags given, * > answer.status",
            "a 404 all the same: there is no such route; the simulator reads the body first",
        ),
        Accepted(
            "2.0 task by the id of its workflow run > *.browser_profile_id",
            "shown of workflow runs only",
        ),
        Accepted(
            "cancel of a live 2.0 task, status > answer",
            "without a browser the task fails at once, and a failure overwrites a cancel there",
        ),
    ),
}
