"""The figures of the benchmarks: goals, tables, their file, and how latencies at a fixed rate are counted."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench import compared
from benchmarks.load import _Due, percentile
from benchmarks.proxies import nginx_settings
from benchmarks.results import Results, Row, markdown
from benchmarks.upstream import MANY, RUNTIMES, listed

ROW: dict[str, Any] = {"part": "goals", "work": "get", "measure": "processor time", "unit": "µs"}


def test_figures_are_medians_and_ratios_are_medians_of_the_rounds() -> None:
    figures = {"pass-through": [10.0, 30.0, 20.0], "before": [40.0, 40.0, 40.0], "after": [20.0, 30.0, 80.0]}
    row = compared({**ROW, "at_least": 0.5}, {**figures, "node": [7.0, 8.0, 9.0]}, "pass-through", inverse=True)
    assert (row.beside, row.before, row.after, row.more) == (20.0, 40.0, 30.0, {"node": 8.0})
    assert (row.ratio_before, row.ratio_after) == (0.5, 0.5)
    assert row.met is True


@pytest.mark.parametrize(
    ("goal", "ratio", "met"),
    [
        ({"at_least": 1.0}, 0.99, False),
        ({"at_least": 1.0}, 1.0, True),
        ({"at_most": 1.2}, 1.21, False),
        ({"at_most": 1.2}, 1.2, True),
        ({}, 1.0, None),
    ],
)
def test_goal_is_for_the_ratio(goal: dict[str, float], ratio: float, met: bool | None) -> None:
    assert Row(**ROW, after=5.0, ratio_after=ratio, **goal).met is met


def test_goal_of_a_row_without_ratio_is_for_the_figure_itself() -> None:
    assert Row(**ROW, after=91.0, at_most=90.0).met is False
    assert Row(**ROW, after=float("nan"), at_most=90.0).met is None


def test_missed_goal_is_marked_in_the_table() -> None:
    row = Row(**ROW, after=1234.5, beside=617.0, beside_name="pass-through", ratio_after=0.5, at_least=1.0)
    assert list(markdown([row]))[2:] == [
        "| get | processor time, µs | 617 pass-through | – | 1,234 | – | 0.50 | ≥ 1 | **missed** |"
    ]


def test_results_are_the_same_after_they_were_written_and_read(tmp_path: Path) -> None:
    rows = [Row(**ROW, after=1.5, more={"node": 2.25}), Row(**ROW, after=float("nan"))]
    Results({"rounds": 3}, rows).write(tmp_path / "figures.json")
    read = Results.read(tmp_path / "figures.json")
    assert read == Results({"rounds": 3}, [rows[0], Row(**ROW, after=None)])


def test_file_of_another_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text('{"format": 0, "made": {}, "rows": []}')
    with pytest.raises(ValueError, match="has the format 0"):
        Results.read(file)


class Asked:
    def __init__(self) -> None:
        self.due: list[float] = []

    def ask_for(self, due: float) -> None:
        self.due.append(due)


def test_request_that_waits_for_a_connection_keeps_the_time_at_which_it_was_due() -> None:
    """So its latency includes the wait, and a server that pauses is not asked less."""
    requests, client = _Due(), Asked()
    requests.free(client)  # type: ignore[arg-type]
    for at in (1.0, 2.0, 3.0):
        requests.due(at)
    assert client.due == [1.0]
    requests.free(client)  # type: ignore[arg-type]
    requests.free(client)  # type: ignore[arg-type]
    assert client.due == [1.0, 2.0, 3.0]


def test_percentile_of_few_figures_is_one_of_them() -> None:
    assert [percentile([3.0, 1.0, 2.0], percent) for percent in (0, 50, 99, 100)] == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("count", [1, 3, 10, 50])
def test_providers_of_the_upstream_share_the_runtimes(count: int) -> None:
    pages = [listed(f"/of/{count}/{index}{RUNTIMES}", "limit=50") for index in range(count)]
    assert sum(page.count(b'"id"') for page in pages) == 50
    assert all(b'"next_cursor":null' in page for page in pages)


def test_upstream_with_many_runtimes_has_pages() -> None:
    path = f"/many{RUNTIMES}"
    assert b'"next_cursor":"100"' in listed(path, "limit=100")
    assert b'"next_cursor":null' in listed(path, f"limit=100&cursor={MANY - 100}")


def test_nginx_forwards_to_the_upstream_over_kept_connections(tmp_path: Path) -> None:
    text = nginx_settings("http://127.0.0.1:4711", 8080, tmp_path)
    assert "server 127.0.0.1:4711; keepalive 512;" in text
    assert "listen 127.0.0.1:8080;" in text
    assert "{" not in text.replace(" {", "")
