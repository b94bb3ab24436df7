"""``runtimes create`` repeats one create until its outcome is known, and never sends a different one."""

import asyncio
import shlex
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from .conftest import ID, Run, ScriptedGateway, SteppedClock, runtime

CREATE = ("runtimes", "create", "--kind", "browser")


def keys(gateway: ScriptedGateway) -> list[str | None]:
    return [seen.headers.get("Idempotency-Key") for seen in gateway.seen]


def continuing_command(stderr: str) -> list[str]:
    """Return the command line that the error shows to continue the create."""
    (error,) = (line for line in stderr.splitlines() if line.startswith("error: "))
    return shlex.split(error.removesuffix(")").partition("to continue: ")[2])


def test_each_command_has_its_own_key(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime(), 201)
    gateway.answers(runtime(), 201)
    assert run(*CREATE).exit_code == 0
    assert run(*CREATE).exit_code == 0
    first, second = keys(gateway)
    assert None not in {first, second}
    assert first != second
    assert gateway.seen[0].body == {"kind": "browser"}, "the gateway derives the name from the key"


def test_given_key_is_sent_unchanged(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime(), 201)
    run(*CREATE, "--idempotency-key", "order 4711")
    assert keys(gateway) == ["order 4711"]


def test_create_is_repeated_as_the_same_request_after_growing_pauses(
    gateway: ScriptedGateway, run: Run, clock: SteppedClock
) -> None:
    gateway.refuses(504, "outcome_unknown", retryable="same_request", headers={"Retry-After": "7"})
    gateway.refuses(409, "idempotency_in_progress", retryable="same_request")
    gateway.answers(runtime(), 201)
    result = run(*CREATE, "-o", "name")
    assert (result.exit_code, result.stdout) == (0, ID + "\n")
    assert clock.slept == [7.0, 1.5]
    assert len(set(keys(gateway))) == 1
    assert gateway.seen[0].body == gateway.seen[1].body == gateway.seen[2].body
    assert result.stderr.splitlines() == [
        "retrying: outcome_unknown: the same create is sent again in 7 s",
        "retrying: idempotency_in_progress: the same create is sent again in 1.5 s",
    ]


def test_create_is_repeated_after_a_lost_response_and_after_a_proxy_page(gateway: ScriptedGateway, run: Run) -> None:
    gateway.drops_connection()
    gateway.script.append(lambda _: web.Response(status=502, text="<html>", content_type="text/html"))
    gateway.answers(runtime(), 201)
    assert run(*CREATE).exit_code == 0
    assert len(set(keys(gateway))) == 1


def test_temporary_failures_are_repeated_once_the_runtime_may_exist(gateway: ScriptedGateway, run: Run) -> None:
    gateway.refuses(504, "outcome_unknown", retryable="same_request")
    gateway.refuses(503, "overloaded", retryable="yes")
    gateway.answers(runtime(), 201)
    assert run(*CREATE).exit_code == 0


def test_final_failure_shows_the_key_and_the_command_that_continues(
    gateway: ScriptedGateway, run: Run, clock: SteppedClock
) -> None:
    for _ in range(3):
        gateway.refuses(504, "outcome_unknown", retryable="same_request", intent="in_1", headers={"Retry-After": "2"})
    result = run(*CREATE, "--name", "it's", "--label", "a=1", "--label", "b=2", "--no-start", "--retry-for", "5")
    assert (result.exit_code, result.stdout) == (5, "")
    assert clock.slept == [2.0, 2.0]
    assert "error: outcome_unknown: the detail of outcome_unknown (Idempotency-Key: cli-" in result.stderr
    assert "  intent: in_1\n" in result.stderr
    key = keys(gateway)[0]
    assert key is not None
    words = continuing_command(result.stderr)
    assert words[-2:] == ["--idempotency-key", key]

    gateway.answers(runtime(), 201)
    assert run(*words[words.index("runtimes") :]).exit_code == 0
    assert keys(gateway) == [key] * 4
    assert gateway.seen[3].body == gateway.seen[0].body


def test_continuing_command_shows_no_secret(gateway: ScriptedGateway, run: Run) -> None:
    gateway.drops_connection()
    result = run(
        *("runtimes", "create", "-f", "-", "--api-key", "s3cret-key", "--set", "launch.proxy.password=hunter2"),
        *("--retry-for", "0"),
        stdin="kind: browser\n",
    )
    assert result.exit_code == 5
    assert "--file - --set launch.proxy.password=... --retry-for 0" in result.stderr
    assert "hunter2" not in result.stderr
    assert "s3cret-key" not in result.stderr


def test_parked_create_is_not_repeated(gateway: ScriptedGateway, run: Run) -> None:
    gateway.refuses(504, "outcome_unknown", retryable="no")
    result = run(*CREATE, "--idempotency-key", "mine")
    assert (result.exit_code, len(gateway.seen)) == (5, 1)
    assert continuing_command(result.stderr)[-2:] == ["--idempotency-key", "mine"]


def test_rejected_key_leaves_the_earlier_attempt_unknown(gateway: ScriptedGateway, run: Run) -> None:
    gateway.drops_connection()
    gateway.refuses(401, "unauthenticated", retryable="no")
    result = run(*CREATE)
    assert result.exit_code == 5
    assert result.stderr.splitlines()[1].startswith("error: unauthenticated: ")


def test_refusal_by_the_provider_settles_the_earlier_attempt(gateway: ScriptedGateway, run: Run) -> None:
    gateway.drops_connection()
    gateway.refuses(409, "already_exists", retryable="no")
    assert run(*CREATE).exit_code == 1


def test_unavailable_store_means_that_nothing_was_created(gateway: ScriptedGateway, run: Run) -> None:
    gateway.refuses(503, "store_unavailable", retryable="same_request")
    assert run(*CREATE, "--retry-for", "0").exit_code == 1


def test_create_is_repeated_when_the_gateway_is_down_after_an_attempt(
    gateway: ScriptedGateway, run: Run, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.cli.client import Client
    from gateway.cli.failures import Unreachable

    call, calls = Client.call, 0

    async def down_for_the_second(self: Client, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Unreachable("http://gateway", "connection refused")
        return await call(self, *arguments, **named)

    monkeypatch.setattr(Client, "call", down_for_the_second)
    gateway.drops_connection()
    gateway.answers(runtime(), 201)
    assert run(*CREATE).exit_code == 0
    assert clock.slept == [1.0, 1.5]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also in a test run that a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupted_create_prints_the_command_that_continues_it(gateway: ScriptedGateway, run: Run) -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    async def interrupting(request: web.Request) -> web.StreamResponse:
        signal.pthread_kill(main_thread, signal.SIGINT)
        # A signal that arrives right before the client's loop waits for its sockets does not wake it; the head does.
        await web.StreamResponse().prepare(request)
        await asyncio.Event().wait()  # cancelled when the client has closed the connection
        raise AssertionError("unreachable")

    gateway.script.append(interrupting)
    result = run(*CREATE, "--idempotency-key", "mine")
    assert result.exit_code == 1
    assert "interrupted: the runtime may have been created; to continue: " in result.stderr
    assert "--kind browser --idempotency-key mine\n" in result.stderr
    assert len(gateway.seen) == 1
