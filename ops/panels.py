"""Dashboards from a compact description, so that all of them look and behave alike.

Plain dicts: grafanalib was released last in January 2024, and Grafana's own SDK has a release for
each of Grafana's; what is used here of the format fits a page and has been the same for years.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["stat", "timeseries", "bargauge", "table", "state-timeline"]

_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_COLUMNS = 24
_HEIGHTS: dict[Kind, int] = {
    "stat": 4,
    "timeseries": 8,
    "bargauge": 8,
    "table": 8,
    "state-timeline": 8,
}
#: Chooses the accounts that are picked at the top of a dashboard.
CHOSEN = 'account=~"$account"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure.

    Args:
        asks: (expression, legend), the legend with `{{label}}`.
        says: what it shows and what is good, for people.
        unit: as Grafana names it: short, s, bytes, percentunit, reqps, ….
        width: of 24 columns.
        warns, alarms: from which value on it is orange, red; below for `falling`.
        falling: whether small is bad.
        words: what a value is called: {0: ("no", "red")}.
        runbook: the alert that goes with it.
        stacks: whether the lines add up.
    """

    title: str
    asks: Sequence[tuple[str, str]]
    says: str
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 8
    warns: float | None = None
    alarms: float | None = None
    falling: bool = False
    words: dict[int, tuple[str, str]] | None = None
    runbook: str = ""
    stacks: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard.

    Args:
        uid: its address, and its file's name.
        rows: (title, panels), from top to bottom.
    """

    uid: str
    title: str
    says: str
    rows: Sequence[tuple[str, Sequence[Panel]]]

    def as_json(self) -> Json:
        """Return it as Grafana provisions it."""
        return {
            "uid": self.uid,
            "title": f"runqueue: {self.title}",
            "description": self.says,
            "tags": ["runqueue"],
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "templating": {"list": [_accounts()]},
            "annotations": {"list": [_alerts()]},
            "links": [_siblings()],
            "panels": list(_placed(self.rows)),
        }


def _placed(rows: Sequence[tuple[str, Sequence[Panel]]]) -> list[Json]:
    """Lay panels out from left to right, row after row."""
    placed: list[Json] = []
    top = 0
    for title, panels in rows:
        at = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        row = {"id": len(placed) + 1, "type": "row", "title": title, "gridPos": at}
        placed.append({**row, "collapsed": False, "panels": []})
        top += 1
        left = height = 0
        for panel in panels:
            if left + panel.width > _COLUMNS:
                top, left, height = top + height, 0, 0
            grid = {"x": left, "y": top, "w": panel.width, "h": _HEIGHTS[panel.kind]}
            placed.append(_panel(panel, len(placed) + 1, grid))
            left, height = left + panel.width, max(height, _HEIGHTS[panel.kind])
        top += height
    return placed


def _panel(panel: Panel, number: int, grid: Json) -> Json:
    links = []
    if panel.runbook:
        url = f"docs/runbooks.md#{panel.runbook.lower()}"
        links = [{"title": f"Runbook: {panel.runbook}", "url": url, "targetBlank": True}]
    says = panel.says + (f" Alert: {panel.runbook}." if panel.runbook else "")
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": says,
        "datasource": _SOURCE,
        "gridPos": grid,
        "links": links,
        "targets": [_target(panel, i, *ask) for i, ask in enumerate(panel.asks)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
        "transformations": _TABLE if panel.kind == "table" else [],
    }


def _target(panel: Panel, number: int, expression: str, legend: str) -> Json:
    is_now = panel.kind in {"stat", "bargauge", "table"}
    return {
        "refId": chr(ord("A") + number),
        "datasource": _SOURCE,
        "expr": expression,
        "legendFormat": legend,
        "instant": is_now and panel.kind != "stat",
        "range": not is_now or panel.kind == "stat",
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _field(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "red" if panel.falling else "green", "value": None}]
    for value, color in ((panel.warns, "orange"), (panel.alarms, "red")):
        if value is not None:
            steps.append({"color": "green" if panel.falling else color, "value": value})
    if panel.warns is panel.alarms is None:
        steps = [{"color": "blue", "value": None}]
    field: Json = {
        "unit": panel.unit,
        "min": 0,
        "noValue": "none",
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "mappings": _mappings(panel.words or {}),
    }
    if panel.kind == "timeseries":
        field["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacks else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacks else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.alarms is not None else "off"},
        }
    return field


def _mappings(words: dict[int, tuple[str, str]]) -> list[Json]:
    options = {str(value): {"text": text, "color": color} for value, (text, color) in words.items()}
    return [{"type": "value", "options": options}] if options else []


def _options(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    if panel.kind == "state-timeline":
        return {"mergeValues": True, "showValue": "never", "legend": {"showLegend": True}}
    calculated = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "bargauge":
        return {"reduceOptions": calculated, "orientation": "horizontal", "displayMode": "basic"}
    return {"reduceOptions": calculated, "colorMode": "background", "graphMode": "area"}


_TABLE = [
    {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True, "__name__": True, "instance": True, "job": True}
        },
    }
]


def _accounts() -> Json:
    return {
        "name": "account",
        "label": "Account",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(runqueue_in_flight, account)", "refId": "accounts"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _alerts() -> Json:
    return {
        "name": "Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Runqueue.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{account}}",
    }


def _siblings() -> Json:
    return {
        "title": "runqueue",
        "type": "dashboards",
        "tags": ["runqueue"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
    }
