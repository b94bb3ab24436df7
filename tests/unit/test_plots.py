"""The plots of the documentation: the committed ones are those of the committed figures."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.plots import FIGURES, PICTURES, PLOTS, Group, bars, draw
from benchmarks.results import Results, described

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", PLOTS)
def test_committed_plot_is_drawn_from_the_committed_figures(name: str) -> None:
    """``make docs`` draws it again."""
    assert (PICTURES / name).read_text("utf-8") == PLOTS[name](Results.read(FIGURES))


@pytest.mark.parametrize("name", PLOTS)
def test_plot_follows_dark_colours_and_loads_nothing(name: str) -> None:
    text = (PICTURES / name).read_text("utf-8")
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert not [word for word in ("href", "url(", "<script", "<image") if word in text]


def test_page_shows_every_plot() -> None:
    page = (PICTURES.parent / "performance.md").read_text("utf-8")
    assert all(f"](pictures/{name})" in page for name in PLOTS)


def test_bars_have_the_lengths_of_their_figures_and_the_goal_its_place() -> None:
    groups = [Group("get", {"before": 0.5, "after": 1.0}, 0.75), Group("<list>", {"after": 0.25})]
    tree = ET.fromstring(bars("Cost", "×", ("before", "after"), groups))  # noqa: S314 (drawn here)
    widths = [float(bar.attrib["width"]) for bar in tree.iter(f"{SVG}rect") if bar.attrib["x"] == "230"]
    assert widths == [220.0, 440.0, 110.0]
    legend, goal = tree.iter(f"{SVG}line")
    assert float(goal.attrib["x1"]) == 230 + 0.75 * 440
    assert float(legend.attrib["y1"]) < float(goal.attrib["y1"])
    assert "<list>" in [text.text for text in tree.iter(f"{SVG}text")]


def test_drawing_twice_writes_the_same_files(tmp_path: Path) -> None:
    draw(FIGURES, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    draw(FIGURES, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert set(first) == set(PLOTS)


def test_short_run_is_described_as_such() -> None:
    made = {"at": "2026-11-29", "cores": 2, "python": "3.11.7", "machine": "x86_64", "loop": "asyncio"}
    run = Results({**made, "rounds": 2, "seconds": 0.15, "quick": True, "before": "abc1234"}, [])
    assert described(run) == (
        "Measured on 2026-11-29: 2 cores, Python 3.11.7 on x86_64, event loop asyncio, 2 rounds of 0.15 s; "
        "before is commit `abc1234`. It was a short run (`--quick`): the figures are far from exact."
    )
