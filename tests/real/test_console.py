"""The console in a browser: signing in, what a person does there, and that nothing leaves its origin."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, Request, expect

from gateway.ports.store import Store
from tests.component.access.test_intents import intent_in
from tests.component.stores import in_memory
from tests.component.whole_gateway import Gateway, whole_gateway
from tests.real.plane import NODE, required

OPS: Final = "key-of-operations-12345"
READER: Final = "key-of-a-reader-1234567"
PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "ops": {"keys": [OPS], "scopes": ["admin", "audit"]},
    "reader": {"keys": [READER], "scopes": ["runtimes:read"], "own_only": True, "view": "public"},
}
HOSTILE: Final = "<img src=x onerror=alert(1)>"
PAGES: Final = ("fleet", "providers", "creates", "moves", "keys", "audit")


class Console:
    """The console of a gateway in one tab."""

    def __init__(self, page: Page, gateway: Gateway, store: Store) -> None:
        self.page = page
        self.gateway = gateway
        self.store = store
        self.requested: list[str] = []
        self.problems: list[str] = []
        page.on("request", self._note)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if "Content Security" in said.text else None)
        page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))

    def _note(self, request: Request) -> None:
        self.requested.append(request.url)

    async def sign_in(self, key: str = OPS) -> None:
        await self.page.goto(f"{self.gateway.url}/console")
        await self.page.get_by_label("Key or token").fill(key)
        await self.page.get_by_role("button", name="Sign in").click()

    async def go(self, page: str) -> None:
        await self.page.get_by_role("navigation").get_by_role("link", name=page).click()

    def row(self, text: str) -> Any:
        return self.page.locator(".row, tr", has_text=text)


@asynccontextmanager
async def opened(browser: Browser, *apis: str, **options: Any) -> AsyncIterator[Console]:
    """The console in a new tab, in front of a gateway with these APIs."""
    tab = {name: options.pop(name) for name in ("viewport", "color_scheme") if name in options}
    store, sealer = in_memory()
    async with whole_gateway(*apis, principals=PRINCIPALS, store=(store, sealer), **options) as gateway:
        context = await browser.new_context(**tab)
        console = Console(await context.new_page(), gateway, store)
        yield console
        await context.close()
        assert not console.problems
        assert {url.split("/")[2] for url in console.requested} == {gateway.url.split("/")[2]}


async def test_a_wrong_key_is_refused_and_a_right_one_shows_the_fleet(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.gateway.create(console.gateway.upstreams["durable"], name="agent")
        await console.sign_in("not-a-key-of-this-gateway")
        await expect(console.page.get_by_role("alert")).to_be_visible()
        await console.sign_in()
        await expect(console.row("agent")).to_be_visible()
        await console.page.get_by_role("button", name="Sign out").click()
        await console.page.reload()
        await expect(console.page.get_by_label("Key or token")).to_be_visible()
        assert not any(OPS in url for url in console.requested)


async def test_a_caller_with_few_rights_sees_only_what_works_for_it(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.sign_in(READER)
        await expect(console.page.get_by_role("navigation").get_by_role("link")).to_have_text(["Fleet"])
        await expect(console.page.get_by_text("No runtime fits.")).to_be_visible()


async def test_a_runtime_is_started_paused_and_configured(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.gateway.create(console.gateway.upstreams["durable"], name="agent")
        await console.sign_in()
        await console.row("agent").get_by_role("link", name="agent").click()
        page = console.page
        await page.get_by_role("button", name="start").click()
        await expect(page.locator("h1 .badge")).to_have_text("running")
        await page.get_by_role("button", name="pause").click()
        await expect(page.locator("h1 .badge")).to_have_text("paused")
        await page.get_by_text("Config", exact=True).click()
        config = page.get_by_label("Config as JSON")
        await expect(config).to_have_value(re.compile("version"))
        await config.fill(json.dumps({"version": "v2", "runtime_server": {"env": {"MODE": "careful"}}}))
        await page.get_by_role("button", name="Replace the config").click()
        await expect(page.get_by_text("The config is replaced.")).to_be_visible()
        await page.get_by_text("Audit", exact=True).last.click()
        await expect(console.row("pauseRuntime")).to_be_visible()


async def test_twenty_runtimes_are_stopped_at_once_after_a_question(browser: Browser) -> None:
    async with opened(browser, "bctrl_browsers") as console:
        upstream = console.gateway.upstreams["bctrl_browsers"]
        for number in range(20):
            await console.gateway.create(upstream, name=f"web-{number}", start=True)
        await console.sign_in()
        await expect(console.row("web-7")).to_be_visible()
        await console.page.get_by_label("Select all rows shown").check()
        await console.page.get_by_role("button", name="stop 20").click()
        dialog = console.page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Stop 20 runtimes?")
        await dialog.get_by_role("button", name="Cancel").click()
        assert console.gateway.upstreams["bctrl_browsers"].emulator.requests.per_operation.get("stop", 0) == 0
        await console.page.get_by_role("button", name="stop 20").click()
        await console.page.get_by_role("dialog").get_by_role("button", name="stop").click()
        await expect(console.page.get_by_text("stop: 20 of 20 runtimes done.")).to_be_visible()
        await expect(console.page.locator(".row .badge.running")).to_have_count(0)


async def test_a_provider_gets_sick_and_recovers(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        runtime = await console.gateway.create(console.gateway.upstreams["durable"], name="agent")
        upstream = console.gateway.upstreams["durable"]
        upstream.fault(fault="status", status=503)
        await console.gateway.call("GET", f"/v1/runtimes/{runtime['id']}")
        await console.sign_in()
        await console.go("Providers")
        page = console.page
        await expect(page.locator(".badge.failing")).to_be_visible()
        await expect(page.locator(".chart .bad").first).to_be_attached()
        await expect(page.locator("figcaption").first).to_have_text(re.compile("[1-9][0-9]* failed"))
        upstream.emulator.faults.end_all()
        while (await console.gateway.call("GET", f"/v1/runtimes/{runtime['id']}")).status != 200:
            await page.wait_for_timeout(500)  # the breaker may be open
        await page.get_by_label("Refresh every").select_option("5")
        await expect(page.locator(".badge.ok")).to_be_visible()


async def test_charts_have_scales_with_units_and_a_text_for_each_minute(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        runtime = await console.gateway.create(console.gateway.upstreams["durable"], name="agent")
        for _ in range(10):
            await console.gateway.call("GET", f"/v1/runtimes/{runtime['id']}")
        await console.sign_in()
        await console.go("Providers")
        await expect(console.page.locator("figure")).to_have_count(2)
        calls, durations = await console.page.locator("figure").all()
        steps = await calls.locator(".y span").all_text_contents()
        assert [int(step) for step in steps] == [int(steps[0]), int(steps[0]) // 2, 0]
        for duration in await durations.locator(".y span").all_text_contents():
            assert re.fullmatch(r"[0-9.]+ (ms|s)", duration)
        for chart in (calls, durations):
            times = await chart.locator(".x span").all_text_contents()
            assert len(set(times)) == 3
            assert all(re.fullmatch("[0-2][0-9]:[0-5][0-9]", time) for time in times)
        await expect(calls.get_by_role("img")).to_have_accessible_name(re.compile("^durable-demo, Calls per minute: "))
        await expect(calls.locator("title").last).to_have_text(re.compile("^[0-9:]{5}: [0-9]+ calls?, 0 failed$"))
        await expect(durations.locator("figcaption")).to_contain_text("p95: 95 % take less")


async def test_a_parked_create_is_resolved(browser: Browser) -> None:
    async with opened(browser) as console:
        await intent_in(console.gateway, console.store, name="lost-agent")
        await console.sign_in()
        await console.go("Creates")
        await console.row("lost-agent").get_by_role("button", name="Resolve").click()
        await console.page.get_by_role("dialog").get_by_role("button", name="Resolve").click()
        await expect(console.page.get_by_text("lost-agent is absent now.")).to_be_visible()


async def test_a_create_whose_response_was_lost_says_how_often_it_was_sent(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        upstream = console.gateway.upstreams["durable"]
        upstream.fault("create", fault="drop_after", times=1)
        body = {"kind": "durable", "provider": upstream.name, "name": "lost-agent"}
        assert (await console.gateway.call("POST", "/v1/runtimes", body)).status == 504
        assert (await console.gateway.call("POST", "/v1/runtimes", body)).status in {200, 201}
        await console.sign_in()
        await console.go("Creates")
        await console.page.get_by_label("Show").select_option("all")
        await expect(console.row("lost-agent")).to_contain_text("sent 2 times, once without a response")


async def test_keys_of_the_settings_cannot_be_revoked_here(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.sign_in()
        await console.go("Keys")
        await expect(console.row("ops").first).to_contain_text("settings")
        await expect(console.page.get_by_role("button", name="Revoke")).to_have_count(0)


async def test_a_key_is_made_shown_once_and_revoked(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.sign_in()
        await console.go("Keys")
        page = console.page
        await page.get_by_role("button", name="New key").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Principal").fill("shop")
        await dialog.get_by_label("Template").fill("ops")
        await dialog.get_by_label("runtimes:read").check()
        await dialog.get_by_role("button", name="Create").click()
        key = await page.locator(".secret code").text_content()
        assert key is not None
        me = await console.gateway.call("GET", "/v1/me", Authorization=f"Bearer {key}")
        assert (me.json["principal"], me.json["scopes"]) == ("shop", ["runtimes:read"])
        await page.get_by_role("button", name="Hide").click()
        await console.row("shop").get_by_role("button", name="Revoke").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(page.get_by_text("The key is revoked.")).to_be_visible()
        assert (await console.gateway.call("GET", "/v1/me", Authorization=f"Bearer {key}")).status == 401


async def test_hostile_texts_are_shown_as_text(browser: Browser) -> None:
    labels = {"note": HOSTILE, "long": "x" * 10_000, "rtl": "\u202egnp.exe"}
    async with opened(browser, "bctrl_browsers") as console:
        await console.gateway.create(console.gateway.upstreams["bctrl_browsers"], name="web", labels=labels)
        await console.sign_in()
        await expect(console.row("web")).to_contain_text(HOSTILE)
        assert await console.page.locator(".row img").count() == 0
        await console.row("web").get_by_role("link", name="web").click()
        await expect(console.page.locator("dl")).to_contain_text(HOSTILE)


async def test_the_fleet_is_used_with_the_keyboard_only(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.gateway.create(console.gateway.upstreams["durable"], name="agent")
        page = console.page
        await page.goto(f"{console.gateway.url}/console")
        await expect(page.get_by_label("Key or token")).to_be_focused()
        await page.keyboard.type(OPS)
        await page.keyboard.press("Enter")
        await expect(console.row("agent")).to_be_visible()
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.textContent") == "agent":
                break
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_contain_text("agent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
async def test_every_page_fits_and_has_no_serious_accessibility_issue(
    browser: Browser, scheme: str, width: int
) -> None:
    axe = NODE / "axe-core" / "axe.min.js"
    required("axe-core", axe.is_file())
    tab: dict[str, Any] = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    async with opened(browser, "durable", "bctrl_browsers", **tab) as console:
        made = await console.gateway.create(console.gateway.upstreams["durable"], name="agent", start=True)
        await console.gateway.create(
            console.gateway.upstreams["bctrl_browsers"], name="web", labels={"team": "shop", "long": "y" * 300}
        )
        await console.sign_in()
        await expect(console.row("agent")).to_be_visible()
        for path in (*PAGES, f"runtime/{made['id']}"):
            await console.page.evaluate("path => { location.hash = `#/${path}`; }", path)
            await expect(console.page.locator("h1")).to_be_visible()
            await console.page.wait_for_load_state("networkidle")
            sizes = await console.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert sizes[0] <= sizes[1], path
            await console.page.evaluate(axe.read_text("utf-8"))
            found = await console.page.evaluate("axe.run()")
            serious = [one for one in found["violations"] if one["impact"] in {"serious", "critical"}]
            assert not serious, (path, [(one["id"], one["nodes"][0]["html"]) for one in serious])


async def test_a_click_on_a_label_filters_the_fleet(browser: Browser) -> None:
    async with opened(browser, "bctrl_browsers") as console:
        upstream = console.gateway.upstreams["bctrl_browsers"]
        await console.gateway.create(upstream, name="web", labels={"team": "shop"})
        await console.gateway.create(upstream, name="other", labels={"team": "search"})
        await console.sign_in()
        await console.row("web").get_by_role("button", name="team=shop").click()
        await expect(console.row("other")).to_have_count(0)
        await expect(console.row("web")).to_be_visible()
        await console.page.get_by_role("button", name="Remove the filter team=shop").click()
        await expect(console.row("other")).to_be_visible()


async def test_a_move_is_applied_and_followed_to_its_end(browser: Browser) -> None:
    async with opened(browser, "durable", twice=["durable"]) as console:
        gateway = console.gateway
        await gateway.create(gateway.upstreams["durable"], name="agent")
        names = [gateway.upstreams[api].name for api in ("durable", "durable-2")]
        body = {"source": {"provider": names[0]}, "target": {"provider": names[1]}}
        assert (await gateway.call("POST", "/v1/moves", body)).status == 202
        await console.sign_in()
        await console.go("Moves")
        await console.page.get_by_role("link", name=re.compile("^mv_")).click()
        await console.page.get_by_text("What belongs to the account, and stays").click()
        await console.page.get_by_role("button", name="apply").click()
        await console.page.get_by_role("dialog").get_by_role("button", name="apply").click()
        await expect(console.page.locator("h1 .badge")).to_have_text("done")
        await expect(console.row("agent").locator(".badge")).to_have_text("moved")
        await expect(console.page.get_by_text("Not moved from the account of")).to_be_visible()


async def test_a_provider_that_is_missing_in_the_fleet_is_named(browser: Browser) -> None:
    async with opened(browser, "durable", "bctrl_browsers") as console:
        await console.gateway.create(console.gateway.upstreams["bctrl_browsers"], name="web")
        console.gateway.upstreams["durable"].fault(fault="status", status=503)
        await console.sign_in()
        await expect(console.row("web")).to_be_visible()
        await expect(console.page.locator(".summary .warning")).to_contain_text("durable-demo is missing")
