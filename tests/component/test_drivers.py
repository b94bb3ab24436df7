"""``driver`` at a provider API without such a field: accepted, not sent, stored, and shown by every read."""

import asyncio
from typing import Any, get_args

from gateway.domain.requests import CreateBrowser
from tests.component.fleets import Emulated, Fleet, Gateway
from tests.component.processes import HANGS

DRIVERS = get_args(CreateBrowser.model_fields["driver"].annotation)
PROVIDER = "browsers-demo"


def _browsers(fleet: Fleet) -> Emulated:
    return fleet.emulators[PROVIDER]


async def _create(gateway: Gateway, name: str, status: int = 201, **fields: Any) -> Any:
    body = {"kind": "browser", "name": name, "provider": PROVIDER, **fields}
    return await gateway.call("POST", "/v1/runtimes", status, body)


async def test_driver_is_shown_by_create_read_and_list_but_not_sent(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        for driver in DRIVERS:
            made = await _create(gateway, f"with-{driver}", driver=driver)
            read = await gateway.call("GET", f"/v1/runtimes/{made['id']}", 200)
            assert (made["browser"]["driver"], read["browser"]["driver"]) == (driver, driver)
            sent = _browsers(fleet).emulator.requests.received("create")[-1].body
            assert sent == {"name": f"with-{driver}", "spaceId": "sp_demo", "metadata": sent["metadata"]}
            assert driver not in str(sent["metadata"])
        listed = await gateway.call("GET", "/v1/runtimes", 200)
        assert {row["name"]: row["browser"]["driver"] for row in listed["items"]} == {
            f"with-{driver}": driver for driver in DRIVERS
        }


async def test_driver_is_shown_after_a_restart(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        made = await _create(gateway, "bot", driver="selenium")
    async with fleet.gateway() as gateway, asyncio.timeout(HANGS):
        shown = None
        while shown is None:  # a read does not wait for the store, so the first one may not show it
            path = f"/v1/runtimes/{made['id']}"
            read = await gateway.call("GET", path, 200, headers={"Cache-Control": "no-cache"})
            shown = read["browser"]["driver"]
        assert shown == "selenium"


async def test_name_that_was_created_with_another_driver_is_already_exists(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        assert (await _create(gateway, "without-a-driver"))["browser"]["driver"] is None
        made = await _create(gateway, "bot", driver="puppeteer")
        again = await _create(gateway, "bot", 200, driver="puppeteer")
        assert (again["id"], again["created"]) == (made["id"], False)
        problem = await _create(gateway, "bot", 409, driver="selenium")
        assert problem["code"] == "already_exists"
        assert [error["pointer"] for error in problem["errors"]] == ["#/driver"]


async def test_unknown_driver_is_refused_at_its_pointer_before_any_call(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        for driver in ("firefox", "Playwright", "", None, ["playwright"]):
            problem = await _create(gateway, "bot", 422, driver=driver)
            assert problem["code"] == "validation_failed"
            assert [error["pointer"] for error in problem["errors"]] == ["#/driver"]
            assert _browsers(fleet).requests() == 0
