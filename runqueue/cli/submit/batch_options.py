"""The options for a batch's name, rules and callbacks."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from runqueue.errors import InvalidBatch
from runqueue.records.batch import ABORT_AFTER, CANARY_RATIO, BatchRules
from runqueue.request.metadata import read_pairs

Name = Annotated[
    str, typer.Option(help="The batch's name; default the file's name, without its folders.")
]
Canary = Annotated[
    int | None, typer.Option(help="Run so many jobs first; the others wait for them.")
]
CanaryRatio = Annotated[
    float, typer.Option(help="The share of these that must complete before the others run.")
]
AbortRatio = Annotated[
    float | None,
    typer.Option(
        "--abort-at-failure-ratio",
        help="Abort when this share of the ended jobs failed or is dead, for example 0.2.",
    ),
]
AbortAfter = Annotated[int, typer.Option(help="Do not abort before so many jobs have ended.")]
ExpiresAfter = Annotated[
    str, typer.Option(help="Submit nothing more after this time: seconds, or 90m, 12h, 7d.")
]
CallbackUrl = Annotated[
    str,
    typer.Option(
        envvar="RUNQUEUE_CALLBACK_URL",
        help="URL called when the batch is over. Give one with a secret by the variable.",
    ),
]
CallbackAt = Annotated[
    list[float] | None,
    typer.Option(help="Also at this share of ended jobs, for example 0.5; repeat for more."),
]

Metadata = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE", help="An entry of the batch's metadata; repeat for more, up to 20."
    ),
]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_NAME = 256


def name_of(given: str, file: str) -> str:
    """Return a batch's name: the given one, if it is valid, or the file's; '' of stdin."""
    if len(given) > _LONGEST_NAME or not given.isprintable():
        said = f"expected printable text, up to {_LONGEST_NAME} characters"
        raise typer.BadParameter(said, param_hint="--name")
    if not given and file == "-":
        return ""
    return given or "".join(c if c.isprintable() else "?" for c in Path(file).name)


def metadata_of(given: list[str] | None) -> dict[str, str]:
    """Return a batch's metadata; invalid one ends the command."""
    try:
        return read_pairs(given or ())
    except InvalidBatch as error:
        raise typer.BadParameter(error.errors[0].message, param_hint="--metadata") from None


@dataclass(frozen=True, slots=True)
class RuleOptions:
    """The options for a batch's rules."""

    canary: Canary = None
    canary_ratio: CanaryRatio = CANARY_RATIO
    abort_at_failure_ratio: AbortRatio = None
    abort_after: AbortAfter = ABORT_AFTER
    expires_after: ExpiresAfter = ""
    callback_url: CallbackUrl = ""
    callback_at: CallbackAt = None

    @property
    def rules(self) -> BatchRules:
        """The rules; invalid ones end the command."""
        given = asdict(self)
        given["expires_after"] = _seconds(self.expires_after) if self.expires_after else None
        given["callback_url"] = self.callback_url or None
        given["callback_at"] = tuple(self.callback_at or ())
        try:
            return BatchRules(**given)
        except InvalidBatch as error:
            fault = error.errors[0]
            option = f"--{fault.field.replace('_', '-')}"
            raise typer.BadParameter(fault.message, param_hint=option) from None


def _seconds(text: str) -> float:
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None:
        said = f"expected seconds, or a number with s, m, h or d, got {text!r}"
        raise typer.BadParameter(said, param_hint="--expires-after")
    return float(found[1]) * _SECONDS[found[2]]
