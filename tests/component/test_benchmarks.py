"""The benchmarks measure what they name: a tiny run of each part. No figure is judged."""

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import PARTS, parsed
from benchmarks.bench import Bench
from benchmarks.calls import calls
from benchmarks.fleets import lists, multiply
from benchmarks.held import held
from benchmarks.load import creating, load
from benchmarks.log_lines import log_lines
from benchmarks.processes import LOAD, Server, server
from benchmarks.results import Row
from benchmarks.shares import shares
from benchmarks.sick import beside_the_sick
from benchmarks.soak import soak
from benchmarks.starting import start
from benchmarks.tunnel import tunnel
from benchmarks.versions import ROOT, Version, extracted, provider, serving, settings
from benchmarks.workers import workers
from tests.postgres_cluster import binaries

TINY = ("--quick", "--rounds", "1", "--seconds", "0.05", "--paced-seconds", "0.2", "--idle", "5")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Server]:
    with server("upstream", processor=LOAD) as running:
        yield running


@pytest.fixture
def rows(upstream: Server, tmp_path: Path) -> Callable[..., list[Row]]:
    """Runs a part, for the work whose names begin with a text; of the newest version, or of two."""

    def run(part: Callable[[Bench], Iterator[Row]], only: str, names: Sequence[str] = ("after",)) -> list[Row]:
        versions = [Version(name, ROOT) for name in names]
        return list(part(Bench(parsed([*TINY, "--only", only]), versions, tmp_path, upstream, lambda _: None)))

    return run


@pytest.mark.parametrize(
    ("part", "only", "measures"),
    [
        (lists, "list of 50 over 1 ", ["processor time"]),
        (tunnel, "tunnel", ["bytes", "added p50 of a round trip", "added p99 of a round trip", "resident, both sides"]),
        (start, "start", ["time", "processor time", "resident"]),
        (held, "event stream", ["resident"]),
        (log_lines, "log lines", ["a line in place", "a line alone, its share"]),
        (beside_the_sick, "beside one that answers 500", ["p50", "p99", "answers of the other one"]),
    ],
)
def test_part_measures_its_work(
    rows: Callable[..., list[Row]], part: Callable[[Bench], Iterator[Row]], only: str, measures: list[str]
) -> None:
    assert part in PARTS
    found = rows(part, only)
    assert [row.measure for row in found][: len(measures)] == measures
    assert all(row.after is not None and math.isfinite(row.after) for row in found)


def test_two_versions_are_both_compared_with_the_same_server(rows: Callable[..., list[Row]]) -> None:
    found = rows(calls, "cached get", ("before", "after"))
    assert {row.work for row in found} == {"cached get"}
    for row in found:
        assert None not in {row.before, row.after, *row.more.values()}
    (cost,) = [row for row in found if row.measure == "processor time"]
    assert cost.beside_name == "bare"
    assert cost.ratio_before is not None
    assert cost.ratio_after is not None


def test_translated_requests_have_goals_beside_the_pass_through_and_latencies_at_a_fixed_rate(
    rows: Callable[..., list[Row]],
) -> None:
    found = rows(calls, "get, translated")
    assert {row.measure for row in found if row.part == "goals"} == {
        "processor time",
        "requests per second, 32 in flight",
        "p99, 32 in flight",
        "p99, 256 in flight",
        "added p50, 1 in flight",
        "added p99, 1 in flight",
    }
    assert [row.measure for row in found if row.part == "rate"] == ["rate", "p50", "p99", "p99.9"]
    assert all(row.met is not None for row in found if row.part == "goals")


@pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
def test_two_workers_are_compared_with_one(rows: Callable[..., list[Row]]) -> None:
    found = rows(workers, "two workers")
    assert {row.work.rpartition(": ")[2] for row in found} == {"get", "create"}
    assert {row.beside_name for row in found} == {"one worker"}


def test_store_is_filled_with_intents_that_the_gateway_lists(upstream: Server, tmp_path: Path) -> None:
    file = tmp_path / "gateway.db"
    document: dict[str, Any] = settings(file, {"bench": provider(upstream.url)})
    create = creating("/v1/runtimes", '{"kind": "durable", "name": "NAME"}')
    with serving(Version("after", ROOT), document, tmp_path) as gateway:
        first = len(load(gateway, create, 1, 0).took)
    multiply(file, 500)
    with closing(sqlite3.connect(file)) as store:
        ((count, names),) = store.execute("SELECT count(*), count(DISTINCT name) FROM intents")
        assert count == names == first + 500
    with serving(Version("after", ROOT), document, tmp_path) as gateway:
        assert len(load(gateway, create, 1, 0).took) == 1


def test_older_version_is_taken_from_its_commit(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    version = extracted("HEAD", tmp_path, sys.executable)
    assert (version.folder / "gateway" / "__main__.py").is_file()
    with pytest.raises(ValueError, match="git knows no commit no-such-commit"):
        extracted("no-such-commit", tmp_path, sys.executable)


def test_run_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", *TINY, "--only", "all of 10,000", "--json", str(file)]
    printed = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    assert "all of 10,000 runtimes" in printed
    (row,) = json.loads(file.read_text())["rows"]
    assert row["unit"] == "ms"


async def test_soak_counts_what_the_gateway_holds_between_its_shares() -> None:
    said: list[str] = []
    samples = await soak(60, 8, 1, said.append, shares=2)
    assert [sample.sent for sample in samples] == [0, 30, 60]
    assert all(sample.memory and sample.descriptors and sample.tasks for sample in samples)
    assert all("gateway." in " ".join(sample.objects) for sample in samples)
    assert len(said) == 5


def test_profile_of_a_cached_get_has_the_parts_of_its_way_and_nothing_of_a_provider() -> None:
    (found,) = shares(0.3, ["cached get"])
    assert {"sockets", "connection, head, route", "key and permission", "log and metrics"} <= set(found.parts)
    assert sum(share for share, _ in found.parts.values()) == pytest.approx(1)
    assert 50 < found.calls < 1000
    assert "policies" not in found.parts or found.parts["policies"][1] < 1
