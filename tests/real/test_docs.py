"""The documentation in a browser: that it fits, can be searched and copied from, and loads nothing from elsewhere."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.api.docs_site import DocsSite
from tests.component.whole_gateway import whole_gateway
from tests.real.plane import NODE, required

PAGES: Final = ("index", *(page for pages in DocsSite().groups.values() for _, page in pages))
GUIDES: Final = tuple(page for page in PAGES if not page[0].isdigit())
PHONE: Final = {"width": 375, "height": 800}
DESK: Final = {"width": 1280, "height": 800}
TALLEST: Final = 2000
"""Pixels of an unfolded operation of the API reference."""
SIZES: Final = "[document.documentElement.scrollWidth, innerWidth]"


@asynccontextmanager
async def opened(browser: Browser, **options: Any) -> AsyncIterator[tuple[Page, str]]:
    """A new tab, and the address of a gateway's documentation."""
    async with whole_gateway("durable") as gateway:
        context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
        page = await context.new_page()
        requested: list[str] = []
        problems: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        yield page, f"{gateway.url}/docs"
        await context.close()
        assert not [problem for problem in problems if "404" not in problem]
        assert {url.split("/")[2] for url in requested} == {gateway.url.split("/")[2]}


async def test_every_page_fits_a_phone_without_sideways_scrolling(browser: Browser) -> None:
    async with opened(browser, viewport=PHONE) as (page, docs):
        for name in (*PAGES, "errors/not_found", "none"):
            await page.goto(f"{docs}/{name}", wait_until="networkidle")
            width, window = await page.evaluate(SIZES)
            assert width <= window, name
            pictures = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
            assert await page.evaluate(pictures), name


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE)])
async def test_no_page_has_a_serious_accessibility_issue(browser: Browser, scheme: Any, viewport: Any) -> None:
    axe = NODE / "axe-core" / "axe.min.js"
    required("axe-core", axe.is_file())
    async with opened(browser, viewport=viewport, color_scheme=scheme) as (page, docs):
        for name in (*GUIDES, PAGES[-1], "none"):
            await page.goto(f"{docs}/{name}", wait_until="networkidle")
            if name == "reference":
                await page.evaluate("location.hash = '#createRuntime'")
                await expect(page.locator("#createRuntime pre").first).to_be_visible()
            await page.evaluate(axe.read_text("utf-8"))
            found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            serious = [one for one in found["violations"] if one["impact"] in {"serious", "critical"}]
            assert not serious, (name, [(one["id"], one["nodes"][0]["html"]) for one in serious])


async def test_the_search_finds_a_section_with_the_keyboard_only(browser: Browser) -> None:
    async with opened(browser, viewport=DESK) as (page, docs):
        await page.goto(f"{docs}/quickstart")
        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.type("drain")
        results = page.locator("#found a")
        await expect(results.first).to_be_visible()
        await expect(results.locator("mark").first).to_have_text(re.compile("^drain", re.IGNORECASE))
        await page.keyboard.press("ArrowDown")
        await expect(results.first).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(results).to_have_count(0)
        await page.get_by_role("searchbox").fill("surplus runtimes")
        await expect(results.first).to_contain_text("Surplus runtimes")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(f"{docs}/runbook#surplus-runtimes")
        await expect(page.get_by_role("heading", name="Surplus runtimes")).to_be_in_viewport()
        await page.get_by_role("searchbox").fill("no-such-word-anywhere")
        await expect(page.locator("#found")).to_have_text("No section has all these words.")


async def test_the_search_finds_an_operation_and_unfolds_it(browser: Browser) -> None:
    async with opened(browser, viewport=DESK) as (page, docs):
        await page.goto(docs)
        await page.get_by_role("searchbox").fill("create a runtime")
        await page.locator("#found a", has_text="POST /v1/runtimes").first.click()
        await expect(page).to_have_url(f"{docs}/reference#createRuntime")
        await expect(page.locator("#createRuntime").get_by_text("Idempotency-Key", exact=True)).to_be_in_viewport()
        await page.locator("#getRuntime summary").first.click()
        await expect(page).to_have_url(f"{docs}/reference#getRuntime")
        await page.locator("#createRuntime").get_by_role("link", name="CreateDurable").click()
        await expect(page.locator("#CreateDurable td", has_text="labels").first).to_be_in_viewport()


async def test_code_is_copied_and_of_a_session_only_its_commands(browser: Browser) -> None:
    async with opened(browser, viewport=DESK) as (page, docs):
        for name, copied in (("quickstart", "make run"), ("console", "runtime-gateway demo")):
            await page.goto(f"{docs}/{name}")
            await page.locator(".code").first.hover()
            await page.get_by_role("button", name="Copy").first.click()
            await expect(page.get_by_role("button", name="Copied")).to_be_visible()
            assert await page.evaluate("navigator.clipboard.readText()") == copied


@pytest.mark.parametrize("viewport", [DESK, PHONE])
async def test_unfolded_operations_stay_short_and_fit(browser: Browser, viewport: Any) -> None:
    async with opened(browser, viewport=viewport) as (page, docs):
        await page.goto(f"{docs}/reference", wait_until="networkidle")
        operations = page.locator(".operation")
        assert await operations.count() > 50
        heights = await operations.evaluate_all(
            "all => all.map((one) => { one.unfold(); one.open = true; return [one.offsetHeight, one.id]; })"
        )
        width, window = await page.evaluate(SIZES)
        assert width <= window
        if viewport == DESK:
            assert max(heights) < [TALLEST, ""]
        models = await page.locator(".model").evaluate_all("all => all.map((one) => (one.unfold(), one.id))")
        links = await page.locator("article a[href^='#']").evaluate_all("all => all.map((one) => one.hash.slice(1))")
        ids = await page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
        assert "Runtime" in models
        assert set(links) <= set(ids)
        assert len(set(ids)) == len(ids)


async def test_pages_and_contents_open_and_close_on_a_phone(browser: Browser) -> None:
    async with opened(browser, viewport=PHONE) as (page, docs):
        await page.goto(f"{docs}/access")
        settings = page.get_by_role("navigation", name="Pages").get_by_role("link", name="Settings")
        await expect(settings).to_be_hidden()
        await page.get_by_role("button", name="Pages").click()
        await settings.click()
        await expect(page).to_have_url(f"{docs}/settings")
        await page.get_by_role("button", name="On this page").click()
        contents = page.get_by_role("navigation", name="On this page")
        await contents.get_by_role("link", name="The store", exact=True).click()
        await expect(contents).to_be_hidden()
        await expect(page.get_by_role("heading", name="The store", exact=False).first).to_be_in_viewport()


async def test_a_picture_opens_on_its_own_with_its_styles(browser: Browser) -> None:
    async with opened(browser, viewport=PHONE) as (page, docs):
        await page.goto(f"{docs}/model")
        await page.locator("article img").first.click()
        await expect(page).to_have_url(f"{docs}/assets/states.svg")
        assert await page.evaluate("document.querySelector('style').sheet.cssRules.length > 0")
