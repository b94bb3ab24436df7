"""The real server of durable runtimes behind the data plane, and its own client."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from playwright.async_api import Browser

from gateway.testing.processes import running
from tests.component import processes
from tests.programs import required
from tests.real.plane import KEY, ROOT, Plane, blocks, started

CLIENT: Final = ROOT / ".venv-clients/dreadnode-2.0.52/bin"
SCRIPT: Final = Path(__file__).with_name("runtime_client.py")
FILE: Final = "from-the-test"


@asynccontextmanager
async def server(folder: Path, **options: Any) -> AsyncIterator[Plane]:
    """A gateway in front of an emulator that runs ``dn serve`` for every runtime, in a home folder with one file."""
    required("The client of durable runtimes (make real)", (CLIENT / "dn").exists())
    home = folder / "home"
    home.mkdir()
    (home / FILE).write_text("hello")
    command = [str(shutil.which("env")), f"HOME={home}", str(CLIENT / "dn"), "serve", "--working-dir", str(home)]
    async with started(folder, {"browser": "none", "runtime_server": shlex.join(command)}, **options) as plane:
        yield plane


async def connection(plane: Plane, runtime_id: str) -> dict[str, str]:
    """The URL and the token, as the client's environment variables."""
    (item,) = (await plane.call("POST", f"runtimes/{runtime_id}/connections", {}))["items"]
    return {"DREADNODE_RUNTIME_URL": item["url"], "DREADNODE_RUNTIME_TOKEN": item["token"]}


@asynccontextmanager
async def client(folder: Path, environment: dict[str, str]) -> AsyncIterator[processes.Running]:
    """The client, in a process of its own, which has used HTTP and both WebSockets and follows the events."""
    command = (str(CLIENT / "python"), str(SCRIPT))
    async with processes.running(cwd=folder, command=command, environment={"HOME": str(folder), **environment}) as one:
        await one.until_output(r'"event": "test\.said", "text": "hello"')
        yield one


def results(output: str) -> dict[str, Any]:
    """What the client has printed so far."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {name: value for line in lines for name, value in line.items()}


async def test_runtime_client_reaches_its_server_while_that_still_starts(tmp_path: Path) -> None:
    """Over HTTP and both WebSockets, and no address of the server is sent or logged."""
    async with server(tmp_path) as plane:
        runtime_id = await plane.create(kind="durable")
        reference = runtime_id.partition(".")[2]
        found = await plane.at_provider("durable-demo", f"/api/v1/org/acme/ws/research/runtimes/{reference}")
        place = found["instance"]["sandbox_url"].partition("://")[2]
        async with client(tmp_path, await connection(plane, runtime_id)) as one:
            shown = results(one.output)
            assert (shown["version"], shown["stdout"], shown["text"]) == ("2.0.52", "hello", "hello")
            opened = (await plane.call("GET", f"runtimes/{runtime_id}/connections"))["items"]
            assert [item["protocol"] for item in opened] == ["runtime_server"] * 2
        sent = b"".join(recorder.sent for recorder in plane.recorders)
        assert place.encode() not in sent
        assert place not in plane.log.getvalue()


async def test_script_of_the_documentation_works(tmp_path: Path) -> None:
    async with server(tmp_path) as plane:
        runtime_id = await plane.create(kind="durable")
        script = tmp_path / "client.py"
        script.write_text(blocks("docs/connect.md", "python")[2])
        lines = f'{blocks("docs/connect.md", "sh")[1]}\nexec "$PYTHON" "$SCRIPT"'
        environment = {
            "ID": runtime_id,
            "RTGW_SERVER": plane.recorders[0].url,
            "RTGW_API_KEY": KEY,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHON": str(CLIENT / "python"),
            "SCRIPT": str(script),
            "HOME": str(tmp_path),
        }
        ended = await processes.finished(command=("sh", "-c", lines), cwd=tmp_path, environment=environment)
        assert (ended.code, ended.stdout) == (0, "Hello\n"), ended.stderr


PAGE_CALL: Final = """async ([url, token]) => {
    const call = async (path, body) => (await fetch(url + path, {
        method: "POST",
        headers: {Authorization: `Bearer ${token}`, "Content-Type": "application/json"},
        body: JSON.stringify(body),
    })).json();
    const opened = (ticket) => new Promise((resolve) => {
        const socket = new WebSocket(`${url.replace("http", "ws")}/api/ws/events?kinds=test.said&ticket=${ticket}`);
        socket.onopen = () => resolve(socket);
        socket.onerror = () => resolve(null);
    });
    const {ticket} = await call("/api/ws/ticket", {});
    const socket = await opened(ticket);
    const message = new Promise((resolve) => { socket.onmessage = (event) => resolve(JSON.parse(event.data)); });
    await call("/api/events", {kind: "test.said", payload: {text: "hello"}});
    return [(await message).payload.text, await opened(ticket), await opened(token + "x")];
}"""


async def test_page_opens_a_websocket_with_a_ticket_once(tmp_path: Path, browser: Browser) -> None:
    async def app(_request: web.Request) -> web.Response:
        return web.Response(text="<h1>app</h1>", content_type="text/html")

    site = web.Application()
    site.router.add_get("/", app)
    async with running(site) as origin, server(tmp_path, origins=[origin]) as plane:
        page = await browser.new_page()
        await page.goto(origin)
        given = list((await connection(plane, await plane.create(kind="durable"))).values())
        assert await page.evaluate(PAGE_CALL, given) == ["hello", None, None]
        await page.close()


def starts(plane: Plane) -> int:
    """How often the gateway has sent a start to the provider."""
    lines = map(json.loads, plane.log.getvalue().splitlines())
    return sum(line["event"] == "upstream" and line["operation"] == "start" for line in lines)


async def refused(one: processes.Running, status: int, times: int) -> None:
    """Return when the client was refused with this status so many times more."""
    wanted = one.output.count(f"HTTP {status}") + times
    while one.output.count(f"HTTP {status}") < wanted:
        await one.more()


async def test_client_that_reconnects_for_ever_starts_nothing_and_reaches_no_other_instance(tmp_path: Path) -> None:
    async with server(tmp_path) as plane, aiohttp.ClientSession() as http:
        runtime_id = await plane.create(kind="durable")
        path, given = f"runtimes/{runtime_id}", await connection(plane, runtime_id)
        async with client(tmp_path, given) as one:
            before = starts(plane)
            assert before > 0
            await plane.call("POST", f"{path}/pause", {})
            await refused(one, 409, 2)
            await plane.call("POST", f"{path}/resume", {})
            await one.until_output(r'"event": "transport.reconnected"')  # with the same token
            await plane.call("POST", f"{path}/stop", {"discard_state": True})
            await refused(one, 409, 3)
            assert (await plane.call("GET", path))["state"] == "idle"
            assert starts(plane) == before
            await plane.call("POST", f"{path}/start", {})
            await refused(one, 410, 1)
            for wanted, each in ((200, await connection(plane, runtime_id)), (410, given)):
                headers = {"Authorization": f"Bearer {each['DREADNODE_RUNTIME_TOKEN']}"}
                async with http.get(f"{each['DREADNODE_RUNTIME_URL']}/api/health", headers=headers) as response:
                    assert response.status == wanted
            await plane.call("POST", f"{path}/reset", {})
            await refused(one, 409, 1)
            assert (await plane.call("GET", path))["state"] == "idle"
            assert starts(plane) == before + 1
            assert one.output.count("transport.reconnected") == 1
