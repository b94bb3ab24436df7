"""The figures of a run: each is a row with its goal, in a table and in a JSON file."""

import json
import math
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

FORMAT: Final = 1
HEAD: Final = ("work", "measure", "beside", "before", "after", "ratio before", "ratio after", "goal", "result")
FIGURES: Final = ("before", "after", "ratio before", "ratio after")
_UNKNOWN: Final = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``beside`` is that of what the gateway is compared with, ``beside_name``. The ratios are medians of
    the ratios of the rounds, and read as the goal does; ``at_least`` is a goal for the ratio, or for the value of a row
    without ratio, and ``at_most`` likewise. ``more`` are the figures of other proxies. ``part`` groups rows."""

    part: str
    work: str
    measure: str
    unit: str
    after: float | None
    before: float | None = None
    beside: float | None = None
    beside_name: str = ""
    ratio_before: float | None = None
    ratio_after: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        figure = self.after if self.ratio_after is None else self.ratio_after
        if figure is None or math.isnan(figure):
            return None
        if self.at_least is not None:
            return figure >= self.at_least
        return None if self.at_most is None else figure <= self.at_most

    def cells(self) -> tuple[str, ...]:
        """The row as text, below :data:`HEAD`."""
        others = ({} if self.beside is None else {self.beside_name: self.beside}) | dict(self.more)
        beside = ", ".join(f"{shown(value)} {name}" for name, value in others.items()) or _UNKNOWN
        goal = _UNKNOWN
        if (self.at_least, self.at_most) != (None, None):
            bound, sign = (self.at_most, "≤") if self.at_least is None else (self.at_least, "≥")
            goal = f"{sign} {bound:g}"
        mark = {None: "", True: "met", False: "missed"}[self.met]
        figures = (self.before, self.after, self.ratio_before, self.ratio_after)
        measure = f"{self.measure}, {self.unit}" if self.unit else self.measure
        return (self.work, measure, beside, *map(shown, figures), goal, mark)


def shown(value: float | None) -> str:
    """A figure with three digits."""
    if value is None or math.isnan(value):
        return _UNKNOWN
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) < 10 else 1}f}"


@dataclass(frozen=True, slots=True)
class Results:
    """The rows of a run, and how it was made."""

    made: Mapping[str, Any]
    rows: Sequence[Row]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what :meth:`write` has written."""
        document = json.loads(file.read_text("utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"{file} has the format {document['format']}, not {FORMAT}")
        return cls(document["made"], [Row(**row) for row in document["rows"]])

    def write(self, file: Path) -> None:
        rows = [{name: _rounded(value) for name, value in asdict(row).items()} for row in self.rows]
        document = {"format": FORMAT, "made": dict(self.made), "rows": rows}
        file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")

    def parts(self) -> Mapping[str, Sequence[Row]]:
        """The rows by part, in their order."""
        names = dict.fromkeys(row.part for row in self.rows)
        return {name: [row for row in self.rows if row.part == name] for name in names}

    def find(self, work: str, measure: str) -> Row | None:
        """The row of a work and a measure."""
        return next((row for row in self.rows if (row.work, row.measure) == (work, measure)), None)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.5g}")
    return {name: _rounded(each) for name, each in value.items()} if isinstance(value, dict) else value


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as a table of Markdown."""
    yield f"| {' | '.join(HEAD)} |"
    yield f"|{''.join(' ---: |' if name in FIGURES else ' --- |' for name in HEAD)}"
    for row in rows:
        cells = list(row.cells())
        cells[-1] = "**missed**" if row.met is False else cells[-1]
        yield f"| {' | '.join(cells)} |"


def described(results: Results) -> str:
    """How the figures were made, as a sentence."""
    made = results.made
    before = f"; before is commit `{made['before']}`" if "before" in made else ""
    quick = " It was a short run (`--quick`): the figures are far from exact." if made["quick"] else ""
    where = f"{made['cores']} cores, Python {made['python']} on {made['machine']}, event loop {made['loop']}"
    return f"Measured on {made['at']}: {where}, {made['rounds']} rounds of {made['seconds']:g} s{before}.{quick}"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
