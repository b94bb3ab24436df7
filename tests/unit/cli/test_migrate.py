"""``migrate``: what it sends, and the report that it prints."""

import csv
import io
import json
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from gateway.cli.failures import ExitCode

from .conftest import Run, ScriptedGateway

MOVE_ID: Final = "mv_019ad0000000abcdefabcdef"
DIGEST: Final = "sha256:" + "0123456789abcdef" * 4
SECRET_ID: Final = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
PLAN: Final = ("migrate", "plan", "--from", "old", "--to", "new")
NEEDS_MAPPING: Final = {
    "code": "mapping_required",
    "detail": "Map this to what it is at new in zeta/two, or to an empty text.",
    "pointer": f"#/mappings/secret_ids/{SECRET_ID}",
}


def move(state: str = "planned", **members: Any) -> dict[str, Any]:
    """A move as the API sends it."""
    return {
        "object": "move",
        "id": MOVE_ID,
        "state": state,
        "digest": DIGEST if state == "planned" else None,
        "counts": {},
        "side_effects": ["Not moved from the account of old: webhooks, schedules and alerts."],
        "request": {"source": {"provider": "old"}, "target": {"provider": "new"}},
        "principal": "ops",
        "problem": None,
        "created_at": "2026-11-29T00:00:00Z",
        "updated_at": "2026-11-29T00:00:01Z",
        **members,
    }


def item(name: str, **members: Any) -> dict[str, Any]:
    """A runtime of a move as the API sends it."""
    blocked = members.get("blocked_by")
    return {
        "object": "move_item",
        "runtime_id": f"old.{name}",
        "provider_id": f"p-{name}",
        "name": name,
        "kind": "durable",
        "state": "blocked" if blocked else "planned",
        "carries": ["#/config/resources"],
        "changes": [],
        "semantics": [],
        "lost": [{"what": "sessions", "why": "Sessions and their history stay in the workspace of the source."}],
        "unknown": [],
        "addresses": [],
        "double_run": None,
        "blocked_by": [],
        "target": {"provider": "new", "scope": "zeta/two", "provider_id": None, "id": None},
        "waits_for": None,
        "problem": None,
        **members,
    }


def answers_plan(gateway: ScriptedGateway, *items: dict[str, Any], **members: Any) -> None:
    """Answer the requests of a plan: it is made after two reads, and has its items on two pages."""
    gateway.answers(move("planning"), 202)
    gateway.answers(move("planning", counts={"planned": 1}))
    gateway.answers(move(**members))
    if members.get("state") != "failed":
        gateway.answers({"items": items[:1], "next_cursor": "0" if len(items) > 1 else None})
        if len(items) > 1:
            gateway.answers({"items": items[1:], "next_cursor": None})


def test_a_plan_ends_with_the_command_that_applies_what_was_read(gateway: ScriptedGateway, run: Run) -> None:
    changes = [{"pointer": "#/description", "from": None, "to": "moved"}]
    rule = {"topic": "stop", "from": "A stop ends the runtime for good.", "to": "A stop keeps the browser."}
    answers_plan(
        gateway,
        item("a", changes=changes, semantics=[rule], unknown=["#/launch/proxy"]),
        item("b", double_run="Both run until the source is stopped.", addresses=["cdp: the gateway's continue"]),
    )
    result = run(*PLAN)
    assert result.exit_code == ExitCode.OK
    lines = result.stdout.splitlines()
    assert lines[0] == f"Move {MOVE_ID}: old to new zeta/two"
    assert lines[1] == "2 runtimes: 2 can move, 0 are blocked."
    assert lines[-1] == f"    runtime-gateway migrate apply {MOVE_ID} --digest {DIGEST}"
    for expected in (
        "  #/description (1 runtime)",
        "    nothing to moved",
        "  stop (1 runtime)",
        "  sessions (2 runtimes)",
        "  #/launch/proxy (1 runtime)",
        "  cdp: the gateway's continue (1 runtime)",
        "  Not moved from the account of old: webhooks, schedules and alerts.",
    ):
        assert expected in lines
    assert "planning: 1 runtime\n" in result.stderr


def test_no_line_of_the_report_but_commands_is_wider_than_80_characters(gateway: ScriptedGateway, run: Run) -> None:
    many = [
        item(
            f"a-runtime-with-a-long-name-{number}",
            changes=[{"pointer": f"#/config/runtime_server/env/{number}", "from": "x" * 200, "to": ["y" * 200]}],
            lost=[{"what": "disk", "why": "word " * 60}],
            blocked_by=[NEEDS_MAPPING],
        )
        for number in range(30)
    ]
    answers_plan(gateway, *many)
    result = run(*PLAN)
    lines = result.stdout.splitlines()
    assert [line for line in lines if len(line) > 80 and not line.startswith("    runtime-gateway ")] == []
    assert "  and 22 more" in lines
    assert "    a-runtime-with-a-long-name-0, a-runtime-with-a-long-name-1," in lines
    assert len(lines) < 60


def test_a_plan_with_blocked_runtimes_says_why_and_what_to_do(gateway: ScriptedGateway, run: Run) -> None:
    answers_plan(gateway, item("a", blocked_by=[NEEDS_MAPPING]), item("b"))
    result = run(*PLAN, "--label", "team=shop", "--force")
    assert result.exit_code == ExitCode.PARTIAL
    assert f"mapping_required #/mappings/secret_ids/{SECRET_ID} (1 runtime)" in " ".join(result.stdout.split())
    again = "runtime-gateway migrate plan --from old --to new --label team=shop --force --mappings mappings.yaml"
    assert again in result.stdout
    assert f"runtime-gateway migrate items {MOVE_ID} --state blocked" in result.stdout
    assert "  move the others:" in result.stdout


def test_the_options_are_the_request(gateway: ScriptedGateway, run: Run, tmp_path: Path) -> None:
    mappings, overrides = tmp_path / "mappings.yaml", tmp_path / "overrides.yaml"
    mappings.write_text(f'secret_ids:\n  "{SECRET_ID}": other\n  "missing": null\n')
    override = {"match": {"provider": "old"}, "patch": {"description": "moved"}}
    overrides.write_text(json.dumps({"overrides": [override]}))
    answers_plan(gateway, item("a"))
    selected = ("--from-scope", "acme/one", "--kind", "durable", "--state", "idle", "--state", "running", "--name", "a")
    more = ("--label", "team=shop", "--id", "old.a", "--to-scope", "zeta/two", "--when", "now")
    rules = (
        "--on-name-conflict",
        "adopt",
        "--source-after",
        "delete",
        "--concurrency",
        "8",
        "--force",
        "--stop-on-errors",
        "3",
    )
    files = ("--mappings", str(mappings), "--overrides", str(overrides), "--max-double-running", "2")
    result = run(*PLAN, *selected, *more, *rules, *files)
    assert result.exit_code == ExitCode.OK
    assert gateway.seen[0].body == {
        "source": {
            "provider": "old",
            "scope": "acme/one",
            "kind": "durable",
            "state": ["idle", "running"],
            "name": "a",
            "label": {"team": "shop"},
            "ids": ["old.a"],
        },
        "target": {"provider": "new", "scope": "zeta/two"},
        "mappings": {"secret_ids": {SECRET_ID: "other"}},
        "overrides": [override],
        "force": True,
        "when": "now",
        "on_name_conflict": "adopt",
        "source_after": "delete",
        "concurrency": 8,
        "max_double_running": 2,
        "stop_on_errors": 3,
    }
    assert "1 mappings are not filled in" in result.stderr


def test_without_options_nothing_but_the_providers_is_sent(gateway: ScriptedGateway, run: Run) -> None:
    answers_plan(gateway, item("a"))
    run(*PLAN)
    assert gateway.seen[0].body == {"source": {"provider": "old"}, "target": {"provider": "new"}}


def test_a_file_of_mappings_that_does_not_exist_is_written(gateway: ScriptedGateway, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mappings.yaml"
    source = {**NEEDS_MAPPING, "pointer": "#/mappings/build_sources/template~1a~0b"}
    answers_plan(gateway, item("a", blocked_by=[NEEDS_MAPPING, source]), item("b", blocked_by=[NEEDS_MAPPING]))
    result = run(*PLAN, "--mappings", str(file))
    assert f"written: {file}" in result.stderr
    assert YAML(typ="safe").load(file) == {"secret_ids": {SECRET_ID: None}, "build_sources": {"template/a~b": None}}
    assert "# a, b" in file.read_text()
    assert f"  fill in {file}, and plan again:\n    runtime-gateway migrate plan" in result.stdout


def test_mappings_that_a_file_does_not_have_are_printed(gateway: ScriptedGateway, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mappings.yaml"
    file.write_text("projects: {main: other}\n")
    answers_plan(gateway, item("a", blocked_by=[NEEDS_MAPPING]))
    result = run(*PLAN, "--mappings", str(file))
    assert f'{file} has no value for:\n# What these are called at new. "" leaves one out.\n' in result.stderr
    assert f'secret_ids:\n  "{SECRET_ID}": # a\n' in result.stderr
    assert file.read_text() == "projects: {main: other}\n"


def test_no_file_of_mappings_is_written_if_none_is_missing(gateway: ScriptedGateway, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mappings.yaml"
    answers_plan(gateway, item("a"))
    result = run(*PLAN, "--mappings", str(file))
    assert "written" not in result.stderr
    assert not file.exists()


def test_a_plan_without_runtimes_offers_nothing_to_apply(gateway: ScriptedGateway, run: Run) -> None:
    answers_plan(gateway)
    result = run(*PLAN)
    assert result.exit_code == ExitCode.OK
    assert result.stdout.splitlines()[-1].startswith("Nothing is selected: ")
    assert "migrate apply" not in result.stdout


def test_a_plan_that_failed_ends_with_its_problem(gateway: ScriptedGateway, run: Run) -> None:
    problem = {"code": "provider_unavailable", "detail": "The provider old cannot be reached.", "pointer": None}
    answers_plan(gateway, state="failed", problem=problem)
    result = run(*PLAN)
    assert result.exit_code == ExitCode.FAILED
    assert "error: provider_unavailable: The provider old cannot be reached." in result.stderr


def test_a_plan_as_json_has_the_move_and_all_items(gateway: ScriptedGateway, run: Run) -> None:
    answers_plan(gateway, item("a"), item("b"))
    printed = json.loads(run(*PLAN, "-o", "json").stdout)
    assert printed == {"move": move(), "items": [item("a"), item("b")]}


def test_the_key_is_not_a_part_of_the_printed_command(gateway: ScriptedGateway, run: Run) -> None:
    answers_plan(gateway, item("a", blocked_by=[NEEDS_MAPPING]))
    result = run(*PLAN, "--api-key", "another-key-4711")
    assert "another-key-4711" not in result.stdout


def test_moves_are_listed_and_shown(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers({"items": [move(counts={"planned": 2, "blocked": 1})], "next_cursor": None})
    listed = run("migrate", "list").stdout.splitlines()
    assert listed[0].split() == ["ID", "STATE", "FROM", "TO", "RUNTIMES", "AGE"]
    assert listed[1].split() == [MOVE_ID, "planned", "old", "new", "3", "0s"]
    gateway.answers(move(counts={"planned": 2}))
    shown = run("migrate", "status", MOVE_ID).stdout
    assert "runtimes.planned" in shown
    assert gateway.seen[1].path == f"/v1/moves/{MOVE_ID}"


def test_items_are_listed_with_the_reason(gateway: ScriptedGateway, run: Run) -> None:
    failed = {"code": "state_conflict", "detail": "It differs.", "pointer": None}
    items = [
        item("a", blocked_by=[NEEDS_MAPPING]),
        item("b", state="failed", problem=failed),
        item("c", waits_for="idle"),
    ]
    gateway.answers({"items": items, "next_cursor": None})
    lines = run("migrate", "items", MOVE_ID, "--state", "blocked", "--state", "failed").stdout.splitlines()
    assert gateway.seen[0].query[:2] == [("state", "blocked"), ("state", "failed")]
    assert lines[1].split(maxsplit=2) == ["a", "blocked", f"mapping_required: {NEEDS_MAPPING['pointer']}"]
    assert lines[2].split(maxsplit=2) == ["b", "failed", "state_conflict: It differs."]
    assert lines[3].split(maxsplit=2) == ["c", "planned", "idle"]


@pytest.mark.parametrize("as_csv", [True, False])
def test_old_ids_are_mapped_to_new_ones(gateway: ScriptedGateway, run: Run, as_csv: bool) -> None:
    there = {"provider": "new", "scope": "zeta/two", "provider_id": "q-1", "id": "new.q-1"}
    gateway.answers({"items": [item("a", state="moved", target=there), item("b")], "next_cursor": None})
    printed = run("migrate", "ids", MOVE_ID, *(["--csv"] if as_csv else [])).stdout
    if as_csv:
        assert list(csv.reader(io.StringIO(printed))) == [
            ["old_id", "new_id", "old_provider_id", "new_provider_id"],
            ["old.a", "new.q-1", "p-a", "q-1"],
            ["old.b", "", "p-b", ""],
        ]
    else:
        assert printed.splitlines()[1].split() == ["old.a", "new.q-1", "p-a", "q-1"]
