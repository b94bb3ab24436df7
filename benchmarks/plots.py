"""The plots of ``docs/performance.md``: ``python -m benchmarks.plots`` draws them from ``benchmarks/figures.json``.

Each is an SVG of grouped bars that follows the reader's light or dark colours. The same figures give the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.results import Results, Row, shown
from benchmarks.versions import ROOT

FIGURES: Final = ROOT / "benchmarks" / "figures.json"
PICTURES: Final = ROOT / "docs" / "pictures"

_WIDTH, _LABELS, _VALUES = 760, 230, 90
_BAR, _GAP, _TOP = 14, 12, 62
_STYLE: Final = """\
:root { color: #1f2328; --goal: #b42318; --s0: #8b949e; --s1: #a5b4d4; --s2: #1f6feb; --s3: #2da44e; --s4: #bf8700; }
@media (prefers-color-scheme: dark) {
  :root { color: #e6edf3; --goal: #ff7b72; --s0: #6e7681; --s1: #4a5f8a; --s2: #58a6ff; --s3: #3fb950; --s4: #d29922; }
}
text { fill: currentColor; font: 12px system-ui, sans-serif; }
.title { font-size: 15px; font-weight: 600; }
.goal { stroke: var(--goal); stroke-width: 2; }
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Bars below each other: what they show, and the goal in the same unit."""

    label: str
    bars: Mapping[str, float]
    goal: float | None = None


def bars(title: str, unit: str, series: Sequence[str], groups: Sequence[Group]) -> str:
    """The picture. ``series`` is the order of the bars in each group, and of their colours."""
    most = max((value for group in groups for value in (*group.bars.values(), group.goal or 0)), default=0) or 1
    scale = (_WIDTH - _LABELS - _VALUES) / most
    used = [name for name in series if any(name in group.bars for group in groups)]
    parts, y = [*_legend(title, series, used, any(group.goal for group in groups))], _TOP
    for group in groups:
        top = y
        for name in used:
            if name in group.bars:
                value = group.bars[name]
                width = max(value, 0) * scale
                parts.append(
                    f'<rect x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR - 2}"'
                    f' style="fill: var(--s{series.index(name)})"/>'
                )
                parts.append(f'<text x="{_LABELS + width + 5:.1f}" y="{y + 10}">{shown(value)} {escape(unit)}</text>')
                y += _BAR
        middle = (top + y) // 2 + 3
        parts.append(f'<text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{escape(group.label)}</text>')
        if group.goal is not None:
            x = f"{_LABELS + group.goal * scale:.1f}"
            parts.append(f'<line class="goal" x1="{x}" x2="{x}" y1="{top - 3}" y2="{y + 1}"/>')
        y += _GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" role="img" aria-label="{escape(title)}">'
    )
    return "\n".join([head, f"<style>\n{_STYLE}</style>", *parts, "</svg>", ""])


def _legend(title: str, series: Sequence[str], used: Sequence[str], goals: bool) -> list[str]:
    parts, x = [f'<text class="title" x="8" y="20">{escape(title)}</text>'], 8
    for name in used:
        parts.append(f'<rect x="{x}" y="32" width="12" height="12" style="fill: var(--s{series.index(name)})"/>')
        parts.append(f'<text x="{x + 17}" y="42">{escape(name)}</text>')
        x += 17 + 7 * len(name) + 18
    if goals:
        parts.append(f'<line class="goal" x1="{x + 6}" x2="{x + 6}" y1="31" y2="45"/>')
        parts.append(f'<text x="{x + 17}" y="42">goal</text>')
    return parts


def _cost(results: Results) -> str:
    rows = [row for row in results.rows if row.measure == "processor time" and row.at_least is not None]
    groups = [Group(row.work.partition(",")[0], _ratios(row), row.at_least) for row in rows]
    title = "Processor time of a bare proxy or server over the gateway's (more is better)"
    return bars(title, "", ("", "before", "after"), groups)


def _ratios(row: Row) -> dict[str, float]:
    found = {"before": row.ratio_before, "after": row.ratio_after}
    return {name: value for name, value in found.items() if value is not None}


def _latency(results: Results) -> str:
    rows = [row for row in results.rows if row.part == "rate" and row.measure != "rate"]
    groups = [Group(f"{row.work.partition(',')[0]}: {row.measure}", _values(row)) for row in rows]
    title = "Latency at a fixed rate, from the time at which a request was due (less is better)"
    return bars(title, "ms", ("pass-through", "before", "after", "nginx", "node"), groups)


def _values(row: Row) -> dict[str, float]:
    found = {row.beside_name: row.beside, "before": row.before, "after": row.after, **row.more}
    return {name: value for name, value in found.items() if value is not None}


def _providers(results: Results) -> str:
    rows = [row for row in results.rows if row.work.startswith("list of 50 over")]
    groups = [Group(row.work.removeprefix("list of 50 "), _ratios(row), row.at_most) for row in rows]
    title = "Processor time of a list over several providers, relative to one (less is better)"
    return bars(title, "×", ("", "before", "after"), groups)


PLOTS: Final[Mapping[str, Callable[[Results], str]]] = {
    "performance-cost.svg": _cost,
    "performance-latency.svg": _latency,
    "performance-providers.svg": _providers,
}


def draw(figures: Path = FIGURES, folder: Path = PICTURES) -> None:
    """Write all plots into the folder."""
    folder.mkdir(exist_ok=True)
    results = Results.read(figures)
    for name, plot in PLOTS.items():
        (folder / name).write_text(plot(results), "utf-8")


if __name__ == "__main__":
    draw()
