"""The client commands: what they send, what they print, and how they end."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from ruamel.yaml import YAML

from .conftest import ID, KEY, Run, ScriptedGateway, SteppedClock


def runtime(state: str = "idle", **members: Any) -> dict[str, Any]:
    return {
        "object": "runtime",
        "id": ID,
        "kind": "durable",
        "provider": "durable-demo",
        "scope": "acme/research",
        "name": "research-agent",
        "state": state,
        "state_reason": None,
        "labels": {"team": "shop"},
        "actions": {
            "start": {"allowed": True},
            "pause": {"allowed": False, "reason": "works from: running"},
            "stop": {"allowed": False, "requires": {"discard_state": True}},
        },
        "created_at": "2025-01-01T00:00:00Z",
        **members,
    }


def page(*items: Any, cursor: str | None = None, incomplete: tuple[Any, ...] = ()) -> dict[str, Any]:
    return {"object": "list", "items": list(items), "next_cursor": cursor, "incomplete": list(incomplete)}


def test_a_request_carries_the_key_and_never_a_body_where_none_is_meant(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    assert run("runtimes", "get", ID).exit_code == 0
    (seen,) = gateway.seen
    assert (seen.method, seen.path, seen.body) == ("GET", f"/v1/runtimes/{ID}", None)
    assert seen.headers["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_authorization_is_sent(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    run("runtimes", "get", ID, env={"RTGW_API_KEY": ""})
    assert "Authorization" not in gateway.seen[0].headers


def test_flags_go_over_the_variables(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    env = {"RTGW_SERVER": "http://127.0.0.1:1", "RTGW_API_KEY": "other"}
    run("runtimes", "get", ID, "--server", gateway.url + "/", "--api-key", "mine", env=env)
    assert gateway.seen[0].headers["Authorization"] == "Bearer mine"


def test_an_id_is_one_segment_of_the_path_whatever_it_holds(gateway: ScriptedGateway, run: Run) -> None:
    gateway.refuses(404, "not_found")
    run("runtimes", "get", "a/../b?c#d e")
    assert gateway.seen[0].path == "/v1/runtimes/a%2F..%2Fb%3Fc%23d%20e"


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
def test_documents_are_printed_as_the_api_answered_them(gateway: ScriptedGateway, run: Run, output: str) -> None:
    gateway.answers(runtime(name="Prüfung"))
    printed = run("runtimes", "get", ID, "-o", output).stdout
    read = json.loads(printed) if output == "json" else YAML(typ="safe", pure=True).load(printed)
    assert read == runtime(name="Prüfung")
    assert "Prüfung" in printed


def test_o_name_prints_ids(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    assert run("runtimes", "get", ID, "-o", "name").stdout == ID + "\n"


def test_list_follows_the_cursors_to_the_end_with_its_filters(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(id="a.1"), cursor="c1"))
    gateway.answers(page(cursor="c2"))
    gateway.answers(page(runtime(id="a.2")))
    result = run(
        *("runtimes", "list", "--kind", "durable", "--kind", "browser", "--state", "running", "--provider", "p"),
        *("--scope", "s/t", "--name", "n", "--project", "x", "--mine", "--partial", "deny", "-o", "name"),
    )
    assert result.stdout == "a.1\na.2\n"
    assert (result.exit_code, result.stderr) == (0, "")
    filters = [
        *(("kind", "durable"), ("kind", "browser"), ("provider", "p"), ("scope", "s/t"), ("state", "running")),
        *(("name", "n"), ("project", "x"), ("owner", "me"), ("partial", "deny"), ("limit", "100")),
    ]
    assert sorted(gateway.seen[0].query) == sorted(filters)
    assert sorted(gateway.seen[2].query) == sorted([*filters, ("cursor", "c2")])


def test_list_stops_at_its_limit_and_says_that_there_is_more(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(*(runtime(id=f"a.{n}") for n in range(100)), cursor="c"))
    gateway.answers(page(*(runtime(id=f"b.{n}") for n in range(5))))
    result = run("runtimes", "list", "--limit", "102", "-o", "json")
    document = json.loads(result.stdout)
    assert len(document["items"]) == 102
    assert [dict(seen.query)["limit"] for seen in gateway.seen] == ["100", "2"]
    assert "raise --limit" not in result.stderr, "there is no cursor to go on with"
    gateway.answers(page(runtime(), cursor="c"))
    assert "raise --limit" in run("runtimes", "list", "--limit", "1").stderr


def test_a_list_without_a_provider_ends_with_3_and_names_it_on_stderr(gateway: ScriptedGateway, run: Run) -> None:
    missing = {"provider": "sick", "problem": {"code": "provider_timeout", "detail": "too slow"}}
    gateway.answers(page(runtime(), cursor="c", incomplete=(missing,)))
    gateway.answers(page(incomplete=(missing,)))
    result = run("runtimes", "list", "-o", "json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["incomplete"] == [missing]
    assert result.stderr == "incomplete: sick: provider_timeout: too slow\n"


def test_rows_that_cannot_be_read_are_warnings_on_stderr_and_in_a_document(gateway: ScriptedGateway, run: Run) -> None:
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


def test_a_cursor_that_leads_to_itself_ends_the_list(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(cursor="c"))
    gateway.answers(page(cursor="c"))
    result = run("runtimes", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cursor_repeated: ")


def test_a_table_never_cuts_an_id_and_lets_nothing_act_on_the_terminal(gateway: ScriptedGateway, run: Run) -> None:
    long = "p." + "x" * 400
    gateway.answers(page(runtime(id=long, name="[red]\x1b[31m\nname", created_at=None)))
    header, row = run("runtimes", "list").stdout.splitlines()
    assert header.split() == ["ID", "KIND", "SCOPE", "NAME", "STATE", "CREATED"]
    assert row.split()[0] == long
    assert "[red] [31m name" in row
    assert row.endswith("-")


def test_create_sends_what_the_flags_say(gateway: ScriptedGateway, run: Run) -> None:
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
def test_flags_go_over_the_file_and_set_over_both(
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


def test_a_read_that_gets_no_answer_is_an_error_like_any_other(gateway: ScriptedGateway, run: Run) -> None:
    gateway.hangs_up()
    result = run("runtimes", "get", ID)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no_answer: ")


def test_a_delete_whose_answer_is_lost_is_not_sent_again(gateway: ScriptedGateway, run: Run) -> None:
    gateway.hangs_up()
    assert run("runtimes", "delete", ID).exit_code == 5
    assert len(gateway.seen) == 1


def test_nothing_was_sent_when_there_is_no_connection(run: Run, unused_tcp_port: int) -> None:
    server = f"http://127.0.0.1:{unused_tcp_port}"
    result = run("runtimes", "create", "--kind", "browser", "--server", server)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: unreachable: cannot connect to {server}: ")


def test_what_was_there_before_and_warnings_are_notes(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime(created=False, warnings=[{"pointer": "#/config/x", "detail": "not known"}]))
    result = run("runtimes", "create", "--kind", "durable", "--name", "n", "-o", "name")
    assert result.stdout == ID + "\n"
    assert result.stderr.splitlines() == [f"note: {ID} was there before", "warning: #/config/x: not known"]


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
def test_a_command_that_cannot_be_read_ends_with_2_and_sends_nothing(
    gateway: ScriptedGateway, run: Run, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert gateway.seen == []


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "a: 1\na: 2\n", "\x01"])
def test_a_file_that_is_no_mapping_is_a_usage_error(run: Run, text: str) -> None:
    assert run("runtimes", "create", "-f", "-", stdin=text).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "target", "body"),
    [
        (("start",), "start", {}),
        (
            ("start", "--secret-id", "u", "--runtime-limit", "60"),
            "start",
            {"secret_ids": ["u"], "runtime_limit_seconds": 60},
        ),
        (("pause",), "pause", {}),
        (("resume",), "resume", {}),
        (("reset",), "reset", {}),
        (("stop",), "stop", {}),
        (("stop", "--discard-state"), "stop", {"discard_state": True}),
    ],
)
def test_a_verb_sends_its_options_and_prints_the_runtime(
    gateway: ScriptedGateway, run: Run, arguments: tuple[str, ...], target: str, body: dict[str, Any]
) -> None:
    gateway.answers(runtime("idle", changed=False))
    result = run("runtimes", arguments[0], ID, *arguments[1:], "-o", "name")
    assert result.stdout == ID + "\n"
    assert result.stderr == f"note: nothing to do, {ID} is idle\n"
    assert (gateway.seen[0].method, gateway.seen[0].path) == ("POST", f"/v1/runtimes/{ID}/{target}")
    assert gateway.seen[0].body == body


@pytest.mark.parametrize("verb", ["stop", "reset"])
@pytest.mark.parametrize("tag", ["i-1", '"i-1"'])
def test_a_stop_or_reset_can_be_bound_to_an_instance(gateway: ScriptedGateway, run: Run, verb: str, tag: str) -> None:
    gateway.answers(runtime("idle"))
    gateway.answers(runtime("idle"))
    assert run("runtimes", verb, ID, "--if-match", tag).exit_code == 0
    assert run("runtimes", verb, ID).exit_code == 0
    assert [seen.headers.get("If-Match") for seen in gateway.seen] == ['"i-1"', None]


def test_keepalive_connect_and_delete_send_what_the_api_takes(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers({"id": ID, "expires_at": "2025-01-01T00:00:00Z"})
    assert "2025-01-01T00:00:00Z" in run("runtimes", "keepalive", ID, "--extend", "900").stdout
    gateway.answers({"items": [{"protocol": "cdp", "url": "wss://h/1", "token": "t0k", "expires_at": None}]})
    assert run("runtimes", "connect", ID, "--protocol", "cdp").stdout.splitlines()[1].split() == [
        *("cdp", "wss://h/1", "t0k", "-")
    ]
    gateway.answers({"items": []})
    run("runtimes", "connect", ID)
    gateway.script.append(lambda _: web.Response(status=204))
    deleted = run("runtimes", "delete", ID)
    assert (deleted.exit_code, deleted.stdout, deleted.stderr) == (0, "", f"deleted: {ID}\n")
    assert [(seen.method, seen.path.removeprefix(f"/v1/runtimes/{ID}"), seen.body) for seen in gateway.seen] == [
        ("POST", "/keepalive", {"extend_seconds": 900}),
        ("POST", "/connections", {"protocol": "cdp"}),
        ("POST", "/connections", {}),
        ("DELETE", "", None),
    ]


def test_wait_asks_until_the_state_is_reached(gateway: ScriptedGateway, run: Run, clock: SteppedClock) -> None:
    for state in ("starting", "starting", "starting", "running"):
        gateway.answers(runtime(state))
    result = run("runtimes", "start", ID, "--wait", "-o", "json")
    assert json.loads(result.stdout)["state"] == "running"
    assert result.stderr == f"waiting: {ID} is starting\n"
    assert clock.slept == [1.0, 1.5]


def test_wait_rides_out_reads_that_fail_for_the_moment(gateway: ScriptedGateway, run: Run, clock: SteppedClock) -> None:
    gateway.answers(runtime("running"))
    gateway.refuses(503, "provider_unavailable", {"Retry-After": "7"}, retryable="yes")
    gateway.answers(runtime("paused"))
    assert run("runtimes", "pause", ID, "--wait").exit_code == 0
    assert clock.slept == [7.0]


def test_wait_ends_at_once_on_an_error_that_stays(gateway: ScriptedGateway, run: Run, clock: SteppedClock) -> None:
    gateway.answers(runtime("running"))
    gateway.refuses(401, "unauthenticated", retryable="no")
    assert run("runtimes", "pause", ID, "--wait").exit_code == 4
    assert clock.slept == []


def test_wait_gives_up_after_its_timeout(gateway: ScriptedGateway, run: Run, clock: SteppedClock) -> None:
    for _ in range(5):
        gateway.answers(runtime("starting"))
    result = run("runtimes", "start", ID, "--wait", "--timeout", "4")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"error: timeout: {ID} is starting after 4 s"
    assert clock.time == 4


def test_wait_ends_when_the_runtime_fails(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime("starting"))
    gateway.answers(runtime("failed", state_reason="out of memory"))
    result = run("runtimes", "start", ID, "--wait")
    assert result.exit_code == 1
    assert result.stderr == f"error: failed: {ID} has failed: out of memory\n"


def test_a_stop_waits_through_failed(gateway: ScriptedGateway, run: Run) -> None:
    for state in ("failed", "failed", "idle"):
        gateway.answers(runtime(state))
    assert run("runtimes", "stop", ID, "--discard-state", "--wait").exit_code == 0


@pytest.mark.parametrize(("start", "states"), [((), ["starting", "idle"]), (("--start",), ["idle", "running"])])
def test_create_waits_for_running_when_started_and_else_for_any_rest(
    gateway: ScriptedGateway, run: Run, start: tuple[str, ...], states: list[str]
) -> None:
    for state in states:
        gateway.answers(runtime(state))
    result = run("runtimes", "create", "--kind", "durable", *start, "--wait", "-o", "json")
    assert json.loads(result.stdout)["state"] == states[-1]


def test_delete_waits_until_the_runtime_is_gone(gateway: ScriptedGateway, run: Run) -> None:
    gateway.script.append(lambda _: web.Response(status=204))
    gateway.answers(runtime("stopping"))
    gateway.refuses(404, "not_found")
    assert run("runtimes", "delete", ID, "--wait").exit_code == 0


def test_an_error_is_one_line_and_then_its_fields_and_the_request_id(gateway: ScriptedGateway, run: Run) -> None:
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


def test_a_config_that_was_read_can_be_changed_and_set(gateway: ScriptedGateway, run: Run) -> None:
    document = {"config": {"version": "v2", "resources": {"cpu_cores": 2}}, "config_digest": "d1"}
    gateway.answers(document)
    printed = run("runtimes", "config", "get", ID).stdout
    gateway.answers({**document, "warnings": [{"pointer": "#/config/x", "detail": "not known"}]})
    arguments = ("runtimes", "config", "set", ID, "-f", "-", "--set", "resources.cpu_cores=4", "--if-match")
    result = run(*arguments, "d1", stdin=printed)
    assert result.stderr == "warning: #/config/x: not known\n"
    _, put = gateway.seen
    assert (put.method, put.path) == ("PUT", f"/v1/runtimes/{ID}/config")
    assert put.body == {"config": {"version": "v2", "resources": {"cpu_cores": 4}}}
    assert put.headers["If-Match"] == '"d1"'
    gateway.answers(document)
    run(*arguments, '"d1"', stdin="version: v2\n")
    assert gateway.seen[2].body == {"config": {"version": "v2", "resources": {"cpu_cores": 4}}}
    assert gateway.seen[2].headers["If-Match"] == '"d1"'


def test_capabilities_are_listed_installed_changed_and_removed(gateway: ScriptedGateway, run: Run) -> None:
    binding = {"id": "b-1", "name": "web-search", "version": "1.0.0", "enabled": False, "latest_version": "1.1.0"}
    at = ("runtimes", "capabilities")
    gateway.answers({"items": [binding]})
    assert run(*at, "list", ID).stdout.splitlines()[1].split() == ["b-1", "web-search", "1.0.0", "1.1.0", "no", "-"]
    for arguments in (
        ("install", ID, "web-search"),
        ("install", ID, "web-search", "--version", "1.0.0"),
        ("update", ID, "b-1", "--enable"),
        ("update", ID, "b-1", "--flag", "x=true", "--flag", "y=false", "--flag", "z=default"),
        ("update", ID, "b-1", "--version", "1.1.0"),
    ):
        gateway.answers(binding)
        assert run(*at, *arguments, "-o", "name").stdout == "b-1\n"
    gateway.script.append(lambda _: web.Response(status=204))
    assert run(*at, "remove", ID, "b-1").stderr == "removed: b-1\n"
    assert [(seen.method, seen.path.rpartition("/")[2], seen.body) for seen in gateway.seen[1:]] == [
        ("POST", "capabilities", {"name": "web-search"}),
        ("POST", "capabilities", {"name": "web-search", "version": "1.0.0"}),
        ("PATCH", "b-1", {"enabled": True}),
        ("PATCH", "b-1", {"flags": {"x": True, "y": False, "z": None}}),
        ("PATCH", "b-1", {"version": "1.1.0"}),
        ("DELETE", "b-1", None),
    ]


@pytest.mark.parametrize("output", ["table", "json"])
def test_resolved_capabilities_are_printed(gateway: ScriptedGateway, run: Run, output: str) -> None:
    one = {"name": "web-search", "version": "1", "artifact_digest": "sha256:a", "runtime_digest": "sha256:r"}
    gateway.answers({"runtime_digest": "sha256:all", "capabilities": [one]})
    printed = run("runtimes", "capabilities", "resolved", ID, "-o", output).stdout
    assert "sha256:a" in printed
    assert ("sha256:all" in printed) is (output == "json")


def test_providers_are_listed_and_shown_by_name(gateway: ScriptedGateway, run: Run) -> None:
    provider = {"name": "p", "api": "bctrl", "kinds": ["browser", "desktop"], "creates": ["browser"], "scope": None}
    provider["health"] = {"status": "ok"}
    gateway.answers({"object": "list", "items": [provider]})
    header, row = run("providers", "list").stdout.splitlines()
    assert header.split() == ["NAME", "API", "KINDS", "CREATES", "SCOPE", "HEALTH", "TROUBLE"]
    assert row.split() == ["p", "bctrl", "browser,", "desktop", "browser", "-", "ok", "-"]
    gateway.answers(provider)
    shown = dict(line.split(maxsplit=1) for line in run("providers", "get", "p").stdout.splitlines())
    assert (shown["kinds"], shown["creates"], shown["health.status"]) == ("browser, desktop", "browser", "ok")
    gateway.answers(provider)
    assert run("providers", "get", "p", "-o", "name").stdout == "p\n"
    assert [seen.path for seen in gateway.seen] == ["/v1/providers", "/v1/providers/p", "/v1/providers/p"]


def test_the_list_of_providers_tells_what_holds_one_back(gateway: ScriptedGateway, run: Run) -> None:
    breakers = {"read": "closed", "create": "open", "start": "half_open", "release": "closed"}
    policies = {work: {"in_flight": 0, "max_in_flight": 8, "breaker": state} for work, state in breakers.items()}
    provider: dict[str, Any] = {"name": "p", "api": "durable", "kinds": ["durable"], "scope": None}
    provider |= {"health": {"status": "failing", "credentials_ok": False}, "policies": policies}
    gateway.answers({"object": "list", "items": [provider]})
    header, row = run("providers", "list").stdout.splitlines()
    assert header.endswith("TROUBLE")
    assert row.endswith("failing  credentials rejected, create open, start half-open")
    gateway.answers(provider)
    rows = dict(line.split(maxsplit=1) for line in run("providers", "get", "p").stdout.splitlines())
    assert (rows["policies.create.breaker"], rows["health.credentials_ok"]) == ("open", "false")
    assert rows["policies.create.max_in_flight"] == "8"
