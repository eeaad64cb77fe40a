"""The results as one HTML page that needs nothing else: tables, and a plot of every run."""

from __future__ import annotations

from html import escape

from runsc.ab.report import seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 60em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child, td:last-child, th:last-child { text-align: left }
code { background: #f4f4f4; padding: .1em .3em }
"""
_WIDTH, _LINE, _LEFT, _RIGHT = 860, 34, 200, 20


def page(results: Sequence[dict[str, Any]]) -> str:
    """The page's text."""
    parts = [f"<!doctype html><meta charset=utf-8><title>runsc ab</title><style>{_STYLE}</style>"]
    for result in results:
        parts.append(f"<h2>{escape(result['name'])}</h2>")
        parts.append(f"<p><code>{escape(' '.join(result['command']))}</code></p>")
        parts += [plot(result), _table(result)]
    return "\n".join(parts) + "\n"


def plot(result: dict[str, Any]) -> str:
    """A dot for each run, a line for the median, a bar for its interval; from zero on, so that lengths
    compare."""
    variants = result["variants"]
    most = max(max(variant["wall"]["runs"]) for variant in variants) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    height = _LINE * len(variants) + 30
    parts = [f'<svg width="{_WIDTH}" height="{height}" font-size="13" font-family="sans-serif">']
    for index, variant in enumerate(variants):
        wall = variant["wall"]
        y = _LINE * index + _LINE / 2
        low, high, middle = (_LEFT + wall[key] * scale for key in ("low", "high", "median"))
        parts.append(f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(variant["name"])}</text>')
        parts.append(
            f'<rect x="{low:.1f}" y="{y - 9}" width="{max(high - low, 1):.1f}" height="18" fill="#9ecae1"/>'
        )
        parts += [
            f'<circle cx="{_LEFT + run * scale:.1f}" cy="{y}" r="3" fill="#3182bd" fill-opacity=".5"/>'
            for run in wall["runs"]
        ]
        parts.append(
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 12}" y2="{y + 12}" stroke="#08306b" '
            'stroke-width="2"/>'
        )
    base = _LINE * len(variants) + 4
    parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}" stroke="#888"/>')
    for quarter in range(5):
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * quarter / 4
        label = seconds(most * quarter / 4) if quarter else "0"
        parts.append(f'<text x="{x:.1f}" y="{base + 18}" text-anchor="middle" fill="#555">{label}</text>')
    return "".join([*parts, "</svg>"])


def _table(result: dict[str, Any]) -> str:
    heads = ("variant", "median", "95 % interval", "CPU", "ratio", "guest", "handlers", "switch", "verdict")
    rows = ["<tr>" + "".join(f"<th>{head}" for head in heads)]
    for variant in result["variants"]:
        wall, split = variant["wall"], variant["split"]
        where = [seconds(split[key]) for key in ("guest", "handler", "switch")] if split else ["", "", ""]
        cells = [
            escape(variant["name"]),
            seconds(wall["median"]),
            f"{seconds(wall['low'])} - {seconds(wall['high'])}",
            seconds(variant["cpu"]),
            f"{variant['ratio']:.2f}",
            *where,
            variant["verdict"],
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}" for cell in cells))
    return "<table>" + "\n".join(rows) + "</table>"
