"""``export`` and ``import``: what they send, write and print."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from .conftest import Run, ScriptedGateway

END = {"object": "export_end", "runtimes": 1, "incomplete": []}


def line(name: str, **members: Any) -> dict[str, Any]:
    """A line of an export."""
    create = {"kind": "durable", "name": name, "config": {"runtime_server": {"env": {"KEY": {"$secret": "KEY_1"}}}}}
    return {
        "object": "exported_runtime",
        "id": f"old.{name}",
        "kind": "durable",
        "provider": "old",
        "scope": "acme/one",
        "provider_id": name,
        "create": create,
        **members,
    }


def progress(cursor: str) -> dict[str, Any]:
    return {"object": "export_progress", "cursor": cursor}


def text_of(*lines: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in lines)


def streams(gateway: ScriptedGateway, *lines: Any, breaks: bool = False) -> None:
    """Answer the next request with these lines; ``breaks``: the connection ends before the end of the last one."""

    async def streamed(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        text = text_of(*lines).encode()
        await response.write(text[:-5] if breaks else text)
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write_eof()
        return response

    gateway.script.append(streamed)


def written(path: Path) -> list[Any]:
    return [json.loads(one) for one in path.read_text().splitlines()]


def test_lines_are_printed_as_they_are(gateway: ScriptedGateway, run: Run) -> None:
    streams(gateway, line("a"), progress("c1"), line("b"), END)
    result = run("export", "--provider", "old", "--provider", "more", "--kind", "durable")
    assert result.exit_code == 0, result.output
    assert [json.loads(one) for one in result.stdout.splitlines()] == [line("a"), progress("c1"), line("b"), END]
    assert gateway.seen[0].query == [("provider", "old"), ("provider", "more"), ("kind", "durable")]
    assert "exported: 2 runtimes, complete" in result.stderr


def test_an_export_continues_where_the_connection_broke(gateway: ScriptedGateway, run: Run, tmp_path: Path) -> None:
    """No line is written twice, and none of an incomplete page."""
    streams(gateway, line("a"), progress("c1"), line("b"), line("c"), breaks=True)
    streams(gateway, line("b"), line("c"), progress("c2"))
    streams(gateway, END)
    target = tmp_path / "fleet.ndjson"
    result = run("export", "-o", str(target))
    assert result.exit_code == 0, result.output
    assert written(target) == [line("a"), progress("c1"), line("b"), line("c"), progress("c2"), END]
    assert [seen.query for seen in gateway.seen] == [[], [("cursor", "c1")], [("cursor", "c2")]]


def test_an_export_that_makes_no_progress_fails(gateway: ScriptedGateway, run: Run) -> None:
    for _ in range(5):
        streams(gateway, line("a"))
    result = run("export")
    assert result.exit_code == 1
    assert "broke off" in result.stderr


def test_a_refused_export_is_not_repeated(gateway: ScriptedGateway, run: Run) -> None:
    gateway.refuses(400, "invalid_request", retryable="no")
    assert run("export").exit_code == 1


def test_an_export_is_resumed_in_its_file(gateway: ScriptedGateway, run: Run, tmp_path: Path) -> None:
    """What follows the last complete page is written again."""
    target = tmp_path / "fleet.ndjson"
    target.write_text(text_of(line("a"), progress("c1")) + text_of(line("b"))[:-20])
    streams(gateway, line("b"), END)
    assert run("export", "-o", str(target), "--resume").exit_code == 0
    assert gateway.seen[0].query == [("cursor", "c1")]
    assert written(target) == [line("a"), progress("c1"), line("b"), END]
    assert run("export", "-o", str(target), "--resume").exit_code == 2
    assert run("export", "--resume").exit_code == 2


def test_what_is_missing_is_named(gateway: ScriptedGateway, run: Run) -> None:
    problem = {"code": "provider_error", "detail": "It failed.", "pointer": None}
    incomplete = [{"provider": "bad", "problem": {"detail": "It is down."}}]
    streams(gateway, {"object": "not_exported", "id": "old.x", "problem": problem}, {**END, "incomplete": incomplete})
    result = run("export")
    assert result.exit_code == 3
    assert "not exported: old.x: It failed." in result.stderr
    assert "incomplete: bad: It is down." in result.stderr


def move(state: str, **members: Any) -> dict[str, Any]:
    return {"object": "move", "id": "mv_1", "state": state, "problem": None, **members}


def item(name: str, state: str, **members: Any) -> dict[str, Any]:
    return {
        "runtime_id": f"old.{name}",
        "state": state,
        "problem": None,
        "blocked_by": [],
        "waits_for": None,
        **members,
    }


def test_an_import_sends_the_lines_with_their_secrets_and_waits(
    gateway: ScriptedGateway, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "secrets.yaml").write_text("KEY_1: canary\nUNUSED: x\n")
    (tmp_path / "fleet.ndjson").write_text(text_of(line("a"), progress("c"), line("a"), line("b"), END))
    gateway.answers({"move": move("planning"), "refused": []}, 202)
    gateway.answers(move("applying"))
    gateway.answers(move("done"))
    gateway.answers({"items": [item("a", "moved")], "next_cursor": "0"})
    gateway.answers({"items": [item("b", "moved")], "next_cursor": None})
    secrets = ("--secrets", str(tmp_path / "secrets.yaml"))
    result = run("import", str(tmp_path / "fleet.ndjson"), "--provider", "new", "--scope", "zeta/two", *secrets)
    assert result.exit_code == 0, result.output
    assert gateway.seen[0].body == {
        "provider": "new",
        "scope": "zeta/two",
        "dry_run": False,
        "runtimes": [line("a"), line("b")],
        "secrets": {"KEY_1": "canary"},
    }
    assert [one.split() for one in result.stdout.splitlines()[1:]] == [["old.a", "moved", "-"], ["old.b", "moved", "-"]]
    assert "canary" not in result.output


def test_secrets_are_read_from_the_environment(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers({"move": move("planned"), "refused": []}, 202)
    gateway.answers({"items": [item("a", "planned")], "next_cursor": None})
    result = run(
        "import", "-", "--provider", "new", "--dry-run", stdin=text_of(line("a"), END), env={"KEY_1": "canary"}
    )
    assert result.exit_code == 0, result.output
    assert (gateway.seen[0].body["dry_run"], gateway.seen[0].body["secrets"]) == (True, {"KEY_1": "canary"})


def test_missing_secrets_are_named_and_nothing_is_sent(gateway: ScriptedGateway, run: Run) -> None:
    result = run("import", "-", "--provider", "new", stdin=text_of(line("a"), END))
    assert result.exit_code == 2
    assert "KEY_1" in result.stderr
    assert gateway.seen == []


def test_what_is_not_imported_is_named(gateway: ScriptedGateway, run: Run) -> None:
    problem = {"code": "already_exists", "detail": "It exists.", "pointer": "#/runtimes/0/id"}
    blocked = [{"code": "name_conflict", "detail": "The name exists.", "pointer": None}]
    gateway.answers({"move": move("planned"), "refused": [{"id": "old.a", "problem": problem}]}, 202)
    gateway.answers({"items": [item("b", "blocked", blocked_by=blocked)], "next_cursor": None})
    result = run(
        "import", "-", "--provider", "new", "-o", "json", stdin=text_of(line("a"), line("b")), env={"KEY_1": "x"}
    )
    assert result.exit_code == 3
    assert json.loads(result.stdout)["items"] == [
        {"id": "old.a", "state": "refused", "why": "It exists."},
        {"id": "old.b", "state": "blocked", "why": "The name exists."},
    ]
    assert "is not complete" in result.stderr


def test_an_import_of_which_nothing_is_possible_names_each_line(gateway: ScriptedGateway, run: Run) -> None:
    errors = [{"detail": "It exists.", "code": "already_exists", "pointer": "#/runtimes/0/id"}]
    gateway.refuses(422, "validation_failed", errors=errors)
    result = run("import", "-", "--provider", "new", stdin=text_of(line("a"), END), env={"KEY_1": "x"})
    assert result.exit_code == 3
    assert result.stdout.splitlines()[1].split()[:2] == ["old.a", "refused"]


def test_a_target_that_cannot_be_ends_the_import(gateway: ScriptedGateway, run: Run) -> None:
    errors = [{"detail": "There is none.", "code": "unknown_provider", "pointer": "#/provider"}]
    gateway.refuses(422, "validation_failed", errors=errors)
    result = run("import", "-", "--provider", "none", stdin=text_of(line("a"), END), env={"KEY_1": "x"})
    assert result.exit_code == 1
    assert "--provider: There is none." in result.stderr


def test_a_plan_that_fails_fails_its_lines(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers({"move": move("planning"), "refused": []}, 202)
    gateway.answers(move("failed", problem={"code": "x", "detail": "The target is down."}))
    result = run("import", "-", "--provider", "new", stdin=text_of(line("a"), END), env={"KEY_1": "x"})
    assert result.exit_code == 3
    assert "The target is down." in result.stdout


def test_runtimes_are_imported_in_batches_of_one_provider(gateway: ScriptedGateway, run: Run) -> None:
    many = [line(f"r{number}") for number in range(101)]
    other = line("x", provider="another", id="another.x")
    for batch in ([other], many[:100], many[100:]):
        gateway.answers({"move": move("done"), "refused": []}, 202)
        gateway.answers({"items": [item(one["id"], "moved") for one in batch], "next_cursor": None})
    result = run("import", "-", "--provider", "new", stdin=text_of(*many, other, END), env={"KEY_1": "x"})
    assert result.exit_code == 0, result.output
    sent = [seen.body["runtimes"] for seen in gateway.seen if seen.method == "POST"]
    assert sent == [[other], many[:100], many[100:]]


@pytest.mark.parametrize("text", ["", "not json\n", "[]\n", '{"object": "export_end"}\n', '{"a": 1}\n'])
def test_a_file_that_is_no_export_is_refused(gateway: ScriptedGateway, run: Run, text: str) -> None:
    assert run("import", "-", "--provider", "new", stdin=text).exit_code == 2
    assert gateway.seen == []
