"""Moves over the API of a whole gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.api import event_streams
from gateway.settings import DataSettings
from tests.component.whole_gateway import Gateway, Response, whole_gateway

SECRET = "hunter2-in-an-env"
MOVE: dict[str, Any] = {"source": {"provider": "durable-demo"}, "target": {"provider": "durable-demo-2"}}


@pytest.fixture(autouse=True)
def polled_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "MOVES_EVERY", 0.02)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Two accounts at the durable API, and a caller without the scope admin."""
    shop = {"shop": {"keys": ["a-key-of-the-shop-99"], "scopes": ["runtimes:read"]}}
    options: dict[str, Any] = {"durable-2": {"scope": "zeta/two"}}
    async with whole_gateway("durable", "bctrl", twice=["durable"], principals=shop, **options) as started:
        yield started


async def planned(gateway: Gateway, **fields: Any) -> Any:
    """Plan a move, and follow its events until the plan is made."""
    response = await gateway.call("POST", "/v1/moves", {**MOVE, **fields})
    assert response.status == 202, response.text
    assert response.headers["Location"] == f"/v1/moves/{response.json['id']}"
    async with gateway.client.get(f"{gateway.url}{response.headers['Location']}/events") as stream:
        states = [json.loads(line[6:]) async for line in stream.content if line.startswith(b"data: ")]
    assert states[-1] == {"reason": states[-2]["state"]}
    return states[-2]


async def items(gateway: Gateway, move: Any, query: str = "") -> Response:
    return await gateway.call("GET", f"/v1/moves/{move['id']}/items{query}")


async def test_a_plan_is_made_in_the_background_and_shown_item_by_item(gateway: Gateway) -> None:
    upstream = gateway.upstreams["durable"]
    made = [await gateway.create(upstream, config={"version": "v2"}) for _ in range(3)]
    move = await planned(gateway)
    assert (move["state"], move["counts"]) == ("planned", {"planned": 3})
    assert move["digest"].startswith("sha256:")
    assert move["request"] == MOVE
    assert any("webhooks" in text for text in move["side_effects"])
    first = await items(gateway, move, "?limit=2")
    second = await items(gateway, move, f"?limit=2&cursor={first.json['next_cursor']}")
    found = first.json["items"] + second.json["items"]
    assert {item["runtime_id"] for item in found} == {runtime["id"] for runtime in made}
    assert second.json["next_cursor"] is None
    assert {item["target"]["provider"] for item in found} == {"durable-demo-2"}
    assert (await items(gateway, move, "?state=blocked")).json["items"] == []
    assert (await gateway.call("GET", f"/v1/moves/{move['id']}")).json == move
    assert (await gateway.call("GET", "/v1/moves")).json == {"items": [move], "next_cursor": None}


async def test_moves_are_listed_newest_first_in_pages(gateway: Gateway) -> None:
    made = [(await planned(gateway))["id"] for _ in range(3)]
    first = await gateway.call("GET", "/v1/moves?limit=2")
    rest = await gateway.call("GET", f"/v1/moves?limit=2&cursor={first.json['next_cursor']}")
    assert [move["id"] for move in first.json["items"] + rest.json["items"]] == made[::-1]


async def test_no_secret_of_a_runtime_or_of_an_override_is_shown(gateway: Gateway) -> None:
    config = {"version": "v2", "runtime_server": {"env": {"TOKEN": SECRET}}}
    await gateway.create(gateway.upstreams["durable"], config=config)
    patch = {"config": {"runtime_server": {"env": {"TOKEN": f"{SECRET}-2"}}}}
    move = await planned(gateway, overrides=[{"match": {"provider": "durable-demo"}, "patch": patch}])
    shown = await items(gateway, move)
    (item,) = shown.json["items"]
    assert item["changes"] == [{"pointer": "#/config/runtime_server/env/TOKEN", "from": "(secret)", "to": "(secret)"}]
    assert SECRET not in json.dumps(move) + shown.text + gateway.log.getvalue()


async def test_the_addresses_of_the_data_plane_continue() -> None:
    data = DataSettings.model_validate({"enabled": True, "listen": "127.0.0.1:0"})
    async with whole_gateway(
        "durable", twice=["durable"], data=data, **{"durable-2": {"scope": "zeta/two"}}
    ) as gateway:
        made = await gateway.create(gateway.upstreams["durable"], start=True)
        (item,) = (await items(gateway, await planned(gateway))).json["items"]
        assert (item["runtime_id"], made["state"]) == (made["id"], "running")
        assert item["addresses"] == ["runtime_server: the gateway's addresses continue"]


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"target": {"provider": "none"}}, "#/target/provider", "unknown_provider"),
        ({"target": {"provider": "durable-demo"}}, "#/target", "same_place"),
        ({"target": {"provider": "bctrl-demo"}}, "#/target/provider", "unsupported"),
        ({"source": {"provider": "durable-demo", "scope": "other/place"}}, "#/source/scope", "unsupported"),
        ({"source": {"provider": "durable-demo", "scope": "no scope"}}, "#/source/scope", "invalid"),
        ({"source": {"provider": "durable-demo", "state": ["asleep"]}}, "#/source/state", "not_allowed"),
        ({"source": {"provider": "durable-demo", "kind": "car"}}, "#/source/kind", "not_allowed"),
        ({"source_after": "delete"}, "#/source_after", "unsupported"),
        ({"when": "soon"}, "#/when", "not_allowed"),
        (
            {"overrides": [{"match": {"provider": "durable-demo"}, "patch": {"name": "other"}}]},
            "#/overrides/0/patch/name",
            "not_allowed",
        ),
    ],
)
async def test_a_fault_that_is_known_before_anything_is_read_is_refused(
    gateway: Gateway, fields: dict[str, Any], pointer: str, code: str
) -> None:
    response = await gateway.call("POST", "/v1/moves", {**MOVE, **fields})
    assert response.status == 422, response.text
    assert (pointer, code) in [(error["pointer"], error["code"]) for error in response.json["errors"]]
    assert (await gateway.call("GET", "/v1/moves")).json["items"] == []


async def test_a_move_that_does_not_exist_is_not_found(gateway: Gateway) -> None:
    for path in ("", "/items", "/events"):
        assert (await gateway.call("GET", f"/v1/moves/mv_none{path}")).status == 404


async def test_a_cursor_of_another_list_is_refused(gateway: Gateway) -> None:
    move = await planned(gateway)
    response = await items(gateway, move, "?cursor=mv_1")
    assert (response.status, response.json["errors"][0]["parameter"]) == (400, "cursor")


async def test_moves_need_the_scope_admin(gateway: Gateway) -> None:
    key = {"Authorization": "Bearer a-key-of-the-shop-99"}
    calls = [("POST", "/v1/moves", MOVE), ("GET", "/v1/moves", None), ("GET", "/v1/moves/mv_1/items", None)]
    answers = await asyncio.gather(*(gateway.call(method, path, body, **key) for method, path, body in calls))
    assert {answer.status for answer in answers} == {403}


async def test_a_plan_whose_source_cannot_be_read_has_failed_with_the_providers_problem(gateway: Gateway) -> None:
    gateway.upstreams["durable"].fault("list", fault="status", status=402)
    move = await planned(gateway)
    assert (move["state"], move["problem"]["code"]) == ("failed", "insufficient_credits")
