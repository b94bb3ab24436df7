"""``intents`` without ``--config``: through a running gateway."""

import json
from typing import Any

import pytest

from .conftest import KEY, Run, ScriptedGateway

ID = "in_" + "0d4f" * 8


def intent(state: str = "parked", **members: Any) -> dict[str, Any]:
    """Return an intent as the API sends it."""
    return {
        "object": "intent",
        "id": ID,
        "state": state,
        "kind": "durable",
        "name": "one",
        "principal": "shop",
        "provider": "durable-main",
        "scope": "acme/research",
        "runtime_id": None,
        "created_at": "2025-01-01T00:00:00.000Z",
        "updated_at": "2025-01-01T00:00:00.000Z",
        "attempts": [{"epoch": 1, "first_send": "T1", "last_send": "T2", "phase": "sent", "status": 502, "made": None}],
        "problem": {"code": "outcome_unknown", "detail": "More than one fits.", "reason": "several"},
        **members,
    }


def page(*items: Any, cursor: str | None = None) -> dict[str, Any]:
    return {"object": "list", "items": list(items), "next_cursor": cursor}


def test_intents_are_listed_with_the_filters_as_query(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers(page(intent()))
    filters = ("--state", "parked", "--state", "unknown", "--provider", "p", "--principal", "shop", "--cursor", "c")
    result = run("intents", "list", *filters, "--limit", "7")
    assert result.stdout.splitlines()[1].split() == ["one", "parked", "durable-main", "shop", "0s"]
    (seen,) = gateway.seen
    assert (seen.method, seen.path, seen.headers["Authorization"]) == ("GET", "/v1/intents", f"Bearer {KEY}")
    assert seen.query == [
        *(("state", "parked"), ("state", "unknown"), ("provider", "p"), ("principal", "shop")),
        *(("limit", "7"), ("cursor", "c")),
    ]


def test_more_intents_than_fit_on_a_page_are_read_from_further_pages(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers(page(*(intent(id=f"in_{number}") for number in range(100)), cursor="c1"))
    gateway.answers(page(*(intent(id=f"in_{number}") for number in range(100, 150)), cursor="c2"))
    result = run("intents", "list", "--limit", "150", "-o", "json")
    assert len(json.loads(result.stdout)["items"]) == 150
    assert "continue with --cursor c2" in result.stderr
    assert [seen.query for seen in gateway.seen] == [[("limit", "100")], [("limit", "50"), ("cursor", "c1")]]


def test_intent_is_shown_with_its_problem_and_attempts(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers(intent())
    lines = [line.split() for line in run("intents", "show", ID).stdout.splitlines()]
    assert ["problem.reason", "several"] in lines
    assert ["1", "T1", "T2", "sent", "502", "-"] in lines
    assert gateway.seen[0].path == f"/v1/intents/{ID}"
    gateway.answers(intent())
    assert json.loads(run("intents", "show", ID, "-o", "json").stdout) == intent()


@pytest.mark.parametrize(
    ("arguments", "body", "note"),
    [
        (("--made", "durable-main.r-1"), {"made": "durable-main.r-1"}, "it is done with the runtime durable-main.r-1"),
        (("--absent", "--note", "asked"), {"absent": True, "note": "asked"}, "it counts as not created: "),
    ],
)
def test_decision_is_sent_to_the_gateway(
    run: Run, gateway: ScriptedGateway, arguments: tuple[str, ...], body: dict[str, Any], note: str
) -> None:
    gateway.answers(intent("done", runtime_id="durable-main.r-1"))
    result = run("intents", "resolve", ID, *arguments)
    assert result.exit_code == 0
    assert result.stderr.startswith(note)
    (seen,) = gateway.seen
    assert (seen.method, seen.path, seen.body) == ("POST", f"/v1/intents/{ID}/resolve", body)


@pytest.mark.parametrize(("status", "code", "exit_code"), [(403, "permission_denied", 4), (409, "state_conflict", 1)])
def test_refused_decision_fails(run: Run, gateway: ScriptedGateway, status: int, code: str, exit_code: int) -> None:
    gateway.refuses(status, code)
    result = run("intents", "resolve", ID, "--absent")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (exit_code, f"error: {code}: the detail of {code}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "--surplus"), "--surplus needs --config"),
        (("resolve", ID, "--absent", "--operator", "me"), "--operator needs --config"),
        (("resolve", ID), "Give exactly one of: --made REF, --absent"),
        (("decisions",), "Missing option '--config'"),
    ],
)
def test_option_for_the_store_is_refused_without_it(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run("intents", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
