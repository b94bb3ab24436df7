"""Real browsers behind the data plane: clients, and how connections end."""

import asyncio
import base64
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import test_utils, web
from playwright.async_api import async_playwright
from selenium import webdriver

from gateway.testing.processes import running
from tests.component.processes import HANGS
from tests.programs import required
from tests.real.plane import Plane, blocks, run_script, started

PAGE = "data:text/html,<title>hello</title><h1>Hello</h1>"


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with started(tmp_path) as made:
        yield made


async def test_provider_address_is_in_nothing_that_the_gateway_sends_or_logs(plane: Plane) -> None:
    """Playwright over the path token, discovery with and without slash, and a new WebDriver session."""
    required("chromedriver", shutil.which("chromedriver"))
    runtime_id = await plane.create()
    urls, places = await plane.urls(runtime_id), await plane.places(runtime_id)
    async with async_playwright() as playwright:
        for url in (urls["cdp"], urls["cdp"].replace("ws", "http", 1)):
            browser = await playwright.chromium.connect_over_cdp(url)
            page = await browser.new_page()
            await page.goto(PAGE)
            assert (await page.screenshot()).startswith(b"\x89PNG")
            await browser.close()
    async with aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}) as client:
        for path in ("/json/version", "/json/version/", "/json", "/json/list/"):
            async with client.get(urls["cdp"].replace("ws", "http", 1) + path) as response:
                assert "/devtools/" in await response.text()
        wanted = {"capabilities": {"alwaysMatch": {"webSocketUrl": True}}}
        async with client.post(f"{urls['webdriver']}/session", json=wanted) as response:
            capabilities = (await response.json())["value"]["capabilities"]
    assert capabilities["webSocketUrl"].startswith(urls["webdriver"].replace("http", "ws", 1))
    assert "/cdp/" in capabilities["goog:chromeOptions"]["debuggerAddress"]
    sent = b"".join(recorder.sent for recorder in plane.recorders)
    assert b"webSocketDebuggerUrl" in sent
    for place in places:
        assert place.encode() not in sent
        assert place not in plane.log.getvalue()


def selenium_session(url: str) -> tuple[str, list[Any], list[str]]:
    options = webdriver.ChromeOptions()
    options.enable_bidi = True
    driver = webdriver.Remote(url, options=options)
    try:
        texts: list[str] = []
        driver.script.add_console_message_handler(lambda entry: texts.append(entry.text))
        driver.get(PAGE)
        driver.execute_script("console.log('from the page')")
        contexts = driver.browsing_context.get_tree()
        return driver.title, contexts, texts
    finally:
        driver.quit()


async def test_selenium_drives_the_browser_that_cdp_shows_with_bidi(plane: Plane) -> None:
    required("chromedriver", shutil.which("chromedriver"))
    urls = await plane.urls(await plane.create(driver="selenium"))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(urls["cdp"])
        await (await browser.contexts[0].new_page()).goto("about:blank#opened-over-cdp")
        title, contexts, texts = await asyncio.to_thread(selenium_session, urls["webdriver"])
        await browser.close()
    assert (title, texts) == ("hello", ["from the page"])
    assert "about:blank#opened-over-cdp" in [context.url for context in contexts]


CLIENTS = [
    ("README.md", "python", 0, "Hello"),
    ("docs/connect.md", "python", 0, "Hello"),
    ("docs/connect.md", "python", 1, "Hello"),
    ("docs/connect.md", "js", 0, "Hello"),
    ("docs/connect.md", "js", 1, "Hello"),
]
"""The scripts of the documentation: the page, the language, the number of the block, and what it prints."""


@pytest.mark.parametrize(("page", "language", "number", "printed"), CLIENTS)
async def test_script_of_the_documentation_works(
    plane: Plane, tmp_path: Path, page: str, language: str, number: int, printed: str
) -> None:
    script = blocks(page, language)[number]
    if "webdriver" in script:
        required("chromedriver", shutil.which("chromedriver"))
    urls = await plane.urls(await plane.create())
    script = script.replace('"puppeteer-core"', '"puppeteer-25"')
    suffix = ".py" if language == "python" else ".mjs"
    shown = await run_script(script, suffix, tmp_path, CDP=urls["cdp"], WEBDRIVER=urls["webdriver"])
    assert shown.strip() == printed


PUPPETEER = """
import puppeteer from "%s";
const browser = await puppeteer.connect(%s);
const page = await browser.newPage();
await page.goto("data:text/html,<h1>Hello</h1>");
console.log(await page.$eval("h1", (heading) => heading.textContent));
await browser.disconnect();
"""


@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("puppeteer-24", "{browserWSEndpoint: process.env.CDP}"),
        ("puppeteer-25", "{browserWSEndpoint: process.env.CDP}"),
        ("puppeteer-25", "{browserURL: process.env.CDP.replace('ws', 'http')}"),
    ],
)
async def test_puppeteer_connects_by_each_of_its_ways(plane: Plane, tmp_path: Path, package: str, options: str) -> None:
    urls = await plane.urls(await plane.create())
    assert (await run_script(PUPPETEER % (package, options), ".mjs", tmp_path, CDP=urls["cdp"])).strip() == "Hello"


async def raw(socket: aiohttp.ClientWebSocketResponse, method: str) -> Any:
    await socket.send_json({"id": 1, "method": method, "params": {}})
    return (await socket.receive_json(timeout=HANGS))["result"]


async def test_browser_that_is_killed_closes_with_4502_and_has_failed(plane: Plane) -> None:
    runtime_id = await plane.create()
    urls = await plane.urls(runtime_id)
    async with aiohttp.ClientSession() as client, client.ws_connect(urls["cdp"]) as socket:
        processes = (await raw(socket, "SystemInfo.getProcessInfo"))["processInfo"]
        (pid,) = [process["id"] for process in processes if process["type"] == "browser"]
        os.kill(pid, signal.SIGKILL)
        message = await socket.receive(timeout=HANGS)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4502)
    assert message.extra
    await plane.until(runtime_id, "failed")


async def test_stop_closes_with_4410_and_the_old_address_stays_closed(plane: Plane) -> None:
    runtime_id = await plane.create()
    urls = await plane.urls(runtime_id)
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(urls["cdp"]) as socket:
            assert "product" in await raw(socket, "Browser.getVersion")
            await plane.call("POST", f"runtimes/{runtime_id}/stop", {})
            message = await socket.receive(timeout=HANGS)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4410)
        await plane.until(runtime_id, "idle")
        await plane.call("POST", f"runtimes/{runtime_id}/start", {})
        await plane.until(runtime_id, "running")
        async with client.get(urls["cdp"].replace("ws", "http", 1) + "/json/version") as response:
            assert (response.status, (await response.json())["code"]) == (410, "runtime_gone")


async def test_browser_keeps_a_cookie_over_a_stop_unless_its_state_is_discarded(plane: Plane) -> None:
    seen: list[str | None] = []

    async def visit(request: web.Request) -> web.Response:
        seen.append(request.cookies.get("kept"))
        response = web.Response(text="visited")
        response.set_cookie("kept", "yes", max_age=3600)
        return response

    site = web.Application()
    site.router.add_get("/", visit)
    runtime_id = await plane.create()
    async with running(site) as address, async_playwright() as playwright:
        for discard in (False, True, True):
            browser = await playwright.chromium.connect_over_cdp((await plane.urls(runtime_id))["cdp"])
            await (await browser.contexts[0].new_page()).goto(address)
            await browser.close()
            await plane.call("POST", f"runtimes/{runtime_id}/stop", {"discard_state": discard})
            await plane.until(runtime_id, "idle")
            await plane.call("POST", f"runtimes/{runtime_id}/start", {})
            await plane.until(runtime_id, "running")
    assert seen == [None, "yes", None]


async def test_proxy_of_a_browser_gets_its_credentials(plane: Plane) -> None:
    given: list[str] = []

    async def proxy(request: web.BaseRequest) -> web.Response:
        if (credentials := request.headers.get("Proxy-Authorization")) is None:
            return web.Response(status=407, headers={"Proxy-Authenticate": 'Basic realm="proxy"'})
        given.append(f"{request.raw_path} {base64.b64decode(credentials.removeprefix('Basic ')).decode()}")
        return web.Response(text="<h1>through the proxy</h1>", content_type="text/html")

    login = {"type": "http", "host": "127.0.0.1", "username": "user", "password": "a-password"}
    async with test_utils.RawTestServer(proxy) as server, async_playwright() as playwright:
        runtime_id = await plane.create(launch={"mode": "ephemeral", "proxy": {**login, "port": server.port}})
        browser = await playwright.chromium.connect_over_cdp((await plane.urls(runtime_id))["cdp"])
        page = await browser.new_page()
        await page.goto("http://shop.test/page")
        assert await page.inner_text("h1") == "through the proxy"
        await browser.close()
    assert "http://shop.test/page user:a-password" in given
