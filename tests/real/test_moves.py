"""Real browsers move to another account while Playwright clients are connected to them, and come back."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Error, Playwright, async_playwright

from adapters.bctrl_browsers.emulator.world import Run
from gateway.testing.processes import running
from tests.component.moves.applied import at_once
from tests.component.processes import HANGS
from tests.programs import required
from tests.real.journal import Journal
from tests.real.plane import Plane, started

COUNT: Final = int(os.environ.get("MOVES_N", "3"))
"""Browsers that move. Each needs a Chromium, and for a while two."""
SOURCE: Final = "browsers-demo"
TARGET: Final = "browsers-other"
WITHIN: Final = 20 * COUNT + HANGS


@pytest.fixture
async def journal(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    """What connects to the browsers of both accounts."""
    journal, shown = Journal(), Run.connections

    def connections(run: Run, now: float) -> dict[str, str]:
        found = shown(run, now)
        return {**found, "cdpUrl": journal.in_front_of(run.id, found["cdpUrl"])}

    monkeypatch.setattr(Run, "connections", connections)
    async with running(journal.application()) as journal.url:
        yield journal


@pytest.fixture
async def plane(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    at_once(monkeypatch)
    required("Chromium", shutil.which("chromium"))
    async with started(tmp_path, {"browser": "auto", "max_browsers": max(8, COUNT)}, other_account=TARGET) as made:
        yield made


class Client:
    """A program that drives a browser, and knows only one address of it. ``runs`` are the runs that it has seen."""

    def __init__(self, playwright: Playwright, plane: Plane, runtime_id: str, url: str) -> None:
        self.runtime_id = runtime_id
        self._plane = plane
        self._playwright = playwright
        self._url = url
        self._browser: Browser | None = None
        self._disconnected = asyncio.Event()

    async def connect(self) -> list[str]:
        """Connect, and return the addresses of the pages that the browser has. A refusal is tried again."""
        async with asyncio.timeout(WITHIN):
            while True:
                try:
                    self._browser = await self._playwright.chromium.connect_over_cdp(self._url)
                    break
                except Error:
                    await self._plane.call("GET", f"runtimes/{self.runtime_id}")
        self._disconnected.clear()
        self._browser.on("disconnected", lambda _: self._disconnected.set())
        return [page.url for context in self._browser.contexts for page in context.pages]

    async def leave_a_page(self, name: str) -> None:
        """Open a page that shows later which browser this was."""
        assert self._browser is not None
        page = await self._browser.contexts[0].new_page()
        await page.goto(f"data:text/html,<h1>{name}</h1>")
        assert await page.inner_text("h1") == name

    async def disconnected(self) -> None:
        """Return when the gateway has ended the connection."""
        async with asyncio.timeout(WITHIN):
            await self._disconnected.wait()

    async def close(self) -> None:
        if self._browser is not None:
            await self._browser.close()


async def current_runs(plane: Plane, ids: Sequence[str]) -> set[str]:
    """The present runs of the runtimes."""
    found = [await plane.call("GET", f"runtimes/{runtime_id}") for runtime_id in ids]
    return {runtime["provider_data"]["currentRun"]["id"] for runtime in found}


async def move_is(plane: Plane, move_id: str, state: str) -> Any:
    """The move, when it has the state."""
    async with asyncio.timeout(WITHIN):
        while (move := await plane.call("GET", f"moves/{move_id}"))["state"] != state:
            assert move["state"] not in {"failed", "paused"}, move
            await asyncio.sleep(0.05)
    return move


async def switched(plane: Plane, journal: Journal, clients: Sequence[Client], left: str) -> list[str]:
    """Let all clients reconnect as soon as they are disconnected; returns the runs that they reached."""
    reached: list[str] = []

    async def reconnect(client: Client) -> None:
        await client.disconnected()
        before = len(journal.connections)
        assert not [url for url in await client.connect() if left in url]
        (run,) = await current_runs(plane, [client.runtime_id])
        assert run in journal.connections[before:]
        reached.append(run)

    await asyncio.gather(*map(reconnect, clients))
    return reached


async def test_playwright_clients_reconnect_with_their_addresses_to_the_target_only(
    plane: Plane, journal: Journal
) -> None:
    ids = [await plane.create(provider=SOURCE, name=f"bot-{number}") for number in range(COUNT)]
    at_source = await current_runs(plane, ids)
    async with async_playwright() as playwright, AsyncExitStack() as stack:
        clients = [Client(playwright, plane, one, (await plane.urls(one))["cdp"]) for one in ids]
        for client in clients:
            stack.push_async_callback(client.close)
            await client.connect()
            await client.leave_a_page("source")
        assert set(journal.connections) == at_source

        body = {"source": {"provider": SOURCE}, "target": {"provider": TARGET}, "when": "now", "concurrency": 2}
        move = await move_is(plane, (await plane.call("POST", "moves", body))["id"], "planned")
        assert move["counts"] == {"planned": COUNT}
        await plane.call("POST", f"moves/{move['id']}/apply", {"digest": move["digest"]})
        reached = set(await switched(plane, journal, clients, "source"))
        assert (await move_is(plane, move["id"], "done"))["counts"] == {"moved": COUNT}
        assert reached == await current_runs(plane, ids)
        assert not reached & at_source
        assert await places(plane, ids) == {TARGET}
        # The switch of each runtime came after the last connection to its source.
        assert len([run for run in journal.connections if run in at_source]) == COUNT
        for client in clients:
            await client.leave_a_page("target")

        await plane.call("POST", f"moves/{move['id']}/rollback", {})
        back = set(await switched(plane, journal, clients, "target"))
        assert (await move_is(plane, move["id"], "rolled_back"))["counts"] == {"rolled_back": COUNT}
        assert back == await current_runs(plane, ids)
        assert not back & reached
        assert await places(plane, ids) == {SOURCE}
        for client in clients:
            await client.leave_a_page("source again")
    assert set(journal.connections) == at_source | reached | back


async def places(plane: Plane, ids: Sequence[str]) -> set[str]:
    """The providers at which the runtimes are."""
    return {(await plane.call("GET", f"runtimes/{runtime_id}"))["provider"] for runtime_id in ids}
