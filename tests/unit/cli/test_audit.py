"""``audit``: what it sends and prints."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .conftest import Run, ScriptedGateway


def page(*items: dict[str, Any], cursor: str | None = None) -> dict[str, Any]:
    return {"object": "list", "items": list(items), "next_cursor": cursor}


def event(**members: Any) -> dict[str, Any]:
    """An event as the API sends it."""
    return {
        "object": "audit_event",
        "id": "ev_006505bd1da4009a1b2c3d4e5f6071",
        "at": "2026-11-29T10:31:07.123Z",
        "principal": "team-frontend-and-backend",
        "key_id": "key_0123456789ab",
        "remote": "192.0.2.1",
        "action": "bctrl.workspaces_create",
        "runtime_id": "durable-main.2489e9ad-3cf1-4f6e",
        "provider": "durable-main",
        "outcome": "unknown",
        "status": 504,
        "code": "outcome_unknown",
        "request_id": "5b1f6f0a-8a4e-4a57-9d5e-0c5b8f3a9f11",
        "changes": None,
        "count": 1,
        **members,
    }


def test_filters_are_sent_and_all_pages_are_printed(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(event(), cursor="ev_1"))
    gateway.answers(page(event(principal=None, runtime_id=None, action="native", count=12, id="ev_2")))
    filters = ("--principal", "shop", "--runtime", "one.r", "--outcome", "failed", "--since", "2026-11-01")
    result = run("audit", *filters, "--action", "native", "--action", "createKey", env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert [(sent.method, sent.path) for sent in gateway.seen] == [("GET", "/v1/audit")] * 2
    assert sorted(gateway.seen[0].query) == [
        ("action", "createKey"),
        ("action", "native"),
        ("limit", "100"),
        ("outcome", "failed"),
        ("principal", "shop"),
        ("runtime", "one.r"),
        ("since", "2026-11-01T00:00:00+00:00"),
    ]
    assert ("cursor", "ev_1") in gateway.seen[1].query
    first, second = result.stdout.splitlines()[1:]
    assert first.split("  ")[0] == "11-29 10:31"
    assert first.split()[2:] == ["team-frontend-a…", "bctrl.workspace…", "unknown", "1", "durable-main.2489…"]
    assert second.split()[2:] == ["-", "native", "unknown", "12", "-"]


def test_table_is_at_most_80_characters_wide(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(event(count=1_000_000)))
    assert max(map(len, run("audit", env={"COLUMNS": "80"}).stdout.splitlines())) <= 80


def test_an_age_is_a_time_before_now(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page())
    before = datetime.now(UTC)
    run("audit", "--since", "7d", "--until", "2026-11-29T10:00:00+02:00")
    sent = dict(gateway.seen[0].query)
    age = before - datetime.fromisoformat(sent["since"])
    assert timedelta(days=7) - timedelta(minutes=5) < age <= timedelta(days=7)
    assert sent["until"] == "2026-11-29T10:00:00+02:00"


@pytest.mark.parametrize("wrong", ["yesterday", "7w", "12", "2026-13-01"])
def test_another_text_is_no_time(gateway: ScriptedGateway, run: Run, wrong: str) -> None:
    result = run("audit", "--since", wrong)
    assert (result.exit_code, gateway.seen) == (2, [])
    assert "an age such as 7d" in result.output


def test_what_the_limit_leaves_out_is_noted(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(event(), cursor="ev_1"))
    result = run("audit", "--limit", "1", "-o", "name")
    assert result.stdout == f"{event()['id']}\n"
    assert "--cursor ev_1" in result.stderr
