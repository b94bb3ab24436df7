"""``runtimes list``, ``get``, ``create`` and ``delete``: what they send and print, and how they end."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from .conftest import ID, KEY, Run, ScriptedGateway, page, runtime


def test_get_sends_the_key_and_no_body(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    assert run("runtimes", "get", ID).exit_code == 0
    (seen,) = gateway.seen
    assert (seen.method, seen.path, seen.body) == ("GET", f"/v1/runtimes/{ID}", None)
    assert seen.headers["Authorization"] == f"Bearer {KEY}"


def test_no_authorization_is_sent_without_a_key(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    run("runtimes", "get", ID, env={"RTGW_API_KEY": ""})
    assert "Authorization" not in gateway.seen[0].headers


def test_flags_override_the_variables(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    env = {"RTGW_SERVER": "http://127.0.0.1:1", "RTGW_API_KEY": "other"}
    run("runtimes", "get", ID, "--server", gateway.url + "/", "--api-key", "mine", env=env)
    assert gateway.seen[0].headers["Authorization"] == "Bearer mine"


def test_id_is_escaped_as_one_segment_of_the_path(gateway: ScriptedGateway, run: Run) -> None:
    gateway.refuses(404, "not_found")
    run("providers", "get", "a/../b?c#d e")
    assert gateway.seen[0].path == "/v1/providers/a%2F..%2Fb%3Fc%23d%20e"


def test_get_prints_a_row_for_each_member_that_has_a_value(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime(durable={"owned_by_me": True, "project": None}, ports=[80, 443]))
    lines = run("runtimes", "get", ID).stdout.splitlines()
    rows = dict(line.split(maxsplit=1) for line in lines)
    assert rows["id"] == ID
    assert rows["labels.team"] == "shop"
    assert rows["actions"] == "start, stop (discard_state)"
    assert (rows["durable.owned_by_me"], rows["ports"]) == ("true", "80, 443")
    assert not {"state_reason", "durable.project"} & rows.keys()


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_json_and_yaml_print_the_document_of_the_api(gateway: ScriptedGateway, run: Run, output: str) -> None:
    gateway.answers(runtime(name="Prüfung", kind="browser"))
    printed = run("runtimes", "get", ID, "-o", output).stdout
    read = json.loads(printed) if output == "json" else YAML(typ="safe", pure=True).load(printed)
    assert read == runtime(name="Prüfung", kind="browser")
    assert "Prüfung" in printed


def test_output_name_prints_ids(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    assert run("runtimes", "get", ID, "-o", "name").stdout == ID + "\n"


def test_list_reads_all_pages_with_its_filters(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(id="a.1"), cursor="c1"))
    gateway.answers(page(cursor="c2"))
    gateway.answers(page(runtime(id="a.2")))
    result = run(
        *("runtimes", "list", "--kind", "durable", "--kind", "browser", "--state", "running", "--provider", "p"),
        *("--scope", "s/t", "--name", "n", "--project", "x", "--owner", "me", "--partial", "deny", "-o", "name"),
    )
    assert result.stdout == "a.1\na.2\n"
    assert (result.exit_code, result.stderr) == (0, "")
    filters = [
        *(("kind", "durable"), ("kind", "browser"), ("provider", "p"), ("scope", "s/t"), ("state", "running")),
        *(("name", "n"), ("project", "x"), ("owner", "me"), ("partial", "deny"), ("limit", "100")),
    ]
    assert sorted(gateway.seen[0].query) == sorted(filters)
    assert sorted(gateway.seen[2].query) == sorted([*filters, ("cursor", "c2")])


def test_list_stops_at_its_limit_and_reports_that_there_may_be_more(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(*(runtime(id=f"a.{n}") for n in range(100)), cursor="c"))
    gateway.answers(page(*(runtime(id=f"b.{n}") for n in range(5))))
    result = run("runtimes", "list", "--limit", "102", "-o", "json")
    document = json.loads(result.stdout)
    assert len(document["items"]) == 102
    assert [dict(seen.query)["limit"] for seen in gateway.seen] == ["100", "2"]
    assert "raise --limit" not in result.stderr, "there is no next cursor"
    gateway.answers(page(runtime(), cursor="c"))
    assert "raise --limit" in run("runtimes", "list", "--limit", "1").stderr


def test_incomplete_list_exits_with_3_and_names_the_provider_on_stderr(gateway: ScriptedGateway, run: Run) -> None:
    missing = {"provider": "sick", "problem": {"code": "provider_timeout", "detail": "too slow"}}
    gateway.answers(page(runtime(), cursor="c", incomplete=(missing,)))
    gateway.answers(page(incomplete=(missing,)))
    result = run("runtimes", "list", "-o", "json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["incomplete"] == [missing]
    assert result.stderr == "incomplete: sick: provider_timeout: too slow\n"


def test_unreadable_rows_are_warnings_on_stderr_and_in_the_document(gateway: ScriptedGateway, run: Run) -> None:
    first, second = ({"detail": f"row {number} cannot be\nread", "provider": "odd"} for number in (1, 2))
    for output in ("json", "table"):
        gateway.answers({**page(runtime(), cursor="c"), "warnings": [first]})
        gateway.answers({**page(), "warnings": [second]})
        result = run("runtimes", "list", "-o", output)
        assert result.exit_code == 0
        assert [line.split(" cannot")[0] for line in result.stderr.splitlines()] == ["warning: row 1", "warning: row 2"]
        if output == "json":
            assert json.loads(result.stdout)["warnings"] == [first, second]
    gateway.answers(page(runtime()))
    assert "warnings" not in json.loads(run("runtimes", "list", "-o", "json").stdout)


def test_repeated_cursor_ends_the_list(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(cursor="c"))
    gateway.answers(page(cursor="c"))
    result = run("runtimes", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cursor_repeated: ")


def test_cursors_that_cycle_end_the_list(gateway: ScriptedGateway, run: Run) -> None:
    for cursor in ("a", "b", "a"):
        gateway.answers(page(cursor=cursor))
    result = run("runtimes", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cursor_repeated: ")


def test_pages_that_a_provider_repeats_are_read_until_the_gateway_reports_it(
    gateway: ScriptedGateway, run: Run
) -> None:
    missing = {"provider": "sick", "problem": {"code": "provider_bad_response", "detail": "repeats its pages"}}
    for cursor in ("a", "b", "c"):
        gateway.answers(page(runtime(), cursor=cursor))
    gateway.answers({**page(), "incomplete": [missing]})
    result = run("runtimes", "list", "-o", "json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert (len(document["items"]), document["incomplete"]) == (1, [missing])


@pytest.mark.parametrize("repeated", [page(), page(runtime())], ids=["empty", "repeated"])
def test_pages_without_a_new_runtime_under_new_cursors_end_the_list(
    gateway: ScriptedGateway, run: Run, monkeypatch: pytest.MonkeyPatch, repeated: dict[str, Any]
) -> None:
    monkeypatch.setattr(import_module("gateway.cli.output"), "_MOST_WITHOUT_NEW", 3)
    first = page(runtime(), cursor="c")
    pages = [page(cursor="a"), page(cursor="b"), first, *({**repeated, "next_cursor": cursor} for cursor in "de")]
    for each in (*pages, page()):
        gateway.answers(each)
    assert run("runtimes", "list", "-o", "name").exit_code == 0
    for each in (*pages, {**repeated, "next_cursor": "f"}):
        gateway.answers(each)
    result = run("runtimes", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: list_endless: ")


def test_wide_table_cuts_nothing_and_contains_no_control_character(gateway: ScriptedGateway, run: Run) -> None:
    long = "p." + "x" * 400
    gateway.answers(page(runtime(id=long, name="[red]\x1b[31m\nname", created_at=None)))
    header, row = run("runtimes", "list", "-o", "wide", env={"COLUMNS": "80"}).stdout.splitlines()
    assert header.split() == [
        *("NAME", "KIND", "STATE", "PROVIDER", "AGE", "ID", "SCOPE", "OWNER", "LABELS", "EXPIRES", "CREATED")
    ]
    assert long in row.split()
    assert "[red] [31m name" in row
    assert row.endswith("-")


def test_create_sends_the_fields_of_its_flags(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime(created=True), 201)
    result = run(
        *("runtimes", "create", "--kind", "durable", "--name", "n", "--provider", "p", "--scope", "s", "--project"),
        *("x", "--label", "a=b=c", "--no-start", "--if-exists", "fail"),
        *("--set", "config.resources.cpu_cores=4", "--set", "config.defaults.model='5'", "-o", "name"),
    )
    assert (result.exit_code, result.stdout) == (0, ID + "\n")
    assert gateway.seen[0].body == {
        "kind": "durable",
        "name": "n",
        "provider": "p",
        "scope": "s",
        "project": "x",
        "labels": {"a": "b=c"},
        "start": False,
        "if_exists": "fail",
        "config": {"resources": {"cpu_cores": 4}, "defaults": {"model": "5"}},
    }


@pytest.mark.parametrize("stdin", [False, True])
def test_flags_override_the_file_and_set_overrides_both(
    gateway: ScriptedGateway, run: Run, tmp_path: Path, stdin: bool
) -> None:
    text = "kind: browser\nname: from-file\nlabels: {a: '1', b: '2'}\nlaunch: {mode: ephemeral, humanize: false}\n"
    file = tmp_path / "browser.yaml"
    file.write_text(text)
    gateway.answers(runtime())
    run(
        *("runtimes", "create", "-f", "-" if stdin else str(file), "--name", "flag", "--label", "b=3"),
        *("--set", "launch.humanize=true", "--set", "name=set"),
        stdin=text if stdin else None,
    )
    assert gateway.seen[0].body == {
        "kind": "browser",
        "name": "set",
        "labels": {"a": "1", "b": "3"},
        "launch": {"mode": "ephemeral", "humanize": True},
    }


def test_read_without_a_response_is_no_answer(gateway: ScriptedGateway, run: Run) -> None:
    gateway.drops_connection()
    result = run("runtimes", "get", ID)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no_answer: ")


def test_delete_is_not_repeated_after_a_lost_response(gateway: ScriptedGateway, run: Run) -> None:
    gateway.drops_connection()
    assert run("runtimes", "delete", ID).exit_code == 5
    assert len(gateway.seen) == 1


def test_missing_connection_is_unreachable(run: Run, unused_tcp_port: int) -> None:
    server = f"http://127.0.0.1:{unused_tcp_port}"
    result = run("runtimes", "create", "--kind", "browser", "--server", server)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: unreachable: cannot connect to {server}: ")


def test_existing_runtime_and_warnings_are_reported_on_stderr(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime(created=False, warnings=[{"pointer": "#/config/x", "detail": "not known"}]))
    result = run("runtimes", "create", "--kind", "durable", "--name", "n", "-o", "name")
    assert result.stdout == ID + "\n"
    assert result.stderr.splitlines() == [f"note: {ID} already existed", "warning: #/config/x: not known"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("runtimes", "create"),
        ("runtimes", "create", "--kind", "durable", "--label", "x"),
        ("runtimes", "create", "--kind", "durable", "--set", "x"),
        ("runtimes", "create", "--kind", "durable", "--set", "a..b=1"),
        ("runtimes", "create", "--kind", "durable", "--set", "kind.b=1"),
        ("runtimes", "create", "--kind", "durable", "--set", "a=[1"),
        ("runtimes", "create", "-f", "no-such-file.yaml"),
        ("runtimes", "create", "--kind", "durable", "--idempotency-key", "a\nb"),
        ("runtimes", "create", "--kind", "durable", "--idempotency-key", " "),
        ("runtimes", "create", "--kind", "durable", "--retry-for", "-1"),
        ("runtimes", "stop", ID, "--if-match", 'a"b'),
        ("runtimes", "reset", ID, "--if-match", ""),
        ("runtimes", "list", "--limit", "0"),
        ("runtimes", "list", "--server", "gateway:8080"),
        ("runtimes", "list", "--server", "http://h:port"),
        ("runtimes", "list", "--server", "http://a..b"),
        ("runtimes", "list", "--server", f"http://{'a' * 64}.test"),
        ("runtimes", "list", "--api-key", "a b"),
        ("runtimes", "keepalive", ID, "--extend", "59"),
        ("runtimes", "capabilities", "update", ID, "b"),
        ("runtimes", "capabilities", "update", ID, "b", "--enable", "--version", "2"),
        ("runtimes", "capabilities", "update", ID, "b", "--flag", "x=maybe"),
        ("runtimes", "launch"),
    ],
)
def test_invalid_command_line_exits_with_2_and_sends_nothing(
    gateway: ScriptedGateway, run: Run, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert gateway.seen == []


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "a: 1\na: 2\n", "\x01"])
def test_file_that_is_not_a_mapping_is_a_usage_error(run: Run, text: str) -> None:
    assert run("runtimes", "create", "-f", "-", stdin=text).exit_code == 2


def test_error_is_one_line_then_its_fields_and_the_request_id(gateway: ScriptedGateway, run: Run) -> None:
    errors = [
        {"detail": "too many", "code": "less_than_equal", "pointer": "#/config/resources/cpu_cores"},
        {"detail": "not known", "code": "invalid", "parameter": "cursor"},
        {"detail": "odd", "code": "invalid", "header": "If-Match"},
    ]
    gateway.refuses(422, "validation_failed", errors=errors, provider="p", provider_detail="no\x1b[2J")
    result = run("runtimes", "create", "--kind", "durable")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: validation_failed: the detail of validation_failed",
        "  #/config/resources/cpu_cores: too many",
        "  cursor: not known",
        "  If-Match: odd",
        "  p said: no [2J",
        "  request id: r-1",
    ]
