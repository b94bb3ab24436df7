"""Two ways to run commands: against a scripted gateway (a real server on loopback, in a thread), and against scripted
responses of the HTTP client itself, for tables of statuses and exceptions."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from aioresponses import aioresponses
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.ports.clock import Clock
from gateway.storage.sqlite import SqliteStore
from tests.client_session_mocks import scripted_answers

from .store_shell import Shell

KEY = "a-key-for-the-tests"

Reply = Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: Any


@dataclass
class ScriptedGateway:
    """Answers requests in the order of ``script``, and records them in ``seen``."""

    url: str = ""
    script: list[Reply] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def answers(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next request with JSON."""
        self.script.append(lambda _: web.json_response(body, status=status, headers=headers))

    def refuses(self, status: int, code: str, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        """Answer the next request with a problem document."""
        problem = {"status": status, "code": code, "detail": f"the detail of {code}", "request_id": "r-1", **members}
        self.script.append(
            lambda _: web.json_response(
                problem, status=status, headers=headers, content_type="application/problem+json"
            )
        )

    def drops_connection(self) -> None:
        """Close the connection of the next request without a response."""

        def closing(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        self.script.append(closing)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.seen.append(
            Seen(request.method, request.raw_path.partition("?")[0], [*request.query.items()], request.headers, body)
        )
        if not self.script:
            return web.json_response({"code": "unexpected", "detail": "nothing is scripted"}, status=500)
        reply = self.script.pop(0)(request)
        return await reply if inspect.isawaitable(reply) else reply


class SteppedClock(Clock):
    """A clock that advances only by ``sleep``."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    scripted = ScriptedGateway()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", scripted.handle)
        runner = web.AppRunner(app, handler_cancellation=True)  # a reply can wait until the client has closed
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield scripted
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert not scripted.script, "some scripted responses were not requested"


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of a test keep their contexts in a folder of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings of the user"))


@pytest.fixture
def run(gateway: ScriptedGateway, clock: SteppedClock) -> Run:
    """Runs a command line against the scripted gateway."""

    def running(*arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> Result:
        environ = {"RTGW_SERVER": gateway.url, "RTGW_API_KEY": KEY, **(env or {})}
        result = CliRunner().invoke(cli, list(arguments), input=stdin, env=environ, obj=clock)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return running


SERVER: Final = "http://gateway.test"
ID: Final = "durable-demo.2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
CREATES: Final = f"{SERVER}/v1/runtimes"
RUNTIME: Final = f"{CREATES}/{ID}"

GET: Final = ("runtimes", "get", ID)
DELETE: Final = ("runtimes", "delete", ID)
CREATE: Final = ("runtimes", "create", "--kind", "browser", "--idempotency-key", "k-1")
ALL: Final = ((GET, "GET", RUNTIME), (DELETE, "DELETE", RUNTIME), (CREATE, "POST", CREATES))
"""Commands, with the method and the URL of the request that they send to :data:`SERVER`."""


def runtime(state: str = "idle", **members: Any) -> dict[str, Any]:
    """Return a runtime as the API sends it."""
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
    """Return a page of a list as the API sends it."""
    return {"object": "list", "items": list(items), "next_cursor": cursor, "incomplete": list(incomplete)}


@pytest.fixture
def answers() -> Iterator[aioresponses]:
    """The responses of :data:`SERVER`, which does not exist, to the commands of ``ask``."""
    with scripted_answers() as scripted:
        yield scripted


@pytest.fixture
def ask(answers: aioresponses, clock: SteppedClock) -> Run:
    """Runs a command line against the scripted responses, after clearing the recorded requests and sleeps."""

    def asking(*arguments: str) -> Result:
        answers.requests.clear()
        clock.slept.clear()
        result = CliRunner().invoke(cli, [*arguments, "--server", SERVER, "--api-key", KEY], obj=clock)
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result

    return asking


def sends(answers: aioresponses) -> list[Any]:
    """Return every request of the last command, in order."""
    return [call for calls in answers.requests.values() for call in calls]


@pytest.fixture
def bare(tmp_path: Path) -> Shell:
    """A shell whose store does not exist yet."""
    return Shell(tmp_path)


@pytest.fixture
def shell(bare: Shell) -> Shell:
    asyncio.run(SqliteStore(bare.database).upgrade())
    return bare
