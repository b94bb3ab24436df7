"""The page of docs/browser-apps.md in a browser, on another origin than the gateway, and with nothing in between."""

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from gateway.settings import CorsSettings
from gateway.testing.processes import running
from tests.component.whole_gateway import Gateway, whole_gateway
from tests.issuer import Issuer

DOCS: Final = Path(__file__).parents[2] / "docs" / "browser-apps.md"
(PAGE,) = re.findall(r"```html\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
CUSTOMER: Final = "a-key-of-a-customer-1"
SCOPES: Final = ["runtimes:read", "runtimes:create", "runtimes:lifecycle", "runtimes:connect"]


class App:
    """The app's own server: the page, and the session of the person who is signed in."""

    def __init__(self, key: str = CUSTOMER) -> None:
        self.key = key
        self.gateway: Gateway | None = None

    async def page(self, _request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def session(self, _request: web.Request) -> web.Response:
        assert self.gateway is not None
        return web.json_response({"gateway": self.gateway.url, "key": self.key})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve it, and return its origin: another name and another port than the gateway's."""
        app = web.Application()
        app.add_routes([web.get("/", self.page), web.get("/session", self.session)])
        async with running(app) as url:
            yield url.replace("127.0.0.1", "localhost")


@asynccontextmanager
async def opened(browser: Browser, *, listed: bool = True, **rights: Any) -> AsyncIterator[tuple[Page, Gateway]]:
    """The page, opened by a customer with these rights; ``listed``: the gateway lists its origin."""
    app = App()
    customer = {"keys": [CUSTOMER], "scopes": SCOPES, **rights}
    async with app.serving() as origin:
        cors = CorsSettings(origins=[origin if listed else "https://app.example"])
        async with whole_gateway(
            "bctrl_browsers", "durable", cors=cors, principals={"customer": customer}
        ) as app.gateway:
            page = await browser.new_page()
            await page.goto(origin)
            yield page, app.gateway
            await page.close()


async def create(page: Page, name: str) -> None:
    await page.fill("input[name=name]", name)
    await page.click("#create button")


def requests(gateway: Gateway) -> list[dict[str, Any]]:
    """The log lines of requests."""
    lines = map(json.loads, gateway.log.getvalue().splitlines())
    return [line for line in lines if line["event"] == "request"]


async def test_page_creates_lists_and_connects_and_shows_an_error_with_its_request_id(browser: Browser) -> None:
    async with opened(browser) as (page, gateway):
        await create(page, "checkout")
        row = page.locator("li", has_text="checkout")
        await expect(row).to_have_count(1)
        await row.get_by_role("button", name="connect").click()
        await expect(page.locator("dd").first).to_have_text(re.compile(r"^(wss?|https?)://"))
        await create(page, "not/a name")
        problem = page.get_by_role("alert")
        await expect(problem).to_have_text(re.compile(r"\(request [0-9a-f-]{36}\)$"))
        found = re.search(r"request ([0-9a-f-]{36})", await problem.inner_text())
        assert found is not None
        (line,) = [line for line in requests(gateway) if line["request_id"] == found[1]]
        assert (line["status"], line["principal"]) == (422, "customer")


async def test_page_of_an_origin_that_is_not_listed_is_refused(browser: Browser) -> None:
    async with opened(browser, listed=False) as (page, gateway):
        problem = page.get_by_role("alert")
        await expect(problem).to_have_text(re.compile("^No response: "))
        await create(page, "checkout")
        await expect(problem).to_have_text(re.compile("^No response: "))
        assert [upstream.received() for upstream in gateway.upstreams.values()] == [0, 0]
        assert (await gateway.call("GET", "/v1/runtimes")).json["items"] == []


OTHERS: Final = {
    "of another provider": ({"providers": ["browsers-demo"]}, "durable"),
    "of another owner": ({"own_only": True}, "bctrl_browsers"),
}
"""How a customer is limited, and where the runtime is that it may not see. Each further limit is one entry."""

CALL: Final = """async ([method, path]) => {
    const { gateway, key } = await (await fetch("/session")).json();
    const response = await fetch(gateway + path, { method, headers: { Authorization: `Bearer ${key}` } });
    return [response.status, (await response.json()).code];
}"""


@pytest.mark.parametrize(("rights", "api"), OTHERS.values(), ids=OTHERS)
async def test_runtime_of_another_customer_is_refused(browser: Browser, rights: dict[str, Any], api: str) -> None:
    async with opened(browser, **rights) as (page, gateway):
        foreign = await gateway.create(gateway.upstreams[api], name="theirs")
        await create(page, "mine")
        await expect(page.locator("li")).to_have_count(1)
        await expect(page.locator("li")).to_contain_text("mine")
        for method, path in (("GET", ""), ("POST", "/connections"), ("POST", "/stop"), ("DELETE", "")):
            refused = await page.evaluate(CALL, [method, f"/v1/runtimes/{foreign['id']}{path}"])
            assert refused == [404, "not_found"], (method, path)
        assert (await gateway.call("GET", f"/v1/runtimes/{foreign['id']}")).status == 200


async def test_person_with_a_token_watches_a_browser_come_up_and_sees_who_holds_the_places(browser: Browser) -> None:
    """The page creates with ``Prefer: respond-async``, follows the event stream, and reaches its limit."""
    issuer, rights = Issuer(), {"own_only": True, "view": "public", "limits": {"running": 2}}
    app = App(issuer.token(sub="person", scope=" ".join(SCOPES)))
    template = {"keys": [CUSTOMER], "scopes": SCOPES, **rights}
    async with (
        issuer.serving(),
        app.serving() as origin,
        whole_gateway(
            "bctrl_browsers",
            cors=CorsSettings(origins=[origin]),
            principals={"shop": template},
            jwt=[issuer.settings(scopes="scope")],
            bctrl_browsers={"wait_seconds": 0},
        ) as app.gateway,
    ):
        emulator, now = app.gateway.upstreams["bctrl_browsers"].emulator, time.time()
        emulator.now = lambda: now
        page = await browser.new_page()
        await page.goto(origin)
        row = page.locator("li", has_text="checkout")
        await create(page, "checkout")
        await expect(row).to_have_text(re.compile("checkout: starting"))
        now += 60
        await expect(row).to_have_text(re.compile("checkout: running"))
        await create(page, "second")
        await expect(page.locator("li", has_text="second: starting")).to_have_count(1)
        await create(page, "third")
        problem = page.get_by_role("alert")
        await expect(problem).to_have_text(
            re.compile(r"The places are taken by: (checkout, second|second, checkout)\.")
        )
        now += 60
        await expect(page.locator("li", has_text="second: running")).to_have_count(1)
        await page.close()
        while sum(line["operation"] == "watchRuntime" for line in requests(app.gateway)) < 2:
            await app.gateway.call("GET", "/livez")  # the page left both streams when it had seen enough
        lines = requests(app.gateway)
        assert {line["principal"] for line in lines if "principal" in line} == {"login/person"}
        creates = [line["status"] for line in lines if line["operation"] == "createRuntime"]
        assert creates == [202, 202, 429]
        assert [line["operation"] for line in lines].count("listRuntimes") == 1
