"""The JSON of submissions: fields, types and defaults as the real server has them."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WebsocketUrl,
    field_serializer,
    field_validator,
    model_validator,
)

from simulator.model.urls import normalised

_MOST_SCROLLS = 1000
_MOST_MINUTES = 480
_MOST_FILES = 50

#: Limits of `run_metadata`: entries, characters of a key, of a value.
_MOST_ENTRIES, _LONGEST_KEY, _LONGEST_VALUE = 20, 64, 256
_RESERVED_VALUES = frozenset({"__untagged__", "__other__"})

_COUNTRIES = frozenset(
    [
        *("US", "AR", "AU", "BR", "CA", "DE", "ES", "FR", "GB", "IE", "IN", "IT", "JP", "MX"),
        *("NL", "NZ", "PH", "KR", "SA", "TR", "ZA"),
    ]
)


class Engine(StrEnum):
    """The engine of a task."""

    ONE = "skyvern-1.0"
    TWO = "skyvern-2.0"
    THREE = "skyvern-3.0"
    OPENAI = "openai-cua"
    ANTHROPIC = "anthropic-cua"
    UI_TARS = "ui-tars"
    YUTORI = "yutori-navigator"


class SimulatedProxyLocation(StrEnum):
    """Where a run's browser seems to be."""

    RESIDENTIAL = "RESIDENTIAL"
    US_CA = "US-CA"
    US_NY = "US-NY"
    US_TX = "US-TX"
    US_FL = "US-FL"
    US_WA = "US-WA"
    RESIDENTIAL_ES = "RESIDENTIAL_ES"
    RESIDENTIAL_IE = "RESIDENTIAL_IE"
    RESIDENTIAL_GB = "RESIDENTIAL_GB"
    RESIDENTIAL_IN = "RESIDENTIAL_IN"
    RESIDENTIAL_JP = "RESIDENTIAL_JP"
    RESIDENTIAL_FR = "RESIDENTIAL_FR"
    RESIDENTIAL_DE = "RESIDENTIAL_DE"
    RESIDENTIAL_NZ = "RESIDENTIAL_NZ"
    RESIDENTIAL_ZA = "RESIDENTIAL_ZA"
    RESIDENTIAL_AR = "RESIDENTIAL_AR"
    RESIDENTIAL_AU = "RESIDENTIAL_AU"
    RESIDENTIAL_BR = "RESIDENTIAL_BR"
    RESIDENTIAL_TR = "RESIDENTIAL_TR"
    RESIDENTIAL_CA = "RESIDENTIAL_CA"
    RESIDENTIAL_MX = "RESIDENTIAL_MX"
    RESIDENTIAL_IT = "RESIDENTIAL_IT"
    RESIDENTIAL_NL = "RESIDENTIAL_NL"
    RESIDENTIAL_PH = "RESIDENTIAL_PH"
    RESIDENTIAL_KR = "RESIDENTIAL_KR"
    RESIDENTIAL_SA = "RESIDENTIAL_SA"
    RESIDENTIAL_ISP = "RESIDENTIAL_ISP"
    NONE = "NONE"


# A refusal names the class, as the server's does: `loc` of its 422 has `str-enum[ProxyLocation]`.
SimulatedProxyLocation.__qualname__ = "ProxyLocation"


class SimulatedCredentialType(StrEnum):
    """Where a login's credential is kept."""

    SKYVERN = "skyvern"
    BITWARDEN = "bitwarden"
    ONEPASSWORD = "1password"
    AZURE = "azure_vault"


class BrowserType(StrEnum):
    """A browser of a session's or a workflow run's choice."""

    MSEDGE = "msedge"
    CHROME = "chrome"
    STEALTH_CHROMIUM = "stealth-chromium"


class GeoTarget(BaseModel):
    """A location to browse from, down to the city."""

    country: str = Field(min_length=2, max_length=2)
    subdivision: str | None = Field(default=None, max_length=10)
    city: str | None = Field(default=None, max_length=100)
    isISP: bool = False  # noqa: N815 # the field's own name

    @field_validator("country")
    @classmethod
    def _known_country(cls, country: str) -> str:
        if country.upper() not in _COUNTRIES:
            raise ValueError("not a supported country")
        return country.upper()

    @field_validator("subdivision")
    @classmethod
    def _without_country(cls, subdivision: str | None) -> str | None:
        return subdivision and subdivision.upper().rpartition("-")[2]


def _scrolls(value: int | None) -> int | None:
    return None if value is None else max(0, min(value, _MOST_SCROLLS))


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("an integer is expected, not a boolean")  # noqa: TRY004 # pydantic's kind
    return value


def _run_with(value: object) -> object:
    return None if value is None else "code" if value in ("code", "code_v2") else "agent"


_BROWSER_ADDRESS: TypeAdapter[Any] = TypeAdapter(AnyHttpUrl | WebsocketUrl)


def _browser_address(value: str | None) -> str | None:
    if value:
        try:
            _BROWSER_ADDRESS.validate_python(value)
        except ValidationError:
            raise ValueError("expected an HTTP(S) or WebSocket URL with a host") from None
    return value


def _browser_type(value: object) -> object:
    if value is not None and value not in list(BrowserType):
        raise ValueError(f"expected one of: {', '.join(BrowserType)}")
    return value


def _address(value: str | None, info: ValidationInfo) -> str | None:
    return normalised(value, info.field_name or "url") if value else value


def _metadata(value: dict[str, str] | None) -> dict[str, str] | None:
    if value is None:
        return None
    if len(value) > _MOST_ENTRIES:
        raise ValueError(f"at most {_MOST_ENTRIES} entries")
    kept = {}
    for key, text in ((key.strip(), text.strip()) for key, text in value.items()):
        if not key or not text:
            continue
        if len(key) > _LONGEST_KEY:
            raise ValueError(f"keys of at most {_LONGEST_KEY} characters")
        if len(text) > _LONGEST_VALUE:
            raise ValueError(f"values of at most {_LONGEST_VALUE} characters")
        if not key.startswith("skyvern."):
            kept[key] = text
    if _RESERVED_VALUES & set(kept.values()):
        raise ValueError(f"none of {', '.join(sorted(_RESERVED_VALUES))}: they are reserved")
    return kept or None


Address = Annotated[str | None, AfterValidator(_address)]
BrowserAddress = Annotated[str | None, AfterValidator(_browser_address)]
FileIds = Annotated[list[str] | None, Field(max_length=_MOST_FILES)]
Proxy = SimulatedProxyLocation | GeoTarget | dict[str, Any] | None
RunWith = Annotated[str | None, BeforeValidator(_run_with)]
Scrolls = Annotated[int | None, AfterValidator(_scrolls)]
Headers = dict[str, str] | None


class _Fields(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    browser_session_id: str | None = None
    browser_profile_id: str | None = None
    start_fresh_browser: bool = False
    browser_address: BrowserAddress = None
    cdp_connect_headers: Headers = None

    @field_serializer("cdp_connect_headers", check_fields=False)
    def _masked(self, headers: Headers) -> Headers:
        return headers and dict.fromkeys(headers, "***")

    @model_validator(mode="after")
    def _fresh_stands_alone(self) -> Self:
        for name in ("browser_session_id", "browser_profile_id", "browser_address"):
            if self.start_fresh_browser and getattr(self, name):
                raise ValueError(f"start_fresh_browser excludes {name}")
        return self


class TaskFields(_Fields):
    """The body of `POST /v1/run/tasks`, and its echo; unknown fields are ignored."""

    prompt: str
    url: Address = None
    engine: Engine = Engine.ONE
    title: str | None = None
    proxy_location: Proxy = SimulatedProxyLocation.RESIDENTIAL
    data_extraction_schema: dict[Any, Any] | list[Any] | str | None = None
    error_code_mapping: dict[str, str] | None = None
    max_steps: int | None = None
    webhook_url: Address = None
    totp_identifier: str | None = None
    totp_url: Address = None
    model: dict[str, Any] | None = None
    extra_http_headers: Headers = None
    publish_workflow: bool = False
    include_action_history_in_verification: bool | None = False
    max_screenshot_scrolls: Scrolls = None
    run_with: RunWith = None
    file_ids: FileIds = None

    @model_validator(mode="after")
    def _published_by_two(self) -> Self:
        if self.publish_workflow:
            self.engine = Engine.TWO
        return self


class WorkflowFields(_Fields):
    """The body of `POST /v1/run/workflows` and `/v1/run/agents`, and its echo."""

    workflow_id: str = Field(validation_alias=AliasChoices("agent_id", "workflow_id"))
    parameters: dict[str, Any] | None = None
    title: str | None = None
    proxy_location: Proxy = SimulatedProxyLocation.RESIDENTIAL
    webhook_url: Address = None
    totp_url: Address = None
    totp_identifier: str | None = None
    reuse_browser_session: bool | None = None
    max_screenshot_scrolls: Scrolls = None
    max_elapsed_time_minutes: Annotated[int | None, BeforeValidator(_no_bool)] = Field(
        default=None, ge=1, le=_MOST_MINUTES
    )
    extra_http_headers: Headers = None
    ai_fallback: bool | None = None
    run_with: RunWith = None
    browser_type: Annotated[str | None, BeforeValidator(_browser_type)] = None
    run_metadata: Annotated[dict[str, str] | None, AfterValidator(_metadata)] = None
    file_ids: FileIds = None

    @model_validator(mode="after")
    def _attached_browser_has_its_type(self) -> Self:
        if self.browser_type and (self.browser_session_id or self.browser_address):
            raise ValueError("browser_type excludes browser_session_id and browser_address")
        return self


class _BlockFields(_Fields):
    url: str | None = None
    webhook_url: Address = None
    proxy_location: SimulatedProxyLocation | None = None
    totp_identifier: str | None = None
    totp_url: str | None = None
    extra_http_headers: Headers = None
    max_screenshot_scrolling_times: Scrolls = None


class LoginFields(_BlockFields):
    """The body of `POST /v1/run/tasks/login`."""

    credential_type: SimulatedCredentialType
    prompt: str | None = None
    credential_id: str | None = None
    bitwarden_collection_id: str | None = None
    bitwarden_item_id: str | None = None
    onepassword_vault_id: str | None = None
    onepassword_item_id: str | None = None
    onepassword_totp_field_name: str | None = None
    azure_vault_name: str | None = None
    azure_vault_username_key: str | None = None
    azure_vault_password_key: str | None = None
    azure_vault_totp_secret_key: str | None = None


class DownloadFields(_BlockFields):
    """The body of `POST /v1/run/tasks/download_files`."""

    navigation_goal: str
    download_suffix: str | None = None
    download_timeout: float | None = None
    max_steps_per_run: int | None = None


class SessionFields(BaseModel):
    """The body of `POST /v1/browser_sessions`; `timeout` is in minutes."""

    url: Address = None
    timeout: int | None = Field(default=60, ge=5)
    browser_type: BrowserType | None = None
    browser_profile_id: str | None = Field(default=None, pattern="^bp_")
    generate_browser_profile: bool = False


class ExtendFields(BaseModel):
    """The body of `POST /v1/browser_sessions/{id}/extend`."""

    additional_minutes: int = Field(ge=1)
