"""The benchmark of the round trip to a real Chromium."""

import shutil
from pathlib import Path

from benchmarks.__main__ import PARTS, parsed
from benchmarks.bench import Bench
from benchmarks.chromium import chromium
from benchmarks.processes import LOAD, server
from benchmarks.versions import ROOT, Version
from tests.programs import required


def test_round_trip_to_chromium_is_measured(tmp_path: Path) -> None:
    required("Chromium", shutil.which("chromium"))
    assert chromium in PARTS
    options = parsed(["--quick", "--rounds", "1", "--only", "round trip"])
    with server("upstream", processor=LOAD) as upstream:
        rows = list(chromium(Bench(options, [Version("after", ROOT)], tmp_path, upstream, lambda _: None)))
    assert [row.measure for row in rows] == ["added p50", "added p99"]
    assert all(row.after is not None for row in rows)
