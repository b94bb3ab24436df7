"""The processes of an emulator that runs browsers, with a fake browser."""

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.bctrl_browsers.emulator import create_emulator
from gateway.testing.processes import running
from tests.component.emulators.fake_browser import fake_browser
from tests.component.processes import HANGS, children, end_of
from tests.component.processes import running as running_command

HEADERS = {"Authorization": "Bearer t0ken"}


@dataclass
class World:
    """An emulator's client, and the folder that contains the profiles."""

    session: aiohttp.ClientSession
    folder: Path

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.session.request(method, f"/v1/{path}", json=body) as response:
            return response.status, await response.json()

    async def create(self, **members: Any) -> Any:
        status, made = await self.call("POST", "browsers?wait=60", members)
        assert (status, made["currentRun"]["status"]) == (201, "active"), made
        return made

    def profile(self, browser: Any) -> Path:
        (root,) = self.folder.glob("browsers-*")
        return root / browser["id"]

    def pid(self, browser: Any) -> int:
        return int((self.profile(browser) / "pid").read_text())

    async def until(self, browser: Any, status: str) -> Any:
        """The browser once its run has the status."""
        async with asyncio.timeout(HANGS):
            while True:
                _, seen = await self.call("GET", f"browsers/{browser['id']}")
                if (seen["currentRun"] or {}).get("status") == status:
                    return seen


@asynccontextmanager
async def world(folder: Path, monkeypatch: pytest.MonkeyPatch, browser: str, **options: Any) -> AsyncIterator[World]:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    app = create_emulator(token="t0ken", browser=browser, **options)
    async with running(app) as url, aiohttp.ClientSession(url, headers=HEADERS) as session:
        yield World(session, folder)


@pytest.fixture
async def browsers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch, fake_browser(tmp_path), max_browsers=2) as made:
        yield made


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def exists(folder: Path) -> bool:
    return folder.exists()


def starts(profile: Path) -> int:
    return len((profile / "starts").read_text().splitlines())


async def test_running_browser_is_a_process_until_its_stop(browsers: World) -> None:
    made = await browsers.create(name="bot")
    pid = browsers.pid(made)
    assert runs(pid)
    assert made["currentRun"]["connections"]["cdpUrl"].startswith("ws://127.0.0.1:")
    assert made["currentRun"]["connections"]["cdpUrl"].endswith("/devtools/browser/b-1")
    _, stopped = await browsers.call("POST", f"browsers/{made['id']}/stop?wait=60", {})
    assert (stopped["status"], runs(pid)) == ("idle", False)


async def test_browser_keeps_its_profile_until_it_is_discarded_or_deleted(browsers: World) -> None:
    made = await browsers.create(name="bot")
    one, profile = f"browsers/{made['id']}", browsers.profile(made)
    for discard, count in ((False, 2), (True, 1), (False, 2)):
        await browsers.call("POST", f"{one}/stop?wait=60", {"discardState": discard})
        _, again = await browsers.call("POST", f"{one}/start?wait=60", {})
        assert (again["currentRun"]["status"], starts(profile)) == ("active", count)
    pid = browsers.pid(made)
    assert (await browsers.call("DELETE", one))[0] == 200
    await browsers.create(name="another")  # the emulator continues
    async with asyncio.timeout(HANGS):
        while profile.exists() or runs(pid):
            await browsers.call("GET", "browsers")


async def test_state_of_an_idle_browser_is_removed_when_it_is_discarded(browsers: World) -> None:
    made = await browsers.create()
    one = f"browsers/{made['id']}"
    await browsers.call("POST", f"{one}/stop?wait=60", {})
    assert browsers.profile(made).exists()
    await browsers.call("POST", f"{one}/stop", {"discardState": True})
    async with asyncio.timeout(HANGS):
        while browsers.profile(made).exists():
            await browsers.call("GET", "browsers")


async def test_copied_browser_starts_with_the_state_of_its_source(browsers: World) -> None:
    source = await browsers.create()
    await browsers.call("POST", f"browsers/{source['id']}/stop?wait=60", {})
    copy = await browsers.create(fromBrowser=source["id"], persona="same")
    assert (starts(browsers.profile(copy)), starts(browsers.profile(source))) == (2, 1)


async def test_crashed_browser_has_failed_and_can_be_started_again(browsers: World) -> None:
    made = await browsers.create()
    os.kill(browsers.pid(made), signal.SIGKILL)
    failed = await browsers.until(made, "failed")
    assert failed["currentRun"]["endReason"] == "The browser's process ended with the code 137."
    assert "connections" not in failed["currentRun"]
    _, again = await browsers.call("POST", f"browsers/{made['id']}/start?wait=60", {})
    assert (again["currentRun"]["status"], starts(browsers.profile(made))) == ("active", 2)


async def test_browser_that_does_not_start_has_failed_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = fake_browser(tmp_path, "import sys; sys.exit('no display')")
    async with world(tmp_path, monkeypatch, program) as browsers:
        _, made = await browsers.call("POST", "browsers?wait=60", {"name": "bot"})
    assert made["currentRun"]["endReason"] == "The browser did not start: it ended with the code 1."
    assert "no display" in caplog.text


async def test_browser_beyond_the_bound_is_refused(browsers: World) -> None:
    first, _ = [await browsers.create(name=name) for name in ("one", "two")]
    for path, body, code in (
        ("browsers", {"name": "three"}, "browser.concurrent_quota_exceeded"),
        ("runtimes", {"type": "browser", "name": "three", "start": True}, "browser.concurrent_quota_exceeded"),
    ):
        status, refused = await browsers.call("POST", path, body)
        error = refused if path == "runtimes" else refused["error"]
        assert (status, error["code"]) == (429, code)
    assert (await browsers.call("POST", f"browsers/{first['id']}/start", {}))[0] == 200  # it runs already
    await browsers.call("POST", f"browsers/{first['id']}/stop", {})
    await browsers.create(name="three")


async def test_wait_that_is_not_a_number_is_refused(browsers: World) -> None:
    assert (await browsers.call("POST", "browsers?wait=seconds", {"name": "one"}))[0] == 400
    assert (await browsers.call("GET", "browsers"))[1]["data"] == []


async def test_browser_of_the_flat_era_has_its_address_at_once(browsers: World) -> None:
    body = {"type": "browser", "name": "flat", "start": True}
    status, made = await browsers.call("POST", "runtimes", body)
    assert (status, made["connectUrl"]) == (201, made["connection"]["cdpUrl"])
    assert made["connectUrl"].endswith("/devtools/browser/b-1")


async def test_extensions_are_accepted_and_named_in_a_warning(
    browsers: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await browsers.create(name="bot", extensions=["adblock"])
    assert "bot: Without effect in the emulator: the extensions adblock." in caplog.text


async def test_end_of_the_emulator_ends_its_browsers_and_removes_their_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, fake_browser(tmp_path)) as browsers:
        made = await browsers.create()
        pid, profiles = browsers.pid(made), browsers.profile(made).parent
        assert (runs(pid), exists(profiles)) == (True, True)
    assert (runs(pid), exists(profiles)) == (False, False)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_browser_and_its_profile_do_not_outlive_an_emulator_that_is_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ("--port", "0", "--token", "t0ken", "--browser", fake_browser(tmp_path), "--max-browsers", "1")
    async with running_command(
        "emulate", "bctrl_browsers", *arguments, cwd=tmp_path, environment={"TMPDIR": str(tmp_path)}
    ) as emulator:
        async with aiohttp.ClientSession(await emulator.url(), headers=HEADERS) as session:
            browsers = World(session, tmp_path)
            made = await browsers.create()
            profiles = browsers.profile(made).parent
            async with end_of(browsers.pid(made), *children(emulator.process.pid)):
                emulator.send_signal(number)
        assert not exists(profiles)


async def test_stub_answers_where_there_is_no_browser_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, "none") as browsers:
        addresses = (await browsers.create(name="bot"))["currentRun"]["connections"]
        base = addresses["webdriverUrl"]
        assert addresses["cdpUrl"] == base.replace("http", "ws", 1)
        async with browsers.session.get(f"{base}/json/version") as response:
            assert (response.status, await response.json()) == (
                200,
                {
                    "Browser": "A stub answers for browsers, because the emulator has no Chromium to run.",
                    "Protocol-Version": "1.3",
                },
            )
        async with browsers.session.post(f"{base}/session", json={}) as response:
            assert (response.status, (await response.json())["value"]["error"]) == (501, "unsupported operation")
        await browsers.call("POST", "browsers/bot/connections/revoke")
        async with browsers.session.get(f"{base}/json/version") as response:
            assert response.status == 404
