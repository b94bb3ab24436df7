"""``demo fault``: how it finds a demo, what it sends to the emulators, and what it prints."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.faults import KINDS, findable

from .conftest import Run, ScriptedGateway


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "runtime-gateway"


@pytest.fixture
def demo(gateway: ScriptedGateway) -> Iterator[None]:
    """A demo with two providers, whose gateway and controls are the scripted server."""
    with findable(gateway.url, {name: f"{gateway.url}/{name}" for name in ("durable-demo", "browsers-demo")}):
        yield


def armed(fault: str, operation: str = "*", **members: Any) -> dict[str, Any]:
    return {"operation": operation, "fault": fault, "seen": 3, "fired": 1, **members}


def test_file_of_a_demo_is_private_and_is_removed_at_its_end(folder: Path) -> None:
    with findable("http://127.0.0.1:9000", {"durable-demo": "http://127.0.0.1:1/durable-demo"}):
        (file,) = folder.iterdir()
        assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("demo-9000.json", 0o600)
        assert json.loads(file.read_text()) == {"durable-demo": "http://127.0.0.1:1/durable-demo"}
    assert list(folder.iterdir()) == []


def test_demo_without_a_folder_of_the_system_uses_that_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with findable("http://127.0.0.1:9000", {}):
        assert (tmp_path / "settings of the user" / "runtime-gateway" / "demo-9000.json").is_file()


def test_demo_whose_file_cannot_be_written_runs_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "a file"))
    with findable("http://127.0.0.1:9000", {}):
        assert "demo fault needs --control" in capsys.readouterr().err


@pytest.mark.usefixtures("demo")
def test_list_shows_the_faults_and_what_is_left_of_those_that_are_set(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers({"items": [armed("drop_after", "create", times=3), armed("hang", times=1), armed("other_name")]})
    gateway.answers({"items": [armed("refuse", seconds_left=24.6), armed("status", status=429, retry_after=5)]})
    result = run("demo", "fault", "list", env={"COLUMNS": "80"})
    kinds, _, active = result.stdout.partition("\n\n")
    assert [line.split()[0] for line in kinds.splitlines()] == ["FAULT", *KINDS]
    assert "…" not in result.stdout
    assert active.splitlines() == [
        "PROVIDER       FAULT          CALLS   LEFT",
        "durable-demo   lost-response  create  2 x",
        "durable-demo   other_name     all     until cleared",
        "browsers-demo  refuse         all     25 s",
        "browsers-demo  rate-limit     all     until cleared",
    ]
    assert [seen.path for seen in gateway.seen] == ["/durable-demo/__faults", "/browsers-demo/__faults"]
    assert "Authorization" not in gateway.seen[0].headers


@pytest.mark.usefixtures("demo")
def test_list_as_json_has_the_faults_and_those_that_are_set(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers({"items": [armed("drop_after", "create", times=3, seconds_left=9.5)]})
    gateway.answers({"items": []})
    document = json.loads(run("demo", "fault", "list", "-o", "json").stdout)
    assert document["items"] == [
        {
            "provider": "durable-demo",
            "fault": "lost-response",
            "operation": "create",
            "times_left": 2,
            "seconds_left": 9.5,
        }
    ]
    assert [kind["fault"] for kind in document["faults"]] == [*KINDS]


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["lost-response"], {"operation": "create", "fault": "drop_after", "times": 1}),
        (["lost-response", "--times", "2"], {"operation": "create", "fault": "drop_after", "times": 2}),
        (["lost-response", "--for", "1m"], {"operation": "create", "fault": "drop_after", "lasts": 60}),
        (["refuse", "--for", "30s"], {"operation": "*", "fault": "refuse", "lasts": 30}),
        (["error", "--operation", "list"], {"operation": "list", "fault": "status", "status": 500}),
    ],
)
@pytest.mark.usefixtures("demo")
def test_set_sends_the_rule_to_the_provider_and_shows_it(
    run: Run, gateway: ScriptedGateway, words: list[str], rule: dict[str, Any]
) -> None:
    gateway.answers({"items": [armed("hang"), {**rule, "seen": 0, "fired": 0}]}, 201)
    result = run("demo", "fault", "set", "browsers-demo", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [(seen.method, seen.path, seen.body) for seen in gateway.seen] == [("POST", "/browsers-demo/__faults", rule)]
    assert result.stdout.splitlines()[1].split()[:2] == ["browsers-demo", words[0]]


@pytest.mark.usefixtures("demo")
def test_clear_ends_the_faults_of_one_provider_or_of_all(run: Run, gateway: ScriptedGateway) -> None:
    for _ in range(3):
        gateway.answers({"ended": 1})
    assert run("demo", "fault", "clear", "browsers-demo").stdout == "browsers-demo: 1 cleared\n"
    assert run("demo", "fault", "clear").stdout == "durable-demo: 1 cleared\nbrowsers-demo: 1 cleared\n"
    assert {seen.method for seen in gateway.seen} == {"DELETE"}


def test_control_selects_an_emulator_without_a_demo(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers({"items": [armed("hang")]}, 201)
    url = f"{gateway.url}/__faults"
    assert run("demo", "fault", "set", "any-name", "hang", "--control", url).exit_code == 0
    assert gateway.seen[0].path == "/__faults"


def test_without_a_demo_the_error_says_how_to_start_one(run: Run) -> None:
    result = run("demo", "fault", "list", env={"RTGW_SERVER": "http://127.0.0.1:9"})
    assert result.exit_code == 1
    assert result.stderr == (
        "error: no_demo: no demo runs at http://127.0.0.1:9: "
        "start one with runtime-gateway demo, and paste the export line that it prints\n"
    )


def test_demo_that_was_killed_is_named_in_the_error(run: Run) -> None:
    with findable("http://127.0.0.1:9", {"durable-demo": "http://127.0.0.1:9/durable-demo"}):
        result = run("demo", "fault", "list", env={"RTGW_SERVER": "http://127.0.0.1:9"})
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no_emulator: no emulator answers at http://127.0.0.1:9/durable-demo")
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("demo")
def test_refusal_of_the_emulator_is_one_line(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers({"field": "[0].operation", "detail": "unknown operation; known are get"}, 400)
    result = run("demo", "fault", "set", "durable-demo", "hang", "--operation", "fly")
    assert (result.exit_code, result.stderr) == (1, "error: refused: unknown operation; known are get\n")


@pytest.mark.usefixtures("demo")
def test_other_server_at_the_address_is_one_line(run: Run, gateway: ScriptedGateway) -> None:
    gateway.answers(["not", "an", "emulator"], 404)
    result = run("demo", "fault", "clear", "durable-demo")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no_emulator: no emulator answers at")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["set", "other", "hang"], "the demo has no 'other'; it has durable-demo, browsers-demo"),
        (["set", "durable-demo", "meteor"], "'meteor' is not one of 'lost-response'"),
        (["set", "durable-demo", "hang", "--for", "soon"], "expected a duration such as 30s or 5m"),
        (["set", "durable-demo", "hang", "--for", "0"], "expected a duration such as 30s or 5m"),
    ],
)
@pytest.mark.usefixtures("demo")
def test_mistake_in_the_command_line_is_a_usage_error(run: Run, words: list[str], text: str) -> None:
    result = run("demo", "fault", *words)
    assert result.exit_code == 2
    assert text in result.stderr


@pytest.mark.usefixtures("demo")
def test_providers_of_the_demo_are_completed(run: Run, gateway: ScriptedGateway) -> None:
    words = {"COMP_WORDS": "cli demo fault clear br", "COMP_CWORD": "4", "_CLI_COMPLETE": "bash_complete"}
    assert run(env=words).stdout == "plain,browsers-demo\n"
    assert gateway.seen == []
