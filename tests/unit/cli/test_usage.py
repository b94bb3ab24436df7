"""``usage``: the table fits 80 columns, unknown costs are not zeros, and a missing provider is said."""

from typing import Any

import pytest

from .conftest import Run, ScriptedGateway

PRICED: dict[str, Any] = {"billed_credits": 310, "running_credits": 12, "estimated_total_credits": 322, "runtimes": 4}


def _figures(runtimes: int, cost: Any = None, **states: int) -> dict[str, Any]:
    return {"runtimes": runtimes, "kinds": {"durable": runtimes}, "states": states, "cost": cost}


def _usage(*items: Any, by: str = "provider", **members: Any) -> dict[str, Any]:
    total = _figures(12, PRICED, idle=5, running=7)
    document = {"object": "usage", "by": by, "as_of": "2027-01-15T08:00:00Z", "total": total, "items": list(items)}
    return {**document, "left_out": 0, "incomplete": [], **members}


def test_groups_and_the_total_are_a_table(gateway: ScriptedGateway, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"value": "durable-main", "known": True, **_figures(9, PRICED, idle=5, running=4)}]
    gateway.answers(_usage(*rows, {"value": "browsers", "known": True, **_figures(3, None, running=3)}))
    lines = run("usage", "--provider", "durable-main", "--provider", "browsers", "-l", "team=shop").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines] == [
        ["PROVIDER", "RUNTIMES", "STATES", "CREDITS", "PRICED"],
        ["durable-main", "9", "idle=5,running=4", "322", "4"],
        ["browsers", "3", "running=3", "-", "-"],
        ["total", "12", "idle=5,running=7", "322", "4"],
    ]
    assert gateway.seen[0].path == "/v1/usage"
    assert gateway.seen[0].query == [("provider", "durable-main"), ("provider", "browsers"), ("label", "team=shop")]


def test_absent_and_unknown_values_have_different_names(gateway: ScriptedGateway, run: Run) -> None:
    items = [{"value": None, "known": known, **_figures(1, None, idle=1)} for known in (True, False)]
    gateway.answers(_usage(*items, by="label:team", left_out=3))
    done = run("usage", "--by", "label:team")
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["LABEL", "(none)", "(not known)", "total"]
    assert done.stderr == "3 groups with fewer runtimes are left out\n"
    gateway.answers(_usage(*items, by="label:team"))
    assert run("usage", "--by", "label:team", "-o", "json", "--query", "total.runtimes").stdout == "12\n"


def test_a_missing_provider_ends_with_exit_code_3(gateway: ScriptedGateway, run: Run) -> None:
    problem = {"code": "provider_timeout", "detail": "It hangs."}
    gateway.answers(_usage(incomplete=[{"provider": "slow", "problem": problem}]))
    done = run("usage")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (3, "incomplete: slow: provider_timeout: It hangs.")


def test_an_unknown_criterion_is_refused_before_a_call(gateway: ScriptedGateway, run: Run) -> None:
    done = run("usage", "--by", "team")
    assert (done.exit_code, gateway.seen) == (2, [])
    assert "label:KEY" in done.stderr
