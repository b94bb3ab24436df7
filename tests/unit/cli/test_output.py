"""Tables that fit, documents that a query selects from, and lists that are watched."""

import json
from collections.abc import Iterator
from typing import Any, Final

import click
import pytest
from rich.cells import cell_len

from gateway.cli import cli, contexts
from gateway.cli.output import age

from .conftest import ID, Run, ScriptedGateway, SteppedClock, page, runtime
from .store_shell import SETTINGS, Shell

LONG: Final = "a-name-of-one-hundred-characters-" + "x" * 67
EVERYTHING: Final[dict[str, Any]] = {
    **runtime("stopping", id=f"{'p' * 40}.{'x' * 200}", name=LONG, provider="p" * 40, scope=LONG, owner=LONG),
    **dict.fromkeys(("api", "principal", "operator", "decision", "intent", "note", "source", "template"), LONG),
    **dict.fromkeys(("version", "latest_version", "artifact_digest", "action", "why", "provider_id"), LONG),
    "creates": [LONG, LONG],
    "health": {"status": "ok", "credentials_ok": False},
    "created_at": "2025-01-01T00:00:00Z",
    "at": "2025-01-01T00:00:00Z",
    "outcome": "refused",
    "count": 1_000_000,
    "runtime_id": f"{'p' * 40}.{'x' * 200}",
    "expires_at": "2027-01-01T00:00:00Z",
    "last_used_at": "2027-01-01T00:00:00Z",
    "request": {"source": {"provider": "p" * 40}, "target": {"provider": "q" * 40}},
    "counts": {"planned": 1_000},
    "target": {"id": LONG, "provider_id": LONG},
    "blocked_by": [{"code": "blocked", "detail": LONG, "pointer": "#/config"}],
    "waits_for": None,
    "problem": None,
    "digest": LONG,
}
"""An item that every list command can print, with long values everywhere."""

ARGUMENTS: Final = {
    "runtimes capabilities list": (ID,),
    "runtimes capabilities resolved": (ID,),
    "runtimes get": (ID, f"{ID}0"),
    "migrate items": ("mv_1",),
    "migrate ids": ("mv_1",),
}
LOCAL: Final = {"config show", "context list", "intents decisions"}
NO_LIST: Final = {
    *("create", "install", "update", "resolve", "enable", "disable", "get", "show", "status", "test", "import"),
    *("start", "pause", "resume", "reset", "stop", "keepalive", "assign", "usage"),
}


def lists(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands that print a list as a table."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from lists(inner, (*path, name))
    elif any(isinstance(each.type, click.Choice) and "wide" in each.type.choices for each in command.params) and (
        path == ("runtimes", "get") or path[-1] not in NO_LIST or " ".join(path) in LOCAL
    ):
        yield " ".join(path)


ALL: Final = sorted(lists())


def rows_at(run: Run, gateway: ScriptedGateway, name: str, width: str, *options: str) -> list[str]:
    if name == "runtimes get":
        gateway.answers(EVERYTHING)
        gateway.answers({**EVERYTHING, "name": f"another-{LONG}"})
    else:
        items = [EVERYTHING, {**EVERYTHING, "id": "p.2", "runtime_id": "p.2", "name": "short"}]
        gateway.answers({**page(*items), "capabilities": items})
    result = run(*name.split(), *ARGUMENTS.get(name, ()), *options, env={"COLUMNS": width})
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


def test_every_group_with_a_list_is_tested() -> None:
    assert {
        "audit",
        "config show",
        "intents decisions",
        "intents list",
        "keys list",
        "migrate ids",
        "migrate items",
        "migrate list",
        "owners list",
        "principals list",
        "providers list",
        "runtimes capabilities list",
        "runtimes capabilities resolved",
        "runtimes get",
        "runtimes list",
    } <= set(ALL)


@pytest.mark.parametrize("name", [name for name in ALL if name not in LOCAL])
def test_table_has_one_row_of_at_most_80_columns_for_each_item(gateway: ScriptedGateway, run: Run, name: str) -> None:
    rows = rows_at(run, gateway, name, "80")
    assert len(rows) == 3
    assert max(map(cell_len, rows)) <= 80
    assert rows[1].count("…") >= 1


@pytest.mark.parametrize("name", [name for name in ALL if name not in LOCAL])
def test_piped_table_without_columns_and_wide_table_cut_nothing(gateway: ScriptedGateway, run: Run, name: str) -> None:
    assert "…" not in "".join(rows_at(run, gateway, name, ""))
    wide = rows_at(run, gateway, name, "80", "-o", "wide")
    assert "…" not in "".join(wide)
    assert len(wide) == 3


def test_local_tables_fit_into_80_columns(shell: Shell, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parked = shell.intent()
    shell("intents", "resolve", parked.id, "--absent", "--operator", LONG, "--note", LONG)
    shell.file.write_text(SETTINGS.replace("http://other.test", f"http://other.test/{LONG}"))
    contexts.write({"current": None, "contexts": {LONG: {"server": f"https://{LONG}.example", "api_key": "k"}}})
    listed = run("context", "list").stdout
    for text in (listed, shell("intents", "decisions").stdout, shell("config", "show").stdout):
        rows = text.splitlines()
        assert max(map(cell_len, rows)) <= 80
        assert any("…" in row for row in rows)


@pytest.mark.parametrize("width", ["20", "40", "80"])
def test_wide_characters_are_counted_as_two_columns(gateway: ScriptedGateway, run: Run, width: str) -> None:
    gateway.answers(page(runtime(name="名" * 80)))
    rows = run("runtimes", "list", env={"COLUMNS": width}).stdout.splitlines()
    assert len(rows) == 2
    assert max(map(cell_len, rows)) <= int(width)


def test_runtimes_show_name_first_and_age_and_no_id(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(), runtime(id="p.2", name=None)))
    rows = [line.split() for line in run("runtimes", "list", env={"COLUMNS": "80"}).stdout.splitlines()]
    assert rows[0] == ["NAME", "KIND", "STATE", "PROVIDER", "AGE"]
    assert rows[1][0] == "research-agent"
    assert rows[2][0] == "p.2", "a runtime without a name is shown by its id"
    assert ID not in str(rows)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-5, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400 * 12 + 3600, "12d")]
)
def test_age_is_in_its_largest_unit(monkeypatch: pytest.MonkeyPatch, seconds: int, shown: str) -> None:
    clock = SteppedClock()
    clock.time = 1_735_689_600.0 + seconds  # 2025-01-01
    with click.Context(cli, obj=clock):
        assert age({"created_at": "2025-01-01T00:00:00Z"}) == shown
        assert age({"created_at": "some day"}) == "some day"
        assert age({}) is None


def test_details_are_folded_into_the_width(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime(description="several words " * 20, id=f"p.{'x' * 200}"))
    lines = run("runtimes", "get", "p.x", env={"COLUMNS": "80"}).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    words = [line.split()[-1] for line in lines]
    assert "".join(word for word in words if set(word) <= set("p.x")) == f"p.{'x' * 200}"
    gateway.answers(runtime(id=f"p.{'x' * 200}"))
    assert f"p.{'x' * 200}" in run("runtimes", "get", "p.x").stdout


def test_addresses_are_never_cut(gateway: ScriptedGateway, run: Run) -> None:
    url = f"https://gateway.example/{'x' * 200}"
    gateway.answers({"items": [{"protocol": "cdp", "url": url, "token": "t" * 200, "expires_at": None}]})
    shown = run("runtimes", "connect", ID, env={"COLUMNS": "80"}).stdout
    assert url in shown
    assert "t" * 200 in shown


@pytest.mark.parametrize("output", ["table", "wide", "name"])
def test_empty_list_says_so_on_stderr(gateway: ScriptedGateway, run: Run, output: str) -> None:
    gateway.answers(page())
    assert run("runtimes", "list", "-o", output).stderr == "the list is empty\n"
    gateway.answers(page())
    assert run("runtimes", "list", "-o", "json").stderr == ""


def test_incomplete_list_without_a_row_is_not_called_empty(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(incomplete=({"provider": "bad", "problem": {"code": "timeout", "detail": "It is slow."}},)))
    assert run("runtimes", "list").stderr == "incomplete: bad: timeout: It is slow.\n"


@pytest.mark.parametrize(
    ("query", "options", "printed"),
    [
        ("items[].name", (), "research-agent\nother\n"),
        ("items[0].labels.team", (), "shop\n"),
        ("length(items)", (), "2\n"),
        ("items[?state=='running'].id | [0]", (), "-\n"),
        ("items[].name", ("-o", "json"), '[\n  "research-agent",\n  "other"\n]\n'),
        ("items[0].labels", (), '{\n  "team": "shop"\n}\n'),
        ("items[0].labels", ("-o", "yaml"), "team: shop\n"),
    ],
)
def test_query_selects_from_the_document(
    gateway: ScriptedGateway, run: Run, query: str, options: tuple[str, ...], printed: str
) -> None:
    gateway.answers(page(runtime(), runtime(name="other", id="p.2")))
    assert run("runtimes", "list", "--query", query, *options).stdout == printed


def test_query_is_checked_before_a_request_is_sent(gateway: ScriptedGateway, run: Run) -> None:
    result = run("runtimes", "list", "--query", "items[")
    assert (result.exit_code, gateway.seen) == (2, [])
    assert "--query" in result.stderr
    assert run("runtimes", "list", "--query", "items", "-o", "wide").exit_code == 2
    gateway.answers(runtime())
    assert run("runtimes", "get", ID, "--query", "state").stdout == "idle\n"


class Interrupted(SteppedClock):
    """A clock on which Ctrl-C is pressed during the third pause."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if len(self.slept) == 3:
            raise KeyboardInterrupt


@pytest.fixture
def clock() -> SteppedClock:
    return Interrupted()


def test_watched_list_prints_what_is_new_or_has_changed(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(), runtime(id="p.2", name="other")))
    gateway.refuses(503, "provider_unavailable", retryable="yes")
    gateway.answers(page(runtime("running")))
    result = run("runtimes", "list", "--watch", "-o", "json")
    decoder, text, states = json.JSONDecoder(), result.stdout, []
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        states += [(item["name"], item["state"]) for item in document["items"]]
        text = text.lstrip()[end:]
    assert states == [("research-agent", "idle"), ("other", "idle"), ("research-agent", "running")]
    assert result.stderr.splitlines()[:2] == ["provider_unavailable: the detail of provider_unavailable", "gone: other"]


def test_watched_list_is_queried_as_a_document(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(), runtime(id="p.2", name="other")))
    gateway.answers(page(runtime(), runtime("running", id="p.2", name="other")))
    gateway.answers(page())
    result = run("runtimes", "list", "--watch", "--query", "items[].state")
    assert result.stdout == "idle\nidle\nrunning\n"
    assert "empty" not in result.stderr


def test_watched_runtime_is_printed_again_only_when_it_changes(gateway: ScriptedGateway, run: Run) -> None:
    for state in ("idle", "idle", "running"):
        gateway.answers(runtime(state))
    assert run("runtimes", "get", ID, "--watch", "--query", "state").stdout == "idle\nrunning\n"


def test_watched_command_ends_with_a_permanent_failure(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page())
    gateway.refuses(401, "unauthenticated")
    result = run("runtimes", "list", "--watch", "-o", "name")
    assert (result.exit_code, result.stdout) == (4, "")
