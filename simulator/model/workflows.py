"""Workflows: those that exist, their declarations, and how a run's parameters are cast."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from simulator.replies import ORGANIZATION, Json, RefusedError, stamp

#: The block at which a run pauses until a person decides. The real one fails without SMTP.
PERSON = "human_interaction"


class ParameterType(StrEnum):
    """The types of declared parameters."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    JSON = "json"
    FILE_URL = "file_url"
    CREDENTIAL_ID = "credential_id"


class ParameterFields(BaseModel):
    """One declared parameter."""

    parameter_type: Literal["workflow"]
    key: str
    description: str | None = None
    workflow_parameter_type: ParameterType
    default_value: Any = None


class BlockFields(BaseModel):
    """One block; other fields are shown as they were sent."""

    model_config = ConfigDict(extra="allow")

    block_type: str
    label: str

    @property
    def seconds(self) -> float:
        """How long it waits, if it is a wait block."""
        wait = (self.model_extra or {}).get("wait_sec", 0)
        return float(wait) if isinstance(wait, int | float) else 0.0


class DefinitionFields(BaseModel):
    """Parameters and blocks of a workflow; other kinds of parameters are refused."""

    parameters: list[ParameterFields]
    blocks: list[BlockFields]


class JsonDefinition(BaseModel):
    """A workflow as JSON."""

    title: str
    description: str | None = None
    workflow_definition: DefinitionFields


class WorkflowDefinitionFields(BaseModel):
    """The body of `POST /v1/workflows`; only JSON, no YAML."""

    json_definition: JsonDefinition


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow of the account.

    Args:
        permanent_id: its `wpid_…`.
        version_id: its `w_…`.
        title: its runs' title.
        declared: its parameters; None: whatever a run gives is declared, with the type it has.
        blocks: the steps of a run.
        own_of_a_call: it was made for one login or download.
        credential: the parameter of a login's that names its credential.
        created: unix seconds.
    """

    permanent_id: str
    version_id: str
    title: str
    declared: tuple[ParameterFields, ...] | None = None
    blocks: tuple[BlockFields, ...] = ()
    own_of_a_call: bool = False
    credential: Json | None = None
    created: float = 0.0

    @property
    def seconds(self) -> float | None:
        """How long a run takes that only waits, pauses apart; None for one that does more."""
        if not self.blocks or {block.block_type for block in self.blocks} - {"wait", PERSON}:
            return None
        return sum(block.seconds for block in self.blocks)

    @property
    def pause(self) -> float | None:
        """After how many seconds a run waits for a person; None = it does not."""
        kinds = [block.block_type for block in self.blocks]
        if PERSON not in kinds:
            return None
        return sum(block.seconds for block in self.blocks[: kinds.index(PERSON)])

    @property
    def fails(self) -> bool:
        """Whether a run fails without a network: a block sends a request."""
        return any(block.block_type == "http_request" for block in self.blocks)

    @property
    def searchable(self) -> list[str]:
        """Names and descriptions of the parameters, which a search reads."""
        return [text for one in self.declared or () for text in (one.key, one.description) if text]


@dataclass(frozen=True, slots=True)
class Parameters:
    """The cast parameters of a workflow run.

    Args:
        shown: as `get_run` echoes them.
        stored: as texts, which a search reads.
        unreadable: why the run cannot be shown; the server stores what it cannot read back.
    """

    shown: Json
    stored: tuple[str, ...]
    unreadable: str | None = None


@dataclass(slots=True)
class Workflows:
    """All workflows of the account.

    Args:
        any_known: an unknown id is a workflow, too, which declares what `assumed` says.
        assumed: the names it declares; empty means whatever a run gives.
    """

    any_known: bool = True
    assumed: frozenset[str] = frozenset()
    _by_id: dict[str, Workflow] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(100_000_001, 2))

    def create(self, definition: JsonDefinition, now: float) -> Workflow:
        """Make a workflow."""
        inner = definition.workflow_definition
        return self._add(
            self._id("wpid"),
            definition.title,
            declared=tuple(inner.parameters),
            blocks=tuple(inner.blocks),
            created=now,
        )

    def create_for(
        self, title: str, block: BlockFields, credential: Json | None, now: float
    ) -> Workflow:
        """Make the workflow of one login or download.

        Args:
            title: its title.
            block: its only block.
            credential: the parameter that names where a login's credential is kept.
            now: unix seconds.
        """
        return self._add(
            self._id("wpid"),
            title,
            declared=(),
            blocks=(block,),
            own_of_a_call=True,
            credential=credential,
            created=now,
        )

    def get(self, workflow_id: str) -> Workflow:
        """Find a workflow.

        Raises:
            RefusedError: 404, there is none.
        """
        known = self._by_id.get(workflow_id)
        if known is not None:
            return known
        if not self.any_known:
            detail = f"Workflow not found. workflow_permanent_id={workflow_id}"
            raise RefusedError(404, detail)
        declared = tuple(
            ParameterFields(
                parameter_type="workflow",
                key=name,
                workflow_parameter_type=ParameterType.STRING,
                default_value="",
            )
            for name in sorted(self.assumed)
        )
        return self._add(workflow_id, "Simulated workflow", declared=declared or None)

    def _add(self, permanent_id: str, title: str, **fields: Any) -> Workflow:
        made = Workflow(permanent_id, self._id("w"), title, **fields)
        self._by_id[permanent_id] = made
        return made

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers)}"


def cast(workflow: Workflow, given: Mapping[str, Any]) -> Parameters:
    """Cast a run's parameters to their declared types, add defaults, drop undeclared ones.

    Raises:
        RefusedError: 400, one is missing or of another type.
    """
    if workflow.declared is None:
        return Parameters(dict(given), tuple(_stored(value) for value in given.values()))
    shown: Json = {}
    stored: list[str] = []
    unreadable = None
    for parameter in workflow.declared:
        value = given.get(parameter.key)
        value = parameter.default_value if value is None else value
        if value is None:
            where = f"workflow {workflow.permanent_id}"
            raise RefusedError(400, f"Missing value for parameter {parameter.key} in {where}")
        kind = parameter.workflow_parameter_type
        _converted(kind, value)
        text = _stored(value)
        stored.append(text)
        try:
            shown[parameter.key] = _converted(kind, text)
        except RefusedError as refusal:
            unreadable = unreadable or str(refusal.detail)
    return Parameters(shown, tuple(stored), unreadable)


def _converted(kind: ParameterType, value: Any) -> Any:
    try:
        return _CONVERTERS[kind](value)
    except (TypeError, ValueError, OverflowError):
        expected = f"Invalid workflow parameter. Expected parameter type: {kind}"
        raise RefusedError(400, f"{expected}. Value: {value}.") from None


def _as_bool(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text in ("true", "1")


def _as_json(value: Any) -> Any:
    return value if isinstance(value, dict | list) else json.loads(value)


_CONVERTERS: dict[ParameterType, Any] = {
    ParameterType.STRING: str,
    ParameterType.INTEGER: int,
    ParameterType.FLOAT: float,
    ParameterType.BOOLEAN: _as_bool,
    ParameterType.JSON: _as_json,
    ParameterType.FILE_URL: lambda value: value,
    ParameterType.CREDENTIAL_ID: lambda value: value,
}


def _stored(value: Any) -> str:
    """A value as the server's database keeps it."""
    if isinstance(value, bool):
        return str(int(value))
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def workflow_shown(workflow: Workflow) -> Json:
    """A workflow as the server shows it."""
    times = _times(stamp(workflow.created))
    own: Json = {"workflow_id": workflow.version_id}
    outputs = {
        block.label: {
            "parameter_type": "output",
            "key": f"{block.label}_output",
            "description": f"Output parameter for block {block.label}",
            "output_parameter_id": f"op_{workflow.version_id[2:]}{number}",
            **own,
            **times,
        }
        for number, block in enumerate(workflow.blocks)
    }
    shown: Json = {
        **own,
        "organization_id": ORGANIZATION,
        "title": workflow.title,
        "workflow_permanent_id": workflow.permanent_id,
        "agent_id": workflow.permanent_id,
        # A login's or download's is made empty first.
        "version": 2 if workflow.own_of_a_call else 1,
        "workflow_definition": {
            "version": 1,
            "parameters": [*outputs.values(), *_parameters_shown(workflow)],
            "blocks": [
                _block_shown(block, outputs[block.label], _credential_shown(workflow))
                for block in workflow.blocks
            ],
            **dict.fromkeys(_NULLS_OF_A_DEFINITION),
        },
        "status": "auto_generated" if workflow.own_of_a_call else "published",
        "run_with": "agent",
        "ai_fallback": True,
        "cache_key": "default",
        "code_version": 2,
        **times,
        **dict.fromkeys(_NULLS),
        **dict.fromkeys(_FALSE, False),
    }
    if workflow.own_of_a_call:
        shown |= {"proxy_location": "RESIDENTIAL", "extra_http_headers": {}}
    return shown


def _times(at: str) -> Json:
    return {"created_at": at, "modified_at": at, "deleted_at": None}


def _credential_shown(workflow: Workflow) -> list[Json]:
    if workflow.credential is None:
        return []
    own: Json = {"key": "credential", "workflow_id": workflow.version_id}
    times = _times(f"{stamp(workflow.created)}Z")
    return [{"description": None, **workflow.credential, **own, **times}]


def _parameters_shown(workflow: Workflow) -> list[Json]:
    return _credential_shown(workflow) + [
        {
            "parameter_type": "workflow",
            "key": parameter.key,
            "description": parameter.description,
            "workflow_parameter_id": f"wp_{workflow.version_id[2:]}{number}",
            "workflow_parameter_type": parameter.workflow_parameter_type,
            "workflow_id": workflow.version_id,
            "default_value": parameter.default_value,
            **_times(f"{stamp(workflow.created)}Z"),
        }
        for number, parameter in enumerate(workflow.declared or ())
    ]


def _block_shown(block: BlockFields, output: Json, credential: list[Json]) -> Json:
    return {
        "next_block_label": None,
        "continue_on_failure": False,
        "model": None,
        "disable_cache": False,
        "ignore_workflow_system_prompt": False,
        "next_loop_on_failure": False,
        "parameters": credential,
        **block.model_dump(),
        "output_parameter": output,
    }


_NULLS_OF_A_DEFINITION = (
    *("finally_block_label", "error_code_mapping", "retry_policy", "workflow_system_prompt"),
    "completion_contract",
)
_NULLS = (
    *("description", "proxy_location", "webhook_callback_url", "totp_verification_url"),
    *("totp_identifier", "browser_profile_id", "browser_profile_key", "model"),
    *("max_screenshot_scrolls", "max_elapsed_time_minutes", "extra_http_headers"),
    *("cdp_connect_headers", "browser_type", "sequential_key", "folder_id", "import_error"),
    *("created_by", "edited_by", "original_created_by", "original_created_at"),
)
_FALSE = (
    *("is_saved_task", "is_template", "persist_browser_session", "reuse_browser_session"),
    *("mask_secrets", "pin_saved_session_ip", "adaptive_caching", "enable_self_healing"),
    *("generate_script_on_terminal", "run_sequentially", "copilot_authored"),
)
