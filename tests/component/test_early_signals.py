"""Signals from the first moment of a process: during its imports, before its settings, while it starts and stops."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.component.fleets import KEY
from tests.component.processes import HANGS, client, running
from tests.component.test_serve import settings

PYTHON = (sys.executable, "-X", "importtime", "-m", "gateway")
"""Prints a line for each import, after it: the lines show a test how far the start is."""

FIRST_IMPORT = r"\|\s+click\n"
STOP = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@asynccontextmanager
async def while_reading(pipe: Path) -> AsyncIterator[int]:
    """Wait until a process opens the named pipe, and keep it waiting for the content."""
    async with asyncio.timeout(HANGS):
        opened = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)
    try:
        yield opened
    finally:
        os.close(opened)


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
async def test_sighup_from_the_first_import_until_the_process_serves_does_not_end_it(
    tmp_path: Path, event_loop: str
) -> None:
    http = {"listen": "127.0.0.1:0", "event_loop": event_loop}
    file = settings(tmp_path, auth={"keys": {"tests": {"key": KEY}}}, http=http)
    async with running("serve", "--config", str(file), cwd=tmp_path, command=PYTHON) as process:
        await process.until_output(FIRST_IMPORT)
        while '"event":"started"' not in process.output:
            assert process.process.returncode is None, process.output
            process.send_signal(signal.SIGHUP)
            await process.more()
        async with client(await process.url()) as session:
            assert (await session.get("/livez")).status == 200
        await process.until_output('"event":"settings_reloaded"')
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert "Traceback" not in process.output


async def test_sighup_while_the_settings_are_read_makes_the_gateway_read_them_again(tmp_path: Path) -> None:
    """The settings are a named pipe, so that the test decides when they can be read."""
    keys = {"keys": {"tests": {"key": KEY}}}
    first = settings(tmp_path, auth=keys, reload={"watch": False}).read_bytes()
    second = settings(tmp_path, auth=keys, reload={"watch": False}, log={"level": "debug"})
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    async with running("serve", "--config", str(pipe), cwd=tmp_path) as process:
        async with while_reading(pipe) as opened:
            for _ in range(3):
                process.send_signal(signal.SIGHUP)
            second.rename(pipe)
            os.write(opened, first)
        await process.until_output('"event":"settings_reloaded"')
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


@STOP
@pytest.mark.parametrize(
    "arguments", [("serve", "--config", "none.yaml"), ("demo", "--port", "0"), ("emulate", "durable")]
)
async def test_stop_signal_while_a_server_is_imported_ends_it_with_0(
    arguments: tuple[str, ...], number: signal.Signals, tmp_path: Path
) -> None:
    async with running(*arguments, cwd=tmp_path, command=PYTHON) as process:
        await process.until_output(FIRST_IMPORT)
        process.send_signal(number)
        assert await process.wait() == 0
        assert "Traceback" not in process.output


@STOP
async def test_stop_signal_while_the_settings_are_read_ends_with_0(number: signal.Signals, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    async with running("serve", "--config", str(pipe), cwd=tmp_path) as process, while_reading(pipe):
        process.send_signal(number)
        assert await process.wait() == 0
    assert process.output == ""


async def test_sighup_while_the_gateway_stops_does_not_change_its_exit_code(tmp_path: Path) -> None:
    file = settings(tmp_path, auth={"keys": {"tests": {"key": KEY}}})
    async with running("serve", "--config", str(file), cwd=tmp_path) as process:
        await process.until_output('"event":"started"')
        process.send_signal(signal.SIGTERM)
        await process.until_output('"event":"stopped"')
        ended = asyncio.create_task(process.wait())
        while not ended.done():
            with suppress(ProcessLookupError):
                os.kill(process.process.pid, signal.SIGHUP)
            await asyncio.wait([ended], timeout=0)
        assert await ended == 0, process.output


async def test_sighup_still_ends_a_command_that_does_not_serve(tmp_path: Path) -> None:
    """A client command ends with its terminal."""
    connected, closed = asyncio.Event(), asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()
        closed.set()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        environment = {"RTGW_SERVER": url, "RTGW_API_KEY": KEY}
        async with running("runtimes", "list", cwd=tmp_path, environment=environment) as process:
            async with asyncio.timeout(HANGS):
                await connected.wait()
            process.send_signal(signal.SIGHUP)
            assert await process.wait() == -signal.SIGHUP
            await closed.wait()
