"""The console when something goes wrong: refused input, keys that end, URLs that were cut, and wrong clocks."""

import re
import time
from typing import Any, Final

import pytest
from playwright.async_api import Browser, expect

from tests.component.access.test_intents import intent_in
from tests.real.test_console import OPS, READER, opened

DAY: Final = 86_400
HANGS: Final = 60_000
"""Milliseconds. A page reads its event stream again some seconds after it has ended."""


async def test_a_key_that_no_header_can_carry_is_refused_as_such(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.sign_in("ключ")
        await expect(console.page.get_by_role("alert")).to_contain_text("This is not a key")


async def test_the_key_is_kept_when_the_gateway_cannot_be_reached(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        page = console.page
        await page.goto(f"{console.gateway.url}/console")
        await page.get_by_label("Keep it for this tab").check()
        await page.get_by_label("Key or token").fill(OPS)
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("No runtime fits.")).to_be_visible()
        await page.route("**/v1/me", lambda route: route.abort())
        await page.reload()
        await expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
        await page.unroute("**/v1/me")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("No runtime fits.")).to_be_visible()


async def test_a_key_that_is_revoked_while_a_runtime_is_shown_leads_to_the_sign_in(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        gateway, page = console.gateway, console.page
        runtime = await gateway.create(gateway.upstreams["durable"], name="agent")
        key = (await gateway.call("POST", "/v1/keys", {"principal": "shop", "template": "ops"})).json
        await page.goto(f"{gateway.url}/console#/runtime/{runtime['id']}")
        await page.get_by_label("Key or token").fill(key["key"])
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_contain_text("agent")
        assert (await gateway.call("DELETE", f"/v1/keys/{key['id']}")).status == 204
        await expect(page.get_by_role("alert")).to_contain_text("not valid any longer", timeout=HANGS)
        await expect(page.get_by_role("button", name="Start")).to_have_count(0)


@pytest.mark.parametrize("wrong", [-DAY, DAY])
async def test_ages_are_right_when_the_clock_of_the_browser_is_wrong(browser: Browser, wrong: int) -> None:
    async with opened(browser, "durable") as console:
        await console.gateway.create(console.gateway.upstreams["durable"], name="agent", start=True)
        await console.page.clock.install(time=time.time() + wrong)
        await console.sign_in()
        row = console.row("agent")
        await expect(row.locator("[data-title=Age]")).to_have_text(re.compile("^[0-9]+ s$"))
        await expect(row.locator("[data-title=Expires]")).to_have_text(re.compile("^in [0-9]+ min$"))


@pytest.mark.parametrize("path", ["runtime/%", "runtime", "runtime/", "fleet/%E0%A4%A", "nothing"])
async def test_a_url_that_names_no_page_leads_to_the_fleet(browser: Browser, path: str) -> None:
    async with opened(browser, "durable") as console:
        await console.sign_in()
        await console.go("Providers")
        await expect(console.page.locator("h1")).to_have_text("Providers")
        await console.page.evaluate("path => { location.hash = `#/${path}`; }", path)
        await expect(console.page.locator("h1")).to_have_text("Fleet")
        assert console.page.url.endswith("#/fleet")


async def test_a_filter_that_is_refused_can_be_changed(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.gateway.create(console.gateway.upstreams["durable"], name="agent")
        await console.sign_in()
        page = console.page
        await page.get_by_label("Provider", exact=True).fill("typo")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("no provider typo")
        await page.get_by_label("Provider", exact=True).fill("durable-demo")
        await page.keyboard.press("Enter")
        await expect(console.row("agent")).to_be_visible()
        await page.get_by_label("Label", exact=True).fill("team")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("A label to filter by has the form key=value.")).to_be_visible()


async def test_the_focus_stays_on_a_filter_and_on_a_row_that_is_read_again(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        for name in ("first", "second"):
            await console.gateway.create(console.gateway.upstreams["durable"], name=name, labels={"team": "shop"})
        await console.sign_in()
        page = console.page
        state = page.locator("select", has_text="starting")
        await state.focus()
        await page.keyboard.press("ArrowDown")
        await expect(page.get_by_text("No runtime fits.")).to_be_visible()
        await expect(state).to_be_focused()
        await page.keyboard.press("ArrowUp")
        chip = console.row("second").get_by_role("button", name="Only with the label team=shop")
        await chip.focus()
        async with page.expect_response(lambda response: "/v1/runtimes?" in response.url):
            await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await page.evaluate("new Promise(requestAnimationFrame)")
        await expect(chip).to_be_focused()


async def test_the_focus_stays_near_a_verb_that_was_carried_out_or_cancelled(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        runtime = await console.gateway.create(console.gateway.upstreams["durable"], name="agent", start=True)
        await console.sign_in()
        page = console.page
        await expect(console.row("agent")).to_be_visible()
        await page.evaluate("id => { location.hash = `#/runtime/${id}`; }", runtime["id"])
        await page.get_by_role("button", name="Stop").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Stop")).to_be_focused()
        await page.get_by_role("button", name="Pause").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("h1 .badge")).to_have_text("paused")
        await expect(page.locator(".buttons button:focus")).to_have_count(1)


async def test_leaving_a_page_closes_its_dialog(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.gateway.create(console.gateway.upstreams["durable"], name="agent", start=True)
        await console.sign_in()
        await console.go("Audit")
        await console.go("Fleet")
        await console.page.get_by_label("Select agent").check()
        await console.page.get_by_role("button", name="Stop 1").click()
        await expect(console.page.get_by_role("dialog")).to_contain_text("Stop 1 runtime?")
        await console.page.go_back()
        await expect(console.page.locator("h1")).to_have_text("Audit")
        await expect(console.page.get_by_role("dialog")).to_have_count(0)


async def test_a_key_that_is_refused_can_be_corrected_and_a_made_one_stays_shown(browser: Browser) -> None:
    async with opened(browser, "durable") as console:
        await console.sign_in()
        await console.go("Keys")
        page = console.page
        await page.get_by_role("button", name="New key").click()
        dialog = page.get_by_role("dialog")
        await page.keyboard.type("shop")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text("Send template to make it")
        await dialog.get_by_label("Template").fill("ops")
        await page.keyboard.press("Enter")
        await expect(page.locator(".secret code")).to_have_text(re.compile("^rtgw_"))
        await page.get_by_label("Refresh every").select_option("5")
        async with page.expect_response(lambda response: response.url.endswith("/v1/principals")):
            await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(page.locator(".secret code")).to_be_visible()
        revoke = console.row("shop").get_by_role("button", name="Revoke")
        await revoke.click()
        await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()


async def test_a_refresh_reads_all_pages_that_were_read(browser: Browser) -> None:
    async with opened(browser) as console:
        for number in range(51):
            await intent_in(console.gateway, console.store, name=f"lost-{number:02}")
        await console.sign_in()
        await console.go("Creates")
        page = console.page
        await expect(page.locator("tbody tr")).to_have_count(50)
        await page.get_by_role("button", name="Show more").click()
        await expect(page.locator("tbody tr")).to_have_count(51)
        await intent_in(console.gateway, console.store, name="lost-later")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(console.row("lost-later")).to_be_visible()
        await expect(page.locator("tbody tr")).to_have_count(52)


async def test_a_long_label_is_shown_and_does_not_filter(browser: Browser) -> None:
    labels: dict[str, Any] = {f"name-{number}": "short" for number in range(5)}
    async with opened(browser, "bctrl_browsers") as console:
        upstream = console.gateway.upstreams["bctrl_browsers"]
        await console.gateway.create(upstream, name="web", labels={"long": "x" * 2000})
        await console.gateway.create(upstream, name="many", labels=labels)
        await console.sign_in()
        await expect(console.row("web")).to_contain_text("long=xxx")
        await expect(console.row("web").get_by_role("button")).to_have_count(0)
        await expect(console.row("many")).to_contain_text("+1")


async def test_a_caller_with_the_public_view_sees_no_control_that_is_refused(browser: Browser) -> None:
    async with opened(browser, "durable", "bctrl_browsers") as console:
        console.gateway.upstreams["durable"].fault(fault="status", status=503)
        await console.sign_in(READER)
        page = console.page
        await expect(page.locator(".summary .warning")).to_contain_text("a provider is missing")
        await expect(page.get_by_label("Provider", exact=True)).to_have_count(0)
        await expect(page.get_by_label("Select all rows shown")).to_be_hidden()
        await expect(page.get_by_text("undefined")).to_have_count(0)


async def test_only_a_parked_create_can_be_resolved(browser: Browser) -> None:
    async with opened(browser) as console:
        await intent_in(console.gateway, console.store, "unknown", name="searched")
        await intent_in(console.gateway, console.store, name="parked")
        await console.sign_in()
        await console.go("Creates")
        await expect(console.row("searched")).to_be_visible()
        await expect(console.page.get_by_role("button", name="Resolve")).to_have_count(1)
        await expect(console.row("searched").get_by_role("button", name="Resolve")).to_have_count(0)
