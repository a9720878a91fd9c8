"""The options for reading an input."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer

from runqueue import ids
from runqueue.cli.shared.exit_codes import print_err
from runqueue.cli.shared.input_lines import Row, Text, json_lines
from runqueue.cli.submit.csv_lines import Table
from runqueue.request.job_spec import MAX_PAYLOAD_BYTES
from runqueue.request.request_checks import RequestChecks, current_checks, use_checks
from runqueue.request.requests import Kind

Form = Literal["jsonl", "csv"]
File = Annotated[
    str,
    typer.Argument(
        help="One job a line, as JSON, or a table (.csv), compressed (gzip) or not; - reads stdin."
    ),
]
Format = Annotated[
    Form | None, typer.Option("--format", help="The input's format; default by its name.")
]
Template = Annotated[
    str,
    typer.Option(
        help="The line that a row becomes, with {column} in it: a file, or JSON that begins with {."
    ),
]
KindOption = Annotated[
    Kind | None, typer.Option("--kind", help="The kind of rows that name none; default task.")
]


def _use_checks(checks: RequestChecks | None) -> RequestChecks | None:
    try:
        if checks is None:
            current_checks()
        else:
            use_checks(checks)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return checks


Checks = Annotated[
    RequestChecks | None,
    typer.Option(
        "--request-checks",
        callback=_use_checks,
        help="For unknown fields of a run request and values that Skyvern is known not to accept:"
        " refuse, warn (they are sent) or pass; default RUNQUEUE_REQUEST_CHECKS.",
    ),
]
Delimiter = Annotated[
    str, typer.Option("--delimiter", "-d", help="The character between cells; default a comma.")
]
Namespace = Annotated[
    str, typer.Option(help="The namespace of lines that name none; custom_ids are unique in it.")
]

_TABS = {"tab": "\t", "\\t": "\t"}
#: The character between cells, by the end of a file's name.
_TABLES = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, slots=True)
class InputOptions:
    """The options for reading an input."""

    namespace: Namespace = ""
    form: Format = None
    template: Template = ""
    kind: KindOption = None
    delimiter: Delimiter = ""
    request_checks: Checks = None

    def reader(self, file: str) -> Callable[[Iterator[Text]], Iterator[Row]]:
        """Return the reader that turns lines into rows; invalid options end the command."""
        if self.namespace and not ids.is_name(self.namespace):
            raise _refused(
                "--namespace", "expected 1 to 32 of a-z, 0-9, _ and -, the first a letter or digit"
            )
        suffix = Path(file.removesuffix(".gz")).suffix.lower()
        if (self.form or ("csv" if suffix in _TABLES else "jsonl")) == "jsonl":
            for name in ("template", "kind", "delimiter"):
                if getattr(self, name):
                    said = "only tables take this; for a table add --format csv"
                    raise _refused(f"--{name}", said)
            return json_lines
        between = _TABS.get(self.delimiter, self.delimiter) or _TABLES.get(suffix, ",")
        if len(between) != 1 or between in '"\r\n' or not between.isascii():
            raise _refused("--delimiter", "expected one character, or tab")
        table = Table(
            _read_template(self.template) if self.template else None,
            self.kind or "task",
            between,
            lambda said: print_err(f"{file}: {said}"),
        )
        return table.rows


def _read_template(given: str) -> Mapping[str, Any]:
    text = given.strip()
    if not text.startswith("{"):
        try:
            with Path(given).open("rb") as file:
                text = file.read(MAX_PAYLOAD_BYTES).removeprefix(b"\xef\xbb\xbf").decode()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise _refused("--template", f"cannot read {given}: {why}") from None
    try:
        template = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        said = f"expected a line of JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise _refused("--template", said) from None
    if not isinstance(template, dict):
        raise _refused("--template", "expected a JSON object, the line that a row becomes")
    return template


def _refused(option: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=option)
