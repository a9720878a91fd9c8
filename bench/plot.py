"""Horizontal bars as an SVG that reads on a light and on a dark page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

_WIDTH, _LABEL, _ROW = 720, 190, 26

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .first { fill: #2f6feb } .second { fill: #d29922 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .first { fill: #58a6ff } }
"""

#: A label, and two values that are drawn one behind the other.
Bar = tuple[str, float, float]


def write_bars(path: Path, charts: Sequence[tuple[str, Sequence[Bar]]], legend: str) -> None:
    """Write charts one below the other, each on a scale of its own.

    Args:
        path: the file; its folder is made.
        charts: each a title and its bars.
        legend: what the two colours and the unit are.
    """
    parts: list[str] = []
    y = 20
    for title, bars in charts:
        parts.append(_text(0, y, title, "title"))
        scale = (_WIDTH - _LABEL - 110) / max(first + second for _, first, second in bars)
        for label, first, second in bars:
            y += _ROW
            parts.append(_text(0, y, label))
            parts.append(_box(_LABEL, y, first * scale, "first"))
            parts.append(_box(_LABEL + first * scale, y, second * scale, "second"))
            end = _LABEL + (first + second) * scale + 6
            parts.append(_text(end, y, f"{first:.3f} + {second:.3f}"))
        y += 2 * _ROW
    parts.append(_text(0, y - 10, legend))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" role="img">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" class="{kind}">{escape(words)}</text>'


def _box(x: float, y: float, width: float, kind: str) -> str:
    return f'<rect x="{x:.1f}" y="{y - 13}" width="{width:.1f}" height="17" class="{kind}"/>'
