"""A runtime that has moved answers under the id that it had: reads, verbs, lists, owners and waiting callers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.services.moves.map import USED_FOR
from gateway.settings import CacheSettings
from tests.component.moves.moving import Moving, relocation
from tests.component.whole_gateway import Gateway, whole_gateway


class Moved:
    """A gateway with two durable providers, and a runtime that is to move from the first to the second one, where its
    copy exists."""

    def __init__(self, gateway: Gateway, moving: Moving, source: Any, target: Any) -> None:
        self.gateway = gateway
        self.moving = moving
        self.source = source
        self.target = target

    async def move(self) -> None:
        await self.moving.relocate(self.gateway, self.source, self.target)

    async def back(self) -> None:
        row = relocation(self.target, self.source, runtime_id=self.source["id"])
        await self.moving.switch(row)
        async with asyncio.timeout(20):
            while (await self.read(self.source["id"]))["provider"] != self.source["provider"]:
                continue

    async def read(self, runtime_id: str) -> Any:
        response = await self.gateway.call("GET", f"/v1/runtimes/{runtime_id}")
        assert response.status == 200, response.text
        return response.json

    async def listed(self, query: str = "") -> list[tuple[str, str]]:
        response = await self.gateway.call("GET", f"/v1/runtimes{query}")
        assert response.json["incomplete"] == []
        return [(row["id"], row["provider"]) for row in response.json["items"]]

    def received(self) -> list[int]:
        return [upstream.received() for upstream in self.gateway.upstreams.values()]


async def gateway_with_copy(gateway: Gateway, moving: Moving) -> Moved:
    first, second = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
    source = await gateway.create(first, name="agent")
    return Moved(gateway, moving, source, await gateway.create(second, name="agent"))


@pytest.fixture
async def moved() -> AsyncIterator[Moved]:
    moving = Moving(time.time)
    async with whole_gateway("durable", twice=["durable"], store=moving.of_gateway) as gateway:
        yield await gateway_with_copy(gateway, moving)


async def test_old_id_shows_the_runtime_at_its_target(moved: Moved) -> None:
    await moved.move()
    old, new = moved.source["id"], moved.target["id"]
    for runtime_id in (old, new):
        shown = await moved.read(runtime_id)
        assert shown["id"] == old
        assert [shown[name] for name in ("provider", "scope", "provider_id")] == [
            moved.target[name] for name in ("provider", "scope", "provider_id")
        ]


async def test_verbs_and_config_on_the_old_id_reach_the_target_only(moved: Moved) -> None:
    await moved.move()
    before, path = moved.received(), f"/v1/runtimes/{moved.source['id']}"
    started = await moved.gateway.call("POST", f"{path}/start")
    assert (started.status, started.json["id"], started.json["changed"]) == (200, moved.source["id"], True)
    config = await moved.gateway.call("GET", f"{path}/config")
    replaced = await moved.gateway.call("PUT", f"{path}/config", {"config": config.json["config"]})
    assert replaced.status == 200, replaced.text
    listed = await moved.gateway.call("GET", f"{path}/capabilities")
    assert listed.status == 200
    stopped = await moved.gateway.call("POST", f"{path}/stop", {"discard_state": True})
    assert (stopped.status, stopped.json["id"]) == (200, moved.source["id"])
    assert moved.received()[0] == before[0]
    line = json.loads(moved.gateway.log.getvalue().splitlines()[-1])
    assert (line["runtime_id"], line["provider"]) == (moved.source["id"], moved.target["provider"])


async def test_list_shows_the_runtime_once_under_its_first_id(moved: Moved) -> None:
    both = await moved.listed()
    assert len(both) == 2
    await moved.move()
    here = [(moved.source["id"], moved.target["provider"])]
    assert await moved.listed() == here
    assert await moved.listed("?name=agent") == here
    assert await moved.listed(f"?provider={moved.target['provider']}") == here
    assert await moved.listed(f"?provider={moved.source['provider']}") == []


async def test_pages_without_a_visible_row_are_passed_over(moved: Moved) -> None:
    await moved.move()
    for number in range(3):
        await moved.gateway.create(moved.gateway.upstreams["durable"], name=f"other-{number}")
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await moved.gateway.call("GET", f"/v1/runtimes?limit=2{cursor}")).json
        seen += [row["name"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == ["agent", "other-0", "other-1", "other-2"]


async def test_the_source_answers_again_after_the_runtime_has_moved_back(moved: Moved) -> None:
    await moved.move()
    await moved.back()
    for runtime_id in (moved.source["id"], moved.target["id"]):
        shown = await moved.read(runtime_id)
        assert (shown["id"], shown["provider"]) == (moved.source["id"], moved.source["provider"])
    assert await moved.listed() == [(moved.source["id"], moved.source["provider"])]


async def test_a_stored_read_of_the_source_is_not_used_after_the_move() -> None:
    moving = Moving(time.time)
    cache = CacheSettings(ttl=60)
    async with whole_gateway("durable", twice=["durable"], store=moving.of_gateway, cache=cache) as gateway:
        moved = await gateway_with_copy(gateway, moving)
        path = f"/v1/runtimes/{moved.source['id']}"
        before = [await gateway.call("GET", path), await gateway.call("GET", "/v1/runtimes")]
        assert len(before[1].json["items"]) == 2
        await moved.move()
        after = [await gateway.call("GET", path), await gateway.call("GET", "/v1/runtimes")]
        assert after[0].json["provider"] == moved.target["provider"]
        assert after[0].headers["ETag"] != before[0].headers["ETag"]
        assert [row["id"] for row in after[1].json["items"]] == [moved.source["id"]]
        old = await gateway.call(
            "POST", f"{path}/stop", {"discard_state": True}, **{"If-Match": after[0].headers["ETag"]}
        )
        assert old.status == 200, old.text


async def test_a_waiting_read_continues_at_the_target(moved: Moved) -> None:
    path = f"/v1/runtimes/{moved.source['id']}"
    tag = (await moved.gateway.call("GET", path)).headers["ETag"]
    waiting = asyncio.create_task(moved.gateway.call("GET", f"{path}?wait=30", **{"If-None-Match": tag}))
    await moved.move()
    found = await waiting
    assert (found.status, found.json["id"]) == (200, moved.source["id"])
    assert found.json["provider"] == moved.target["provider"]


async def test_a_waiting_read_ignores_what_the_source_answers_after_the_move(moved: Moved) -> None:
    path, source = f"/v1/runtimes/{moved.source['id']}", moved.gateway.upstreams["durable"]
    tag = (await moved.gateway.call("GET", path)).headers["ETag"]
    source.fault(fault="hold", times=1)
    waiting = asyncio.create_task(moved.gateway.call("GET", f"{path}?wait=30", **{"If-None-Match": tag}))
    await source.emulator.until_waiting()
    await moved.move()
    source.emulator.release()
    found = await waiting
    assert (found.status, found.json["provider"]) == (200, moved.target["provider"])
    assert found.json["owner"] == moved.source["owner"]


async def test_an_owner_assigned_under_the_old_id_is_that_of_both_places(moved: Moved) -> None:
    await moved.move()
    path = f"/v1/runtimes/{moved.source['id']}/owner"
    assigned = await moved.gateway.call("PUT", path, {"owner": "shop"})
    assert (assigned.status, assigned.json["owner"]) == (200, "shop")
    assert (await moved.read(moved.target["id"]))["owner"] == "shop"
    await moved.back()
    assert (await moved.read(moved.source["id"]))["owner"] == "shop"
    await moved.move()
    removed = await moved.gateway.call("PUT", path, {"owner": None})
    assert removed.status == 200
    await moved.back()
    assert (await moved.read(moved.source["id"]))["owner"] == moved.source["owner"] != "shop"
    assert (await moved.moving.store.access_data()).owners == []


async def test_the_audit_trail_has_what_was_done_at_both_places_under_the_first_id(moved: Moved) -> None:
    old, new = moved.source["id"], moved.target["id"]
    assert (await moved.gateway.call("POST", f"/v1/runtimes/{old}/start")).status == 200
    await moved.move()
    for named in (old, new):
        assert (await moved.gateway.call("POST", f"/v1/runtimes/{named}/start")).status == 200
    events = (await moved.gateway.call("GET", f"/v1/audit?runtime={old}")).json["items"]
    done = [(event["action"], event["provider"]) for event in reversed(events)]
    at_source, at_target = moved.source["provider"], moved.target["provider"]
    assert done == [
        ("createRuntime", at_source),
        ("startRuntime", at_source),
        ("startRuntime", at_target),
        ("startRuntime", at_target),
    ]


async def test_a_caller_of_the_source_provider_only_sees_nothing_of_the_runtime() -> None:
    moving, key = Moving(time.time), "a-key-of-the-old-1234"
    old = {"keys": [key], "providers": ["durable-demo"], "scopes": ["runtimes:read", "runtimes:lifecycle"]}
    async with whole_gateway("durable", twice=["durable"], store=moving.of_gateway, principals={"old": old}) as gateway:
        moved = await gateway_with_copy(gateway, moving)
        path, mine = f"/v1/runtimes/{moved.source['id']}", {"Authorization": f"Bearer {key}"}
        assert (await gateway.call("GET", path, **mine)).status == 200
        await moved.move()
        gone = await gateway.call("GET", path, **mine)
        unknown = await gateway.call("GET", "/v1/runtimes/nothing.of-it", **mine)
        assert gone.status == unknown.status == 404
        assert gone.json["detail"] == unknown.json["detail"]
        assert (await gateway.call("GET", "/v1/runtimes", **mine)).json["items"] == []


async def test_without_the_store_for_a_day_calls_on_moved_runtimes_are_refused(
    moved: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    await moved.move()
    await moved.moving.store.close()
    monkeypatch.setattr("gateway.services.fleet.USED_FOR", 0.0)
    assert USED_FOR == 86_400
    refused = await moved.gateway.call("GET", f"/v1/runtimes/{moved.source['id']}")
    assert (refused.status, refused.json["code"], refused.json["retryable"]) == (
        503,
        "store_unavailable",
        "same_request",
    )


async def test_a_quota_counts_a_moved_runtime_once_and_names_it_by_its_first_id() -> None:
    moving, key = Moving(time.time), "a-key-of-the-shop-1234"
    shop = {"keys": [key], "own_only": True, "limits": {"runtimes": 2}}
    mine = {"Authorization": f"Bearer {key}"}
    async with whole_gateway(
        "durable", twice=["durable"], store=moving.of_gateway, principals={"shop": shop}
    ) as gateway:

        async def create(name: str, provider: str) -> Any:
            body = {"kind": "durable", "name": name, "provider": provider}
            return await gateway.call("POST", "/v1/runtimes", body, **mine)

        source, target = [(await create("agent", name)).json for name in ("durable-demo", "durable-demo-2")]
        await moving.relocate(gateway, source, target)
        other = await create("other", "durable-demo")
        assert other.status == 201, other.text
        refused = await create("third", "durable-demo")
        assert (refused.status, refused.json["code"]) == (429, "quota_exceeded")
        assert sorted(refused.json["held_by"]) == sorted([source["id"], other.json["id"]])


async def test_a_read_that_finds_a_source_deleted_by_the_switch_is_to_be_repeated(moved: Moved) -> None:
    upstream, rows = moved.gateway.upstreams["durable"], (moved.source, moved.target)
    path = f"/v1/runtimes/{moved.source['id']}"
    read = await moved.moving.while_read(moved.gateway, upstream, rows, path, gone=True)
    assert (read.status, read.json["code"], read.json["retryable"]) == (409, "state_conflict", "yes")
    assert (await moved.read(moved.source["id"]))["provider"] == moved.target["provider"]
