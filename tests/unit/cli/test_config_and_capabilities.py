"""``runtimes config`` and ``runtimes capabilities``: what they send and print."""

import pytest
from aiohttp import web

from .conftest import ID, Run, ScriptedGateway

BINDING = "9d1f6f0a-8a4e-4a57-9d5e-0c5b8f3a9f11"


def test_printed_config_can_be_changed_and_set(gateway: ScriptedGateway, run: Run) -> None:
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


def test_capability_commands_send_their_bodies_and_print_their_results(gateway: ScriptedGateway, run: Run) -> None:
    binding = {"id": BINDING, "name": "web-search", "version": "1.0.0", "enabled": False, "latest_version": "1.1.0"}
    at = ("runtimes", "capabilities")
    gateway.answers({"items": [binding]})
    assert run(*at, "list", ID).stdout.splitlines()[1].split() == ["web-search", "1.0.0", "1.1.0", "no", "-"]
    for arguments in (
        ("install", ID, "web-search"),
        ("install", ID, "web-search", "--version", "1.0.0"),
        ("update", ID, BINDING, "--enable"),
        ("update", ID, BINDING, "--flag", "x=true", "--flag", "y=false", "--flag", "z=default"),
        ("update", ID, BINDING, "--version", "1.1.0"),
    ):
        gateway.answers(binding)
        assert run(*at, *arguments, "-o", "name").stdout == f"{BINDING}\n"
    gateway.script.append(lambda _: web.Response(status=204))
    assert run(*at, "remove", ID, BINDING).stderr == f"removed: {BINDING}\n"
    assert [(seen.method, seen.path.rpartition("/")[2], seen.body) for seen in gateway.seen[1:]] == [
        ("POST", "capabilities", {"name": "web-search"}),
        ("POST", "capabilities", {"name": "web-search", "version": "1.0.0"}),
        ("PATCH", BINDING, {"enabled": True}),
        ("PATCH", BINDING, {"flags": {"x": True, "y": False, "z": None}}),
        ("PATCH", BINDING, {"version": "1.1.0"}),
        ("DELETE", BINDING, None),
    ]


@pytest.mark.parametrize("output", ["table", "json"])
def test_resolved_capabilities_are_printed(gateway: ScriptedGateway, run: Run, output: str) -> None:
    one = {"name": "web-search", "version": "1", "artifact_digest": "sha256:a", "runtime_digest": "sha256:r"}
    gateway.answers({"runtime_digest": "sha256:all", "capabilities": [one]})
    printed = run("runtimes", "capabilities", "resolved", ID, "-o", output).stdout
    assert "sha256:a" in printed
    assert ("sha256:all" in printed) is (output == "json")
