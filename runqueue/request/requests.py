"""The requests to Skyvern: the bodies of its run calls, checked before they are sent.

A field left out is left out of the JSON; an explicit None is sent as null (`model_fields_set` keeps
the two apart). Unknown fields are refused, because Skyvern ignores them without a word. Types are
strict: what is sent is the caller's own JSON, so "10" is not taken for 10.

A new field of Skyvern's goes to its model below, to the typed call (`api_client/calls/calls.py`;
tests: `test_call_signatures.py`, `test_every_argument.py`), to `simulator/model/fields.py` and to
`examples/all_fields.jsonl`; `make schemas` writes `docs/schemas/`. The queue passes it on. Some
fields need more:

- a secret: `SENSITIVE_FIELDS` below;
- an object each of whose entries is checked: `CHECKED_OBJECTS` below;
- not in the body: `_HEADERS` or `_OUTSIDE` of `runqueue/store/codec.py`;
- a value that messages may show: `_SHOWN_FIELDS` of `validation_errors.py`;
- never null: `NOT_NULL` of `server_rules.py`;
- shown of a run: `simulator/model/submissions.py`, and if it tells runs apart,
  `worker/runs/comparison.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from runqueue.errors import FieldError, InvalidJob
from runqueue.request.job_options import FIELDS, MOST_ENTRIES
from runqueue.request.validation_errors import Expected, body_errors

#: The kinds of run request. All but `task` make a workflow run.
Kind = Literal["task", "workflow", "login", "download_files"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

#: Engines known today; any other text is passed on, so that a newer server's engine works at once.
KNOWN_ENGINES = (
    "skyvern-1.0",
    "skyvern-2.0",
    "skyvern-3.0",
    "openai-cua",
    "anthropic-cua",
    "ui-tars",
    "yutori-navigator",
)
#: Proxy locations known today; any other text is passed on.
KNOWN_PROXY_LOCATIONS = (
    "RESIDENTIAL",
    "RESIDENTIAL_ISP",
    *(
        f"RESIDENTIAL_{country}"
        for country in (
            *("ES", "IE", "GB", "IN", "JP", "FR", "DE", "NZ", "ZA", "AR"),
            *("AU", "BR", "TR", "CA", "MX", "IT", "NL", "PH", "KR", "SA"),
        )
    ),
    *(f"US-{state}" for state in ("CA", "NY", "TX", "FL", "WA")),
    "NONE",
)
#: Where a login's credential may be stored; any other text is passed on.
KNOWN_CREDENTIAL_TYPES = ("skyvern", "bitwarden", "1password", "azure_vault")
#: Fields whose values never reach a log, an error message or a repr.
SENSITIVE_FIELDS = frozenset(
    {
        "totp_identifier",
        "totp_url",
        "parameters",
        "extra_http_headers",
        "cdp_connect_headers",
        "browser_address",
        "onepassword_totp_field_name",
        "azure_vault_username_key",
        "azure_vault_password_key",
        "azure_vault_totp_secret_key",
    }
)
#: Fields that are objects of which each entry is checked.
CHECKED_OBJECTS: Final = (
    "cdp_connect_headers",
    "error_code_mapping",
    "extra_http_headers",
    "proxy_location",
)
_REPR_CHARS = 60
_URL_SECRETS = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)


Text = Annotated[str, Field(pattern=r"^[^\x00]*$"), Expected("text without NUL characters")]
Name = Annotated[
    str, Field(pattern=r"^[^\x00]+$"), Expected("text that is not empty, without NUL characters")
]
Prompt = Annotated[
    str,
    Field(pattern=r"^[^\x00]*[^\s\x00][^\x00]*$"),
    Expected("text that is not blank, without NUL characters"),
]
# A pattern costs a third of what pydantic's URL type does; Skyvern parses the URL in full anyway.
WebUrl = Annotated[
    str,
    Field(
        pattern=r"^(?i:https?)://(?:[^\s/?#@]*@)?(?:\[[0-9A-Fa-f:.]+\]|[^\s\x00-\x20/?#@:\[\]]+)"
        r"(?::[0-9]{1,5})?(?:[/?#][^\s\x00-\x20]*)?$"
    ),
    Expected("an http:// or https:// URL with a host and without spaces"),
]
_WEB_URL: TypeAdapter[str] = TypeAdapter(WebUrl)
#: What an error message says of a URL that is none.
WEB_URL_WORDS = next(mark.words for mark in get_args(WebUrl) if isinstance(mark, Expected))
# Sent as a header of our own request, where HTTP clients take ASCII only.
UserAgent = Annotated[
    str, Field(pattern=r"^[\x20-\x7e]*$"), Expected("printable ASCII text (it becomes a header)")
]
HeaderName = Annotated[
    str,
    Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
    Expected("the name of a header: letters, digits and -"),
]
HeaderValue = Annotated[
    str, Field(pattern=r"^[^\r\n\x00]*$"), Expected("text without line breaks, or null")
]
Headers = Annotated[
    dict[HeaderName, HeaderValue | None], Expected("an object of header names and values")
]
JsonObject = Annotated[dict[str, Any], Expected("an object")]
#: Files that Skyvern takes with one run.
MAX_FILES: Final = 50
FileId = Annotated[
    str,
    Field(pattern=r"^[\x21-\x7e]{1,128}$"),
    Expected("the id of an uploaded file: 1 to 128 printable ASCII characters, no spaces"),
]
FileIds = Annotated[
    list[FileId],
    Field(max_length=MAX_FILES),
    Expected(f"an array of at most {MAX_FILES} ids of files"),
]
Flag = Annotated[bool, Expected("true or false")]
Steps = Annotated[int, Field(ge=1, le=100_000), Expected("a whole number from 1 to 100000")]
Scrolls = Annotated[int, Field(ge=0, le=1_000), Expected("a whole number from 0 to 1000")]
Seconds = Annotated[
    float, Field(gt=0, le=86_400), Expected("a number of seconds, more than 0, at most 86400")
]
Minutes = Annotated[int, Field(ge=1, le=525_600), Expected("a whole number from 1 to 525600")]


def _optional(description: str, **more: Any) -> Any:
    """Describe a field that may be left out."""
    return Field(default=None, description=description, **more)


def is_web_url(value: object) -> bool:
    """Return whether something can be sent to a URL; it is not shown, as it may hold a password."""
    try:
        _WEB_URL.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def too_many_entries(body: Mapping[Any, Any]) -> list[FieldError]:
    """Say what of a body has more entries than are checked."""
    objects = {"body": body} | {f"body.{name}": body.get(name) for name in CHECKED_OBJECTS}
    return [
        FieldError(path, f"expected at most {MOST_ENTRIES} entries, got {len(value):,}")
        for path, value in objects.items()
        if isinstance(value, dict) and len(value) > MOST_ENTRIES
    ]


class _StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class ProxyTarget(_StrictModel):
    """A place to browse from, finer than the named locations."""

    country: Name = Field(description="Two-letter country code.")
    subdivision: Text | None = _optional("State or region code.")
    city: Text | None = None
    isISP: Flag | None = Field(  # noqa: N815 - the API's name
        default=None, description="From the address of an internet provider."
    )


class OwnProxy(_StrictModel):
    """A proxy of your own."""

    # It may hold a password.
    url: Name = Field(description="The proxy's URL.", repr=False)


ProxyLocation = Annotated[
    Text | ProxyTarget | OwnProxy,
    Field(union_mode="left_to_right"),
    Expected('a name such as "RESIDENTIAL", {country, subdivision, city} or {url}'),
]
DataSchema = Annotated[
    dict[str, Any] | list[Any] | Text,
    Field(union_mode="left_to_right"),
    Expected("a JSON schema: an object, an array or text"),
]
ErrorCodes = Annotated[
    dict[str, Text | None], Expected("an object of error codes and their descriptions")
]


class RunRequest(_StrictModel):
    """The fields that every kind of run shares."""

    kind: ClassVar[Kind]

    user_agent: UserAgent | None = _optional("The caller, sent as header x-user-agent.")
    proxy_location: ProxyLocation | None = _optional(
        "Where the browser appears to be.", examples=list(KNOWN_PROXY_LOCATIONS)
    )
    webhook_url: WebUrl | None = _optional("Called when the run is over.")
    totp_identifier: Text | None = _optional("Whose one-time codes to use.")
    totp_url: WebUrl | None = _optional("Where to fetch one-time codes.")
    browser_session_id: Text | None = _optional("Open browser session to use.")
    browser_profile_id: Text | None = _optional("Saved browser profile to start from.")
    start_fresh_browser: Flag | None = _optional("Do not reuse an open browser.")
    browser_address: Text | None = _optional("Address of a browser of your own.")
    extra_http_headers: Headers | None = _optional("Headers the browser sends.")
    cdp_connect_headers: Headers | None = _optional("Headers for connecting to browser_address.")

    def __init__(self, /, **fields: Any) -> None:
        """Check the fields.

        Raises:
            InvalidJob: with every field at fault, in the words that a line is refused with.
        """
        try:
            super().__init__(**fields)
        except ValidationError as refusal:
            raise InvalidJob(body_errors(type(self), MODELS, FIELDS, fields, refusal)) from None

    # Validation otherwise, a line's say, fills the fields itself, and does not come by here.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Show the given fields, without what must not be logged."""
        given = [name for name in type(self).model_fields if name in self.model_fields_set]
        return [(name, _shown(name, getattr(self, name))) for name in given]


class _AgentRequest(RunRequest):
    """The fields that tasks and workflows share."""

    title: Text | None = _optional("Name shown in Skyvern's list of runs.")
    model: JsonObject | None = _optional("Language model to use.")
    max_screenshot_scrolls: Scrolls | None = _optional(
        "Scrolls per screenshot; 0 is the visible part."
    )
    run_with: Text | None = _optional("What carries out the run: agent or code.")
    file_ids: FileIds | None = _optional(
        "Uploaded files that the run may use; each serves one run."
    )


class TaskRunRequest(_AgentRequest):
    """One task: a goal in words, and where to pursue it (POST v1/run/tasks)."""

    kind: ClassVar[Kind] = "task"

    prompt: Prompt = Field(description="The goal, in words.")
    url: WebUrl | None = _optional("Page to start on.")
    engine: Text | None = _optional("Agent to use.", examples=list(KNOWN_ENGINES))
    data_extraction_schema: DataSchema | None = _optional("JSON schema of the output.")
    error_code_mapping: ErrorCodes | None = _optional(
        "Error codes of your own and when they apply."
    )
    max_steps: Steps | None = _optional("Steps after which the run times out.")
    publish_workflow: Flag | None = _optional("Keep the task as a workflow.")
    include_action_history_in_verification: Flag | None = _optional(
        "Judge completion with the action history in view."
    )


class WorkflowRunRequest(_AgentRequest):
    """One run of a stored workflow (POST v1/run/workflows); name it by workflow_id or agent_id."""

    kind: ClassVar[Kind] = "workflow"

    workflow_id: Name | None = _optional("The workflow, wpid_….")
    agent_id: Name | None = _optional("Newer name of workflow_id.")
    template: Flag | None = _optional("It is a template; sent in the query.")
    max_steps_override: Steps | None = _optional(
        "Steps after which the run times out; sent as a header."
    )
    parameters: JsonObject | None = _optional("Values for the workflow's parameters.")
    reuse_browser_session: Flag | None = _optional("Keep the browser between runs.")
    max_elapsed_time_minutes: Minutes | None = _optional("Minutes after which the run times out.")
    ai_fallback: Flag | None = _optional("Let the agent step in when code fails.")
    run_metadata: JsonObject | None = _optional("Your own notes on the run.")
    browser_type: Text | None = _optional("Browser to use; a self-hosted server takes none.")

    @model_validator(mode="after")
    def _names_one_workflow(self) -> WorkflowRunRequest:
        if (self.workflow_id is None) == (self.agent_id is None):
            raise ValueError("give exactly one of workflow_id and agent_id")
        return self


class _BlockRequest(RunRequest):
    """The fields that the runs of a single block share; Skyvern makes a workflow run of each."""

    url: WebUrl | None = _optional("Page to start on.")
    max_screenshot_scrolling_times: Scrolls | None = _optional(
        "Scrolls per screenshot; 0 is the visible part."
    )


class LoginRunRequest(_BlockRequest):
    """A login with a stored credential (POST v1/run/tasks/login)."""

    kind: ClassVar[Kind] = "login"

    credential_type: Name = Field(
        description="Where the credential is stored.", examples=list(KNOWN_CREDENTIAL_TYPES)
    )
    prompt: Text | None = _optional("How to log in; Skyvern's own words without.")
    credential_id: Text | None = _optional("Skyvern's credential, cred_….")
    bitwarden_collection_id: Text | None = _optional("Bitwarden collection.")
    bitwarden_item_id: Text | None = _optional("Bitwarden item.")
    onepassword_vault_id: Text | None = _optional("1Password vault.")
    onepassword_item_id: Text | None = _optional("1Password item.")
    onepassword_totp_field_name: Text | None = _optional(
        "Field of the 1Password item that holds the TOTP secret."
    )
    azure_vault_name: Text | None = _optional("Azure vault.")
    azure_vault_username_key: Text | None = _optional("Key of the user name in the Azure vault.")
    azure_vault_password_key: Text | None = _optional("Key of the password in the Azure vault.")
    azure_vault_totp_secret_key: Text | None = _optional(
        "Key of the TOTP secret in the Azure vault."
    )


class DownloadFilesRunRequest(_BlockRequest):
    """A download of files from a site (POST v1/run/tasks/download_files)."""

    kind: ClassVar[Kind] = "download_files"

    navigation_goal: Prompt = Field(description="How to get to the files, in words.")
    download_suffix: Text | None = _optional("Name of the downloaded file.")
    download_timeout: Seconds | None = _optional("Seconds a download may take.")
    max_steps_per_run: Steps | None = _optional("Steps after which the run times out.")


#: The model of each kind of run request.
MODELS: Final[Mapping[Kind, type[RunRequest]]] = {
    model.kind: model
    for model in (TaskRunRequest, WorkflowRunRequest, LoginRunRequest, DownloadFilesRunRequest)
}
#: What `enqueue` takes.
AnyRunRequest = TaskRunRequest | WorkflowRunRequest | LoginRunRequest | DownloadFilesRunRequest


def _shown(name: str, value: Any) -> Any:
    """Make a field's value fit for a log: nothing sensitive, nothing long."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if name in SENSITIVE_FIELDS:
        return "***"
    if isinstance(value, str):
        if name.endswith("url"):  # user names, passwords and tokens are in the parts cut out
            value = _URL_SECRETS.sub("", value)
        return value if len(value) <= _REPR_CHARS else f"{value[:_REPR_CHARS]}…"
    return f"<{len(value)} entries>" if isinstance(value, (dict, list)) else value
