"""Reports at the end of the test run how many interleavings were tried."""

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tried: Counter[str] = Counter()
    seeds = set()
    for report in terminalreporter.getreports("passed"):
        properties = dict(report.user_properties)
        if "interleavings" in properties:
            tried.update({name: properties[name] for name in ("interleavings", "steps")})
            seeds.add(properties["seed"])
    if tried:
        terminalreporter.write_line(
            f"simulator: {tried['interleavings']:,} interleavings of {tried['steps']:,} steps, "
            f"seed {', '.join(map(str, sorted(seeds)))}"
        )
