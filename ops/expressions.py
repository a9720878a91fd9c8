"""Expressions of Prometheus' language: where they stand, and which metrics they ask for."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

#: The folder of this room.
HERE = Path(__file__).parent
RULES = HERE / "prometheus" / "alerts.yml"
DASHBOARDS = HERE / "grafana" / "dashboards"

_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end", "atan2"}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"(?<![\w.:])([a-zA-Z_:][\w:]*)(?!\w)(?!\s*\()\s*(?:\{([^}]*)\})?")
_LABEL = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")


class Selector(NamedTuple):
    """A metric that an expression asks for, and the labels it is chosen by."""

    metric: str
    labels: frozenset[str]


def selectors(expression: str) -> list[Selector]:
    """Return which metrics an expression asks for."""
    text = _GROUPING.sub(" ", _STRING.sub('""', expression))
    text = re.sub(r"\[[^]]*\]", " ", text)
    return [
        Selector(name, frozenset(_LABEL.findall(labels)))
        for name, labels in _SELECTOR.findall(text)
        if name.lower() not in _WORDS
    ]


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards as they are provisioned, by their file's name."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard, its rows left out."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def asked() -> list[tuple[str, str]]:
    """Return every expression as (where it stands, the expression), variables filled in."""
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{name}: {panel['title']} {target['refId']}"
                found.append((where, filled(target["expr"])))
    return found


def filled(expression: str) -> str:
    """Put something in the place of Grafana's variables."""
    return expression.replace("$__rate_interval", "5m").replace("$__range", "1h")
