"""Takes the screenshots of the README: ``python -m tests.real.pictures`` (``make pictures``).

A gateway with emulated providers has an hour behind it in which one of them began to refuse connections. The hour takes
seconds, because its clock is advanced.
"""

import argparse
import asyncio
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, async_playwright, expect

from gateway.ports.clock import Clock
from tests.component.whole_gateway import KEY, Gateway, whole_gateway

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"
SIZE: Final = {"width": 1200, "height": 720}

_MINUTES: Final = 52
_SICK_SINCE: Final = 44
_DURABLE: Final = (
    ("checkout-agent", "running", "shop"),
    ("invoice-agent", "paused", "billing"),
    ("order-4711", "running", "shop"),
    ("order-4712", "idle", "shop"),
    ("research-agent", "running", "search"),
    ("nightly-report", "idle", "billing"),
)
_BROWSERS: Final = (("checkout-bot", "shop"), ("price-watch", "search"), ("invoice-bot", "billing"))


class AdvancedClock(Clock):
    """The machine's clock, ``behind`` seconds late until it is advanced. Sleeps end with the time that is advanced."""

    def __init__(self, behind: float) -> None:
        self._behind = behind
        self._advanced = asyncio.Event()

    def monotonic(self) -> float:
        return time.monotonic() - self._behind

    def now(self) -> float:
        return time.time() - self._behind

    async def sleep(self, seconds: float) -> None:
        end = self.monotonic() + seconds
        while (left := end - self.monotonic()) > 0:
            try:
                await asyncio.wait_for(self._advanced.wait(), left)
            except TimeoutError:
                continue

    async def advance(self, seconds: float) -> None:
        """Advance, and let everything run that waited for this."""
        self._behind -= seconds
        self._advanced.set()
        self._advanced = asyncio.Event()
        for _ in range(20):
            await asyncio.sleep(0)


async def _populate(gateway: Gateway, clock: AdvancedClock) -> None:
    durable, browsers = gateway.upstreams["durable"], gateway.upstreams["bctrl_browsers"]
    for name, state, team in _DURABLE:
        made = await gateway.create(durable, name=name, labels={"team": team}, start=state != "idle")
        if state == "paused":
            await gateway.call("POST", f"/v1/runtimes/{made['id']}/pause")
        await clock.advance(60)
    for name, team in _BROWSERS:
        await gateway.create(browsers, name=name, labels={"team": team})
        await clock.advance(60)


async def _live(gateway: Gateway, clock: AdvancedClock) -> None:
    """Callers read for an hour, and a provider gets sick."""
    for minute in range(len(_DURABLE) + len(_BROWSERS), _MINUTES):
        if minute == _SICK_SINCE:
            gateway.upstreams["bctrl_browsers"].fault(fault="status", status=503)
        for _ in range(4 + minute * 7 % 5):
            await gateway.call("GET", "/v1/runtimes")
        await clock.advance(60)
    await gateway.call("GET", "/v1/runtimes")


async def _console(page: Page, gateway: Gateway) -> None:
    await page.goto(f"{gateway.url}/console")
    await page.get_by_label("Key or token").fill(KEY)
    await page.get_by_role("button", name="Sign in").click()


async def take(browser: Browser, folder: Path) -> list[Path]:
    """Take all screenshots, and return their files."""
    clock = AdvancedClock(_MINUTES * 60)
    options: dict[str, Any] = {"viewport": SIZE, "color_scheme": "light"}
    async with whole_gateway("durable", "bctrl_browsers", "bctrl", clock=clock) as gateway:
        for upstream in gateway.upstreams.values():
            upstream.emulator.now = clock.now
        await _populate(gateway, clock)
        page = await (await browser.new_context(**options)).new_page()

        async def shoot(name: str) -> Path:
            await page.screenshot(path=folder / f"{name}.png")
            return folder / f"{name}.png"

        await _live(gateway, clock)
        await _console(page, gateway)
        await page.get_by_role("navigation").get_by_role("link", name="Providers").click()
        sick = page.get_by_role("region", name="browsers-demo")
        await expect(sick).to_contain_text("are not sent for now")
        files = [await shoot("sick-provider")]
        gateway.upstreams["bctrl_browsers"].emulator.faults.end_all()
        await clock.advance(60)
        await page.get_by_role("navigation").get_by_role("link", name="Fleet").click()
        await expect(page.locator(".row", has_text="checkout-bot")).to_be_visible()
        files.append(await shoot("fleet"))
        await page.goto(f"{gateway.url}/docs/quickstart#see-it-fail")
        return [*files, await shoot("quickstart")]


async def main(folder: Path) -> None:
    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("Chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable)
        for file in await take(browser, folder):
            print(f"{file} {file.stat().st_size // 1024} KiB")  # noqa: T201 (what the command prints)
        await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asyncio.run(main(parser.parse_args().folder))
