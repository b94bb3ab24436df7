"""``migrate apply`` and the commands that control a move."""

import json
from typing import Any

import pytest

from .conftest import Run, ScriptedGateway, SteppedClock


def move(state: str, **counts: int) -> dict[str, Any]:
    return {
        "id": "mv_1",
        "state": state,
        "counts": counts,
        "request": {"source": {"provider": "old"}, "target": {"provider": "new"}},
        "problem": {"code": "provider_unavailable", "detail": "It is away."} if state == "failed" else None,
    }


def item(name: str, *pointers: str) -> dict[str, Any]:
    changes = [{"pointer": pointer, "from": 1, "to": 2} for pointer in pointers]
    return {"runtime_id": f"old.{name}", "name": name, "changes": changes, "problem": None}


def test_a_move_is_applied_and_followed_until_it_is_done(
    run: Run, gateway: ScriptedGateway, clock: SteppedClock
) -> None:
    gateway.answers(move("applying", planned=2), status=202)
    gateway.answers(move("applying", planned=1, moved=1))
    gateway.refuses(503, "store_unavailable", retryable="same_request")
    gateway.drops_connection()
    gateway.answers(move("done", moved=2))
    result = run("migrate", "apply", "mv_1", "--digest", "d", "--yes")
    assert (result.exit_code, result.stdout) == (0, "mv_1: done (2 moved)\n")
    assert (gateway.seen[0].method, gateway.seen[0].path, gateway.seen[0].body) == (
        "POST",
        "/v1/moves/mv_1/apply",
        {"digest": "d"},
    )
    assert clock.slept == [1.0] * 4


def test_apply_asks_first_and_does_nothing_without_a_yes(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers(move("planned", planned=2))
    apply = ("migrate", "apply", "mv_1", "--digest", "d")
    result = run(*apply, stdin="n\n")
    assert result.exit_code == 1
    assert "Move 2 runtimes from old to new?" in result.stderr
    assert len(gateway.seen) == 1
    gateway.answers(move("planned", planned=1, blocked=1))
    assert "Move 1 runtime from old to new, and leave 1 that cannot move?" in run(*apply, stdin="n\n").stderr


def test_apply_says_what_a_move_waits_for(run: Run, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click._termui_impl.isatty", lambda _: True)
    gateway.answers(move("applying", planned=2), status=202)
    gateway.answers(move("applying", planned=2))
    waits = [{**item(name), "waits_for": text} for name, text in (("a", None), ("b", "idle: the runtime is running"))]
    gateway.answers({"items": waits, "next_cursor": None})
    gateway.answers(move("done", moved=2))
    result = run("migrate", "apply", "mv_1", "--digest", "d", "--yes")
    assert result.exit_code == 0
    assert "0/2" in result.stderr
    assert "b waits for idle: the runtime is running" in result.stderr
    assert gateway.seen[2].path.startswith("/v1/moves/mv_1/items")


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (move("done", moved=1, failed=1), 3),
        (move("done", moved=1, blocked=1), 3),
        (move("paused", moved=1, planned=1), 3),
        (move("failed", moved=1), 1),
    ],
)
def test_the_exit_code_says_whether_all_have_moved(
    run: Run, gateway: ScriptedGateway, last: dict[str, Any], code: int
) -> None:
    gateway.answers(move("applying", planned=2), status=202)
    gateway.answers(last)
    result = run("migrate", "apply", "mv_1", "--digest", "d", "--yes")
    assert result.exit_code == code
    assert ("migrate items mv_1" in result.stderr) is (code == 3)
    assert ("provider_unavailable: It is away." in result.stderr) is (code == 1)


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
def test_a_move_is_controlled_without_waiting(run: Run, gateway: ScriptedGateway, verb: str) -> None:
    gateway.answers(move("applying", planned=1), status=202)
    result = run("migrate", verb, "mv_1", "--no-wait", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, move("applying", planned=1))
    assert gateway.seen[0].path == f"/v1/moves/mv_1/{verb}"


def test_a_dry_run_lists_what_has_changed(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers({"items": [item("a", "#/config/n", "#/state")], "next_cursor": None})
    result = run("migrate", "rollback", "mv_1", "--dry-run")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[1].split() == ["a", "#/config/n,", "#/state", "-"]
    assert gateway.seen[0].body == {"dry_run": True, "sync_back": [], "discard": False}
    gateway.answers({"items": [], "next_cursor": None})
    unchanged = run("migrate", "rollback", "mv_1", "--dry-run")
    assert unchanged.exit_code == 0
    assert unchanged.stdout.startswith("Nothing has changed at the target")


def test_a_rollback_is_followed(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers(move("rolling_back", moved=1), status=202)
    gateway.answers(move("rolled_back", rolled_back=1))
    result = run("migrate", "rollback", "mv_1", "--sync-back", "config,capabilities")
    assert (result.exit_code, result.stdout) == (0, "mv_1: rolled_back (1 rolled_back)\n")
    assert gateway.seen[0].body["sync_back"] == ["config", "capabilities"]


def test_a_refused_rollback_says_why(run: Run, gateway: ScriptedGateway) -> None:
    gateway.refuses(409, "state_conflict")
    result = run("migrate", "rollback", "mv_1")
    assert result.exit_code == 1
    assert "state_conflict" in result.stderr


def test_a_rollback_that_leaves_runtimes_at_the_target_is_partial(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers(move("rolled_back", rolled_back=1, moved=1), status=202)
    result = run("migrate", "rollback", "mv_1")
    assert (result.exit_code, result.stdout) == (3, "mv_1: rolled_back (1 rolled_back, 1 moved)\n")
    assert "some runtimes are not back: runtime-gateway migrate items mv_1" in result.stderr
