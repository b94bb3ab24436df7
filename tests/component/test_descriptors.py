"""``serve`` as a process with few file descriptors."""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.app.descriptors import OWN
from tests.component.processes import COMMAND, Running, finished, running
from tests.component.test_serve import settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit and /proc")

AUTH = {"keys": {"tests": {"key": "a-key-of-a-test-1234"}}}
PROBE = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n"


def limited(soft: int, hard: int) -> tuple[str, ...]:
    """The command, with these limits of file descriptors."""
    return ("sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh", *COMMAND)


@asynccontextmanager
async def serving(
    folder: Path, soft: int, hard: int, event_loop: str = "asyncio"
) -> AsyncIterator[tuple[Running, int]]:
    """The process, and its port."""
    http = {"listen": "127.0.0.1:0", "max_idle_connections_per_address": 2000, "event_loop": event_loop}
    arguments = ("serve", "--config", str(settings(folder, auth=AUTH, http=http)))
    async with running(*arguments, cwd=folder, command=limited(soft, hard)) as process:
        yield process, int((await process.url()).rpartition(":")[2])


async def probe(stack: AsyncExitStack, port: int) -> int:
    """Send a probe on a new connection, which stays open. Return the status of its response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.callback(writer.close)
    writer.write(PROBE)
    async with asyncio.timeout(60):
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


async def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    async with serving(tmp_path, 128, 4096) as (process, _):
        assert resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE) == (4096, 4096)
        await process.until_output('"event":"started"')
        assert "connections_lowered" not in process.output


async def test_connections_beyond_the_descriptors_get_503(tmp_path: Path) -> None:
    allowed = (128 - OWN) // 2
    async with serving(tmp_path, 128, 128) as (process, port), AsyncExitStack() as stack:
        assert (await process.until_output(r'"max_connections":(\d+)'))[1] == str(allowed)
        statuses = [await probe(stack, port) for _ in range(allowed + 20)]
        assert statuses == [200] * allowed + [503] * 20
        assert "accept" not in process.output


async def test_too_few_descriptors_are_a_fault_of_the_settings(tmp_path: Path) -> None:
    file = settings(tmp_path, auth=AUTH)
    ended = await finished("serve", "--config", str(file), cwd=tmp_path, command=limited(80, 80))
    assert ended.code == 78
    assert ended.stderr == (
        "error: http.max_connections: the limit of 80 file descriptors leaves fewer than 16 connections; "
        "raise the limit\n"
    )


async def test_exhausted_descriptors_are_logged_as_one_event_and_the_connection_waits(tmp_path: Path) -> None:
    async with serving(tmp_path, 512, 512) as (process, port), AsyncExitStack() as stack:
        await process.until_output('"event":"started"')
        assert await probe(stack, port) == 200
        pid = process.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 512))
        waiting = asyncio.create_task(probe(stack, port))
        await process.until_output('"event":"accept_failed"')
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (512, 512))
        assert await waiting == 200
        lines = [json.loads(line) for line in process.output.splitlines() if line]
        failed = [line for line in lines if line["event"] == "accept_failed"]
        assert all((line["level"], line["reason"]) == ("error", "EMFILE") for line in failed)


@pytest.mark.parametrize(("event_loop", "expected"), [("uvloop", True), ("asyncio", False)])
async def test_event_loop_is_that_of_the_setting(event_loop: str, expected: bool, tmp_path: Path) -> None:
    async with serving(tmp_path, 512, 512, event_loop) as (process, port), AsyncExitStack() as stack:
        assert await probe(stack, port) == 200
        loaded = await asyncio.to_thread(Path(f"/proc/{process.process.pid}/maps").read_text)
        assert ("uvloop" in loaded) == expected
