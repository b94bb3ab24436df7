"""``serve --workers N``: one of several processes is killed, all are stopped and reloaded, and their metrics add up."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app.supervisor import Supervisor
from gateway.telemetry.logs import make_logger
from tests.component.fleets import KEY, Fleet
from tests.component.processes import HANGS, Running, children, client, end_of, finished, running
from tests.component.test_serve import settings
from tests.contract.store_subjects import database
from tests.faults.replicas import encryption_key
from tests.postgres_cluster import PostgresCluster

LONG = 600
WORKERS = 2
BODY = {"kind": "durable", "provider": "durable-demo"}


@pytest.fixture
async def store(postgres: PostgresCluster) -> AsyncIterator[dict[str, Any]]:
    """The settings of an empty PostgreSQL store."""
    async with database(postgres) as dsn:
        yield {"url": dsn, "encryption_keys": [encryption_key()]}


@asynccontextmanager
async def workers(fleet: Fleet, store: dict[str, Any], **sections: Any) -> AsyncIterator[tuple[Running, str]]:
    """Run a gateway with workers. Yield the supervisor and the URL when all of them serve."""
    file = fleet.write(store=store, audit={"journal": "audit"}, **sections)
    arguments = ("serve", "--config", str(file), "--workers", str(WORKERS))
    async with running(*arguments, cwd=fleet.folder) as process:
        await process.until_output('"event":"workers_started"')
        pids = children(process.process.pid)
        assert len(pids) == WORKERS
        try:
            yield process, await process.url()
        finally:
            if process.process.returncode is None:
                async with end_of(*children(process.process.pid)):
                    process.process.kill()


def count(output: str, event: str, worker: int | None = None) -> int:
    """How many lines of an event there are."""
    pattern = rf'"event":"{event}"' + ("" if worker is None else f',"worker":{worker},')
    return len(re.findall(pattern, output))


async def until_count(process: Running, event: str, expected: int) -> None:
    """Wait for that many lines of an event."""
    await process.until_output("(?s)" + ".*".join([f'"event":"{event}"'] * expected))


async def metric(url: str, name: str) -> float:
    """The value of a series, read over a new connection."""
    async with client(url) as session, session.get("/metrics") as response:
        assert response.status == 200
        values = [line.rpartition(" ")[2] for line in (await response.text()).splitlines() if line.startswith(name)]
        return float(values[0]) if values else 0.0


async def worker_of(session: aiohttp.ClientSession, process: Running, path: str = "/v1/me") -> int:
    """Which worker serves the session's connection: the one whose log line has the id of a request."""
    name = f"which-{os.urandom(8).hex()}"
    async with session.get(path, headers={"X-Request-ID": name}) as response:
        assert response.status == 200
    line = await process.until_output(rf'.*"event":"request","request_id":"{name}".*')
    return int(json.loads(line[0])["worker"])


@asynccontextmanager
async def connection_to_each(process: Running, url: str) -> AsyncIterator[dict[int, aiohttp.ClientSession]]:
    """A session to each worker, by its number. Each session has one connection, which stays open."""
    found: dict[int, aiohttp.ClientSession] = {}
    opened = []
    try:
        async with asyncio.timeout(HANGS):
            while len(found) < WORKERS:
                session = client(url, KEY)
                opened.append(session)
                found.setdefault(await worker_of(session, process), session)
        yield found
    finally:
        for session in opened:
            await session.close()


async def test_more_than_one_worker_with_sqlite_exits_with_78_and_the_reason(tmp_path: Path) -> None:
    file = settings(tmp_path, auth="none")
    ended = await finished("serve", "--config", str(file), "--workers", "2", cwd=tmp_path)
    (line,) = ended.stderr.splitlines()
    assert (ended.code, ended.stdout) == (78, "")
    assert line.startswith("error: store.url: more than one worker needs PostgreSQL")


async def test_faulty_settings_exit_with_78_once_before_any_worker_starts(tmp_path: Path) -> None:
    file = settings(tmp_path, auth="none", version=3)
    ended = await finished("serve", "--config", str(file), "--workers", "2", cwd=tmp_path)
    assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (78, "", 1)


async def test_port_in_use_is_reported_in_one_line(fleet: Fleet, store: dict[str, Any]) -> None:
    """Also by a second gateway with workers, although those could share the port."""
    async with workers(fleet, store) as (_, url):
        address = url.removeprefix("http://")
        arguments = ("--config", str(fleet.folder / "gateway.yaml"), "--listen", address)
        for more in ([], ["--workers", "2"]):
            ended = await finished("serve", *arguments, *more, cwd=fleet.folder)
            assert (ended.code, ended.stderr) == (1, f"error: cannot_listen: {address}: address already in use\n")


async def test_killed_worker_is_replaced_under_load_and_the_others_stay_ready(
    fleet: Fleet, store: dict[str, Any]
) -> None:
    """Only the connections to the killed worker fail. Each create has one runtime, and the counters do not shrink."""
    over = asyncio.Event()
    made: dict[str, str] = {}
    lost: list[str] = []

    async def creating(caller: int) -> None:
        number = 0
        while not over.is_set():
            name = f"c{caller}-{number}"
            number += 1
            async with client(url, KEY) as session:
                while True:
                    try:
                        options = {"json": {**BODY, "name": name}, "headers": {"Idempotency-Key": f"key-{name}"}}
                        async with session.post("/v1/runtimes", **options) as response:
                            answer = await response.json()
                    except aiohttp.ClientConnectionError:
                        lost.append(name)
                        continue
                    if response.status == 201:
                        made[name] = answer["id"]
                        break
                    assert answer["retryable"] in {"yes", "same_request"}, answer

    # A create of the killed worker is settled before the test's end.
    creates = {"wait_out": 2, "send_within": 1, "lease_margin": 1, "settle_every": 0.1}
    async with workers(fleet, store, creates=creates) as (process, url):
        load = [asyncio.create_task(creating(caller)) for caller in range(4)]
        async with connection_to_each(process, url) as sessions:
            series = 'rtgw_requests_total{code="",operation="getMe"'
            before = await metric(url, series)
            assert before >= WORKERS
            os.kill(children(process.process.pid)[0], signal.SIGKILL)
            ended = json.loads((await process.until_output(r'.*"event":"worker_ended".*'))[0])
            assert (ended["exit_code"], ended["replaced_after_seconds"]) == (-signal.SIGKILL, 0)
            (other,) = [session for number, session in sessions.items() if number != ended["worker"]]
            for _ in range(5):
                async with other.get("/readyz") as response:
                    assert response.status == 200
            assert await metric(url, series) >= before
            await until_count(process, "started", WORKERS + 1)
            assert await metric(url, series) >= before
            over.set()
            await asyncio.gather(*load)
        assert len(children(process.process.pid)) == WORKERS
        process.send_signal()
        assert await process.wait() == 0
    assert fleet.emulators["durable-demo"].emulator.creates == len(set(made.values())) == len(made)
    assert len(lost) <= 4


async def test_sigterm_completes_requests_in_flight_of_every_worker_and_ends_with_0(
    fleet: Fleet, store: dict[str, Any]
) -> None:
    durable = fleet.emulators["durable-demo"]
    async with workers(fleet, store) as (process, url), connection_to_each(process, url) as sessions:
        starts = []
        for session in sessions.values():
            async with session.post("/v1/runtimes", json=BODY) as response:
                runtime = (await response.json())["id"]
            durable.fault("start", "hold")
            starts.append(asyncio.create_task(session.post(f"/v1/runtimes/{runtime}/start")))
        async with asyncio.timeout(HANGS):
            await durable.emulator.until_waiting(WORKERS)
        process.send_signal()
        await until_count(process, "stopping", WORKERS + 1)
        assert not any(start.done() for start in starts)
        for _ in starts:
            durable.emulator.release()
        assert [(await start).status for start in starts] == [200] * WORKERS
        assert await process.wait() == 0
        assert count(process.output, "stopped") == WORKERS + 1
        assert "interrupted" not in process.output


async def test_second_signal_ends_the_grace_of_every_worker(fleet: Fleet, store: dict[str, Any]) -> None:
    durable = fleet.emulators["durable-demo"]
    async with workers(fleet, store, shutdown={"grace": LONG}) as (process, url), client(url, KEY) as session:
        async with session.post("/v1/runtimes", json=BODY) as response:
            runtime = (await response.json())["id"]
        durable.fault("start", "hold")
        start = asyncio.create_task(session.post(f"/v1/runtimes/{runtime}/start"))
        async with asyncio.timeout(HANGS):
            await durable.emulator.until_waiting()
        process.send_signal()
        await until_count(process, "stopping", WORKERS + 1)
        process.send_signal()
        assert (await (await start).json())["code"] == "outcome_unknown"
        assert await process.wait() == 0


async def test_sighup_reloads_every_worker_and_a_fault_leaves_all_as_they_are(
    fleet: Fleet, store: dict[str, Any]
) -> None:
    sections = {"reload": {"watch": False}, "audit": {"journal": "audit"}}
    async with workers(fleet, store, reload={"watch": False}) as (process, url):
        async with connection_to_each(process, url) as sessions:
            fleet.write(
                store=store, **sections, auth={"keys": {"other": {"key": "another-key-of-the-test"}}}, version=3
            )
            process.send_signal(signal.SIGHUP)
            await until_count(process, "settings_rejected", WORKERS)
            for session in sessions.values():
                assert (await session.get("/v1/me")).status == 200
            assert await metric(url, "rtgw_config_last_reload_successful") == 0
            fleet.write(store=store, **sections, auth={"keys": {"other": {"key": "another-key-of-the-test"}}})
            process.send_signal(signal.SIGHUP)
            await until_count(process, "settings_reloaded", WORKERS)
            for session in sessions.values():
                assert (await session.get("/v1/me")).status == 401
        assert await metric(url, "rtgw_config_last_reload_successful") == 1
        assert count(process.output, "restart_needed") == 0


async def test_metrics_of_any_worker_are_those_of_all(fleet: Fleet, store: dict[str, Any]) -> None:
    """Also at the address of ``admin.listen``, which all workers serve."""
    async with workers(fleet, store, admin={"listen": "127.0.0.1:0"}) as (process, url):
        admin = (await process.until_output(r'"admin_url":"([^"]+)"'))[1]
        async with connection_to_each(process, url) as sessions:
            series = 'rtgw_requests_total{code="",operation="getMe"'
            before = await metric(admin, series)
            for session in sessions.values():
                for _ in range(3):
                    assert (await session.get("/v1/me")).status == 200
            for _ in range(8):  # whichever worker answers
                assert await metric(admin, series) == before + 3 * WORKERS
            assert await metric(admin, "rtgw_connections") >= WORKERS
            assert await metric(admin, "rtgw_store_up") == 1
            assert await metric(admin, 'rtgw_bulkhead_limit{class="read",provider="durable-demo"}') == 48
            assert await metric(admin, "rtgw_build_info") == 1


async def test_workers_stop_when_their_supervisor_is_killed(fleet: Fleet, store: dict[str, Any]) -> None:
    async with workers(fleet, store) as (process, _):
        async with end_of(*children(process.process.pid)):
            process.send_signal(signal.SIGKILL)
        await process.wait()


@pytest.fixture
def place() -> Iterator[Callable[[str], list[str]]]:
    """Makes the command of a worker out of Python code. ``channel`` is its end of the channel."""
    head = "import json, socket, sys; channel = socket.socket(fileno=json.loads(sys.argv[2])['channel'])\n"
    return lambda code: [sys.executable, "-c", head + code]


async def test_worker_that_cannot_start_ends_the_gateway_with_its_exit_code(
    place: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor(place("sys.exit(78)"), 3, {}, make_logger())
    assert await supervisor.run() == 78
    assert '"exit_code":78' in capsys.readouterr().out


IS_READY = """
import os, pathlib, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); import msgspec
content = msgspec.msgpack.encode(('ready', ())); channel.sendall(len(content).to_bytes(4, 'big') + content)
"""
NOTES_MESSAGES = """
received = []
with channel.makefile("rb") as stream:
    while not received or received[-1] != "hurry":
        received.append(msgspec.msgpack.decode(stream.read(int.from_bytes(stream.read(4), "big")))[0])
pathlib.Path("messages").write_text(" ".join(received))
"""


def noted_in(folder: Path) -> list[str]:
    """The messages that workers with ``NOTES_MESSAGES`` have received."""
    return [path.read_text() for path in folder.glob("messages")]


async def test_first_signal_after_a_failed_start_does_not_end_the_waiting_of_the_others(
    place: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor stops the other worker by itself. Only the second signal ends the waiting of that worker."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("ready")
    fails = "if json.loads(sys.argv[2])['number'] == 1:\n    open('ready').read(); sys.exit(78)\n"
    stopping = asyncio.Event()
    logger = make_logger("critical")
    logger.info = lambda *_, **__: stopping.set()  # type: ignore[method-assign]
    command = place(fails + IS_READY + "pathlib.Path('ready').write_text('')" + NOTES_MESSAGES)
    supervisor = Supervisor(command, 2, {}, logger)
    run = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(HANGS):
        await stopping.wait()
        supervisor.stop()
        supervisor.reload()
        supervisor.stop()
        assert await run == 78
    assert noted_in(tmp_path) == ["stop reload hurry"]


@pytest.mark.parametrize(("signals", "expected"), [(2, ["stop hurry"]), (3, [])])
async def test_signals_while_a_process_is_being_started_all_reach_its_worker(
    place: Callable[[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signals: int,
    expected: list[str],
) -> None:
    """The second one ends the waiting, the third one kills a worker that reads no messages."""
    monkeypatch.chdir(tmp_path)
    start = asyncio.create_subprocess_exec

    async def interrupted(*command: str, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*command, stdout=asyncio.subprocess.PIPE, **options)
        assert process.stdout is not None
        await process.stdout.readline()
        for _ in range(signals):
            supervisor.stop()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", interrupted)
    command = place(IS_READY + "print(flush=True)\n" + ("signal.pause()" if signals == 3 else NOTES_MESSAGES))
    supervisor = Supervisor(command, 1, {}, make_logger("critical"))
    async with asyncio.timeout(HANGS):
        assert await supervisor.run() == 0
    assert noted_in(tmp_path) == expected


async def test_third_signal_kills_workers_that_do_not_stop(place: Callable[[str], list[str]]) -> None:
    started = asyncio.Event()
    logger = make_logger("warning")
    logger.info = lambda *_, **__: started.set()  # type: ignore[method-assign]
    supervisor = Supervisor(place(IS_READY + "signal.pause()"), 1, {}, logger)
    run = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(HANGS):
        await started.wait()
        for _ in range(3):
            supervisor.stop()
        assert await run == 0


async def test_reserved_port_is_free_again_after_the_end(fleet: Fleet, store: dict[str, Any]) -> None:
    async with workers(fleet, store) as (process, url):
        process.send_signal()
        assert await process.wait() == 0
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        pass
