"""The verbs of ``runtimes`` and ``--wait``: what they send and print, and how they end."""

import json
from typing import Any

import pytest
from aiohttp import web

from .conftest import ID, Run, ScriptedGateway, SteppedClock, runtime


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
def test_verb_sends_its_options_and_prints_the_runtime(
    gateway: ScriptedGateway, run: Run, arguments: tuple[str, ...], target: str, body: dict[str, Any]
) -> None:
    gateway.answers(runtime("idle", changed=False))
    result = run("runtimes", arguments[0], ID, *arguments[1:], "-o", "name")
    assert result.stdout == ID + "\n"
    assert result.stderr == f"note: nothing to do: {ID} is idle\n"
    assert (gateway.seen[0].method, gateway.seen[0].path) == ("POST", f"/v1/runtimes/{ID}/{target}")
    assert gateway.seen[0].body == body


@pytest.mark.parametrize("verb", ["stop", "reset"])
@pytest.mark.parametrize("tag", ["i-1", '"i-1"'])
def test_stop_and_reset_send_if_match(gateway: ScriptedGateway, run: Run, verb: str, tag: str) -> None:
    gateway.answers(runtime("idle"))
    gateway.answers(runtime("idle"))
    assert run("runtimes", verb, ID, "--if-match", tag).exit_code == 0
    assert run("runtimes", verb, ID).exit_code == 0
    assert [seen.headers.get("If-Match") for seen in gateway.seen] == ['"i-1"', None]


def test_keepalive_connect_and_delete_send_and_print_what_the_api_takes(gateway: ScriptedGateway, run: Run) -> None:
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


def test_wait_polls_until_the_state_is_reached(gateway: ScriptedGateway, run: Run, clock: SteppedClock) -> None:
    for state in ("starting", "starting", "starting", "running"):
        gateway.answers(runtime(state))
    result = run("runtimes", "start", ID, "--wait", "-o", "json")
    assert json.loads(result.stdout)["state"] == "running"
    assert result.stderr == f"waiting: {ID} is starting\n"
    assert clock.slept == [1.0, 1.5]


def test_wait_continues_after_a_temporary_failure(gateway: ScriptedGateway, run: Run, clock: SteppedClock) -> None:
    gateway.answers(runtime("running"))
    gateway.refuses(503, "provider_unavailable", {"Retry-After": "7"}, retryable="yes")
    gateway.answers(runtime("paused"))
    assert run("runtimes", "pause", ID, "--wait").exit_code == 0
    assert clock.slept == [7.0]


def test_wait_ends_at_once_after_a_permanent_failure(gateway: ScriptedGateway, run: Run, clock: SteppedClock) -> None:
    gateway.answers(runtime("running"))
    gateway.refuses(401, "unauthenticated", retryable="no")
    assert run("runtimes", "pause", ID, "--wait").exit_code == 4
    assert clock.slept == []


def test_wait_fails_after_its_timeout(gateway: ScriptedGateway, run: Run, clock: SteppedClock) -> None:
    for _ in range(5):
        gateway.answers(runtime("starting"))
    result = run("runtimes", "start", ID, "--wait", "--timeout", "4")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"error: timeout: {ID} is starting after 4 s"
    assert clock.time == 4


def test_wait_fails_when_the_runtime_fails(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime("starting"))
    gateway.answers(runtime("failed", state_reason="out of memory"))
    result = run("runtimes", "start", ID, "--wait")
    assert result.exit_code == 1
    assert result.stderr == f"error: failed: {ID} has failed: out of memory\n"


def test_stop_continues_to_wait_while_the_runtime_is_failed(gateway: ScriptedGateway, run: Run) -> None:
    for state in ("failed", "failed", "idle"):
        gateway.answers(runtime(state))
    assert run("runtimes", "stop", ID, "--discard-state", "--wait").exit_code == 0


@pytest.mark.parametrize(("start", "states"), [((), ["starting", "idle"]), (("--start",), ["idle", "running"])])
def test_create_waits_for_running_with_start_and_else_for_any_stable_state(
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
