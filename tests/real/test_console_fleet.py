"""The fleet page with 10,000 runtimes: few of them are in the document or read at a time, and each can be reached."""

import asyncio
from dataclasses import replace
from typing import Any, Final

from playwright.async_api import Browser, expect

from adapters.bctrl_browsers.emulator import BrowsersEmulator
from tests.real.test_console import Console, opened

MANY: Final = 10_000
LAST: Final = f"web-{MANY - 1:05}"
HANGS: Final = 600.0
MOST_ROWS: Final = 600
"""Rows in the document at a time: three or four pages of 100, and what is added while one scrolls."""

READ: Final = """() => {
  const rows = [...document.querySelectorAll(".row:not(.head)")];
  return {count: rows.length, names: rows.map(row => row.querySelector(".name").textContent)};
}"""


async def filled(console: Console, count: int) -> None:
    """Give the provider many browsers: copies of one that was created, the last of which has a label of its own."""
    upstream = console.gateway.upstreams["bctrl_browsers"]
    await console.gateway.create(upstream, name="web-00000", labels={"team": "shop"})
    emulator = upstream.emulator
    assert isinstance(emulator, BrowsersEmulator)
    (first,) = emulator.world.all(emulator.now())
    for number in range(1, count):
        config = {**first.config, "metadata": {"team": "last"}} if number == count - 1 else first.config
        made = first.created + number / 1000
        copy_id = f"{first.id[:-5]}{number:05}"
        emulator.world.add(replace(first, id=copy_id, name=f"web-{number:05}", created=made, config=config))


async def scrolled(console: Console) -> None:
    """Scroll down by five screens, and let the page be drawn."""
    await console.page.mouse.wheel(0, 4000)
    await console.page.evaluate("new Promise(requestAnimationFrame)")


def lists(console: Console) -> list[str]:
    return [url for url in console.requested if "/v1/runtimes?" in url]


async def test_every_row_of_ten_thousand_is_reached_with_few_in_the_document(browser: Browser) -> None:
    async with opened(browser, "bctrl_browsers") as console:
        await filled(console, MANY)
        await console.sign_in()
        page = console.page
        await expect(console.row("web-00000")).to_be_visible()
        await page.get_by_label("Refresh every").select_option("0")
        before, seen, most = len(lists(console)), set[str](), 0
        async with asyncio.timeout(HANGS):
            while len(seen) < MANY:
                shown: dict[str, Any] = await page.evaluate(READ)
                seen.update(shown["names"])
                most = max(most, shown["count"])
                await scrolled(console)
        assert seen == {f"web-{number:05}" for number in range(MANY)}
        assert most <= MOST_ROWS
        assert len(lists(console)) - before <= MANY / 100 + 10
        await expect(page.get_by_text("10,000 shown", exact=True)).to_be_visible()
        # Back at the beginning, the rows are read again.
        await page.keyboard.press("Home")
        await expect(console.row("web-00000")).to_be_visible()
        assert (await page.evaluate(READ))["count"] <= MOST_ROWS


async def test_a_refresh_reads_only_the_pages_near_the_visible_part(browser: Browser) -> None:
    async with opened(browser, "bctrl_browsers") as console:
        await filled(console, 3000)
        await console.sign_in()
        page = console.page
        await expect(console.row("web-00000")).to_be_visible()
        await page.get_by_label("Refresh every").select_option("60")
        async with asyncio.timeout(HANGS):
            while "web-02999" not in (await page.evaluate(READ))["names"]:
                await scrolled(console)
        await page.get_by_label("Select web-02998").check()
        await page.get_by_label("Select web-02999").check()
        before = len(lists(console))
        emulator = console.gateway.upstreams["bctrl_browsers"].emulator
        assert isinstance(emulator, BrowsersEmulator)
        last = next(one for one in emulator.world.all(emulator.now()) if one.name == "web-02999")
        del emulator.world.browsers[last.id]
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(console.row("web-02999")).to_have_count(0)
        await expect(console.row("web-02998")).to_be_attached()
        await expect(page.get_by_text("1 runtime selected")).to_be_visible()
        assert len(lists(console)) - before <= 6


async def test_filters_are_the_servers_and_find_the_last_row(browser: Browser) -> None:
    async with opened(browser, "bctrl_browsers") as console:
        await filled(console, MANY)
        await console.sign_in()
        page = console.page
        await page.get_by_label("Refresh every").select_option("0")
        for field, text in (("Name", LAST), ("Label", "team=last")):
            await page.evaluate("location.hash = '#/fleet'")
            await expect(console.row("web-00001")).to_be_visible()
            await page.get_by_label(field, exact=True).fill(text)
            await page.get_by_label(field, exact=True).press("Enter")
            await expect(console.row(LAST)).to_be_visible()
            await expect(console.row("web-00001")).to_have_count(0)


async def test_a_click_on_a_state_above_the_list_filters_it(browser: Browser) -> None:
    async with opened(browser, "durable", "bctrl_browsers") as console:
        await console.gateway.create(console.gateway.upstreams["durable"], name="agent", start=True)
        await console.gateway.create(console.gateway.upstreams["durable"], name="other")
        await console.gateway.create(console.gateway.upstreams["bctrl_browsers"], name="web")
        await console.sign_in()
        figures = console.page.locator(".figures")
        await expect(figures).to_contain_text("3 runtimes")
        await expect(figures).to_contain_text("known for 1")
        await figures.get_by_role("link", name="idle 1").click()
        await expect(console.row("agent")).to_have_count(0)
        await expect(console.row("other")).to_be_visible()
