"""The sealed mark of an owner at providers with labels: sent, kept, shown to nobody, and no use to anybody else."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from gateway.domain.ownership import OWNER_MARK
from tests.component.access.dialect_owners import APIS, BANK, PRINCIPALS, SHOP, call, labels_at_provider
from tests.component.whole_gateway import Gateway, whole_gateway

KINDS: Final = ("durable", "bctrl_browsers")
LABELS: Final = {"team": "a"}
CONFIG: Final = {"version": "v2", "metadata": {"labels": LABELS}}
RUNTIMES: Final = APIS["durable"].runtimes
DIALECTS: Final[dict[str, Any]] = {
    "durable": {"key": "agent", "config": CONFIG},
    "browsers": {"name": "agent", "metadata": LABELS},
    "flat": {"name": "agent", "metadata": LABELS, "type": "browser"},
}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway("durable", "bctrl", "bctrl_browsers", principals=PRINCIPALS) as started:
        yield started


def kept(gateway: Gateway, api: str) -> list[dict[str, Any]]:
    return labels_at_provider(gateway.upstreams[api])


def mark_of(gateway: Gateway, api: str) -> str:
    (labels,) = kept(gateway, api)
    mark = labels[OWNER_MARK]
    assert isinstance(mark, str)
    assert 0 < len(mark) <= 256
    return mark


async def made(gateway: Gateway, key: str | None, api: str, **fields: Any) -> Any:
    upstream = gateway.upstreams[api]
    body = {"kind": upstream.kind, "provider": upstream.name, "name": "agent", "labels": LABELS, **fields}
    response = await call(gateway, key, "POST", "/v1/runtimes", body)
    assert response.status in {200, 201}, response.text
    return response.json


async def everything_outward(gateway: Gateway, key: str | None, created: Any) -> str:
    """All that the gateway shows a caller of a runtime, except through the pass-through."""
    unified, native = f"/v1/runtimes/{created['id']}", created["provider_id"]
    paths = [unified, "/v1/runtimes", f"{unified}/config", f"{unified}/connections", "/v1/intents"]
    for api in ("durable", "browsers", "flat"):
        paths += [APIS[api].runtimes, f"{APIS[api].runtimes}/{native}", f"{APIS[api].runtimes}/{native}/config"]
    texts = [json.dumps(created)]
    for path in paths:
        answer = await call(gateway, key, "GET", path)
        texts += [answer.text, str(answer.headers)]
    return "\n".join(texts)


@pytest.mark.parametrize("api", KINDS)
async def test_mark_is_sent_and_never_shown(gateway: Gateway, api: str) -> None:
    created = await made(gateway, SHOP, api)
    mark = mark_of(gateway, api)
    for key in (SHOP, None):
        shown = await everything_outward(gateway, key, created)
        assert '"team"' in shown
        for hidden in (OWNER_MARK, mark):
            assert hidden not in shown
    read = (await call(gateway, SHOP, "GET", f"/v1/runtimes/{created['id']}")).json
    assert (read["labels"], read["owner"]) == (LABELS, "shop")
    assert (await made(gateway, SHOP, api))["created"] is False


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_mark_of_a_dialects_create_is_never_shown(gateway: Gateway, dialect: str) -> None:
    api = APIS[dialect]
    created = await call(gateway, SHOP, "POST", api.runtimes, DIALECTS[dialect])
    assert created.status == 201, created.text
    hidden = (OWNER_MARK, mark_of(gateway, api.upstream))
    for method, below in (("POST", "/start"), ("GET", ""), ("POST", "/stop"), ("POST", "/reset"), ("GET", "/config")):
        answer = await call(gateway, SHOP, method, f"{api.runtimes}/{created.json['id']}{below}", None)
        for text in hidden:
            assert text not in created.text + answer.text, (method, below)


async def test_pass_through_shows_what_the_provider_has(gateway: Gateway) -> None:
    created = await made(gateway, SHOP, "durable")
    path = f"/native/durable-demo/api/v1/org/acme/ws/research/runtimes/{created['provider_id']}/config"
    raw = await call(gateway, None, "GET", path)
    assert raw.json["config"]["metadata"]["labels"] == {**LABELS, OWNER_MARK: mark_of(gateway, "durable")}


@pytest.mark.parametrize("api", KINDS)
async def test_runtimes_of_unlimited_callers_have_no_mark(gateway: Gateway, api: str) -> None:
    await made(gateway, None, api)
    (labels,) = kept(gateway, api)
    assert OWNER_MARK not in labels


async def test_no_config_is_sent_to_a_provider_for_a_mark(gateway: Gateway) -> None:
    """The provider compares a config with that of an existing runtime."""
    first = await call(gateway, SHOP, "POST", RUNTIMES, {"key": "agent", "config": CONFIG})
    again = await call(gateway, SHOP, "POST", RUNTIMES, {"key": "agent"})
    assert (first.status, again.status, again.json["id"]) == (201, 200, first.json["id"])
    assert (await call(gateway, SHOP, "POST", RUNTIMES, {"key": "other"})).status == 201
    assert [OWNER_MARK in labels for labels in kept(gateway, "durable")] == [True, False]


@pytest.mark.parametrize("mark", [None, "of-another-sealing-key"])
async def test_create_of_a_runtime_with_another_mark_finds_it(gateway: Gateway, mark: str | None) -> None:
    """One that was made before there were marks, or with another sealing key: the provider refuses the config."""
    created = await call(gateway, SHOP, "POST", RUNTIMES, {"key": "agent", "config": CONFIG})
    (labels,) = kept(gateway, "durable")
    ((_, runtime),) = gateway.upstreams["durable"].emulator.world.with_workspaces()  # type: ignore[attr-defined]
    runtime.created_at -= 60
    del labels[OWNER_MARK]
    if mark is not None:
        labels[OWNER_MARK] = mark
    again = await call(gateway, SHOP, "POST", RUNTIMES, {"key": "agent", "config": CONFIG})
    assert (again.status, again.json["id"], again.json["created"]) == (200, created.json["id"], False)
    unified = await made(gateway, SHOP, "durable")
    assert (unified["provider_id"], unified["created"]) == (created.json["id"], False)
    assert OWNER_MARK not in again.text + json.dumps(unified)
    other = {**CONFIG, "resources": {"cpu_cores": 4}}
    assert (await call(gateway, SHOP, "POST", RUNTIMES, {"key": "agent", "config": other})).status == 409
    body = {"kind": "durable", "name": "agent", "config": other}
    differs = await call(gateway, SHOP, "POST", "/v1/runtimes", body)
    pointers = [fault["pointer"] for fault in differs.json["errors"]]
    assert (differs.status, pointers) == (409, ["#/config/resources/cpu_cores"])
    fails = await call(gateway, SHOP, "POST", "/v1/runtimes", {**body, "config": CONFIG, "if_exists": "fail"})
    assert fails.status == 409


async def test_mark_that_was_copied_gives_no_access(gateway: Gateway) -> None:
    """A client that can write metadata at the provider itself cannot pass a runtime on with the mark of another one."""
    theirs = await made(gateway, BANK, "bctrl_browsers")
    stolen = mark_of(gateway, "bctrl_browsers")
    mine = await made(gateway, SHOP, "bctrl_browsers")
    nobodys = await made(gateway, None, "bctrl_browsers", name="of-nobody")
    for labels in kept(gateway, "bctrl_browsers"):
        labels[OWNER_MARK] = stolen
    for key, own in ((SHOP, mine), (BANK, theirs)):
        read = [(await call(gateway, key, "GET", f"/v1/runtimes/{one['id']}")).status for one in (own, nobodys)]
        assert read == [200, 404]
        listed = (await call(gateway, key, "GET", "/v1/runtimes")).json["items"]
        assert [row["id"] for row in listed] == [own["id"]]


async def test_unreadable_mark_decides_nothing(gateway: Gateway) -> None:
    created = await made(gateway, SHOP, "bctrl_browsers")
    (labels,) = kept(gateway, "bctrl_browsers")
    for mark in ("x", 7, None, {}, "A" * 300):
        labels[OWNER_MARK] = mark
        read = await call(gateway, SHOP, "GET", f"/v1/runtimes/{created['id']}")
        assert (read.status, read.json["owner"], read.json["labels"]) == (200, "shop", LABELS)
        assert OWNER_MARK not in read.text
        assert (await call(gateway, BANK, "GET", f"/v1/runtimes/{created['id']}")).status == 404


async def test_new_metadata_and_configs_of_the_owner_keep_the_mark(gateway: Gateway) -> None:
    created = await made(gateway, SHOP, "bctrl_browsers")
    mark, new = mark_of(gateway, "bctrl_browsers"), {"metadata": {"team": "b"}}
    for api in ("browsers", "flat"):
        for key in (SHOP, None):
            path = f"{APIS[api].runtimes}/{created['provider_id']}"
            changed = await call(gateway, key, "PATCH", path, new)
            assert (changed.status, changed.json["metadata"]) == (200, new["metadata"])
            assert mark_of(gateway, "bctrl_browsers") == mark
    created = await made(gateway, SHOP, "durable")
    mark, config = mark_of(gateway, "durable"), {"config": {"version": "v2", **new}}
    for path in (
        f"/v1/runtimes/{created['id']}/config",
        f"{RUNTIMES}/{created['provider_id']}/config",
        f"{RUNTIMES}/agent/config",
    ):
        changed = await call(gateway, SHOP, "PUT", path, config)
        assert (changed.status, changed.json["config"]["metadata"]) == (200, {"labels": {}, "team": "b"})
        assert mark_of(gateway, "durable") == mark


@pytest.mark.parametrize("key", [SHOP, None])
async def test_reserved_name_is_refused(gateway: Gateway, key: str | None) -> None:
    marked = {OWNER_MARK: "mine"}
    in_config = {"version": "v2", "metadata": {"labels": marked}}
    bodies: list[tuple[str, str, Any, int]] = [
        ("POST", "/v1/runtimes", {"kind": "durable", "name": "n", "labels": marked}, 422),
        ("POST", "/v1/runtimes", {"kind": "browser", "name": "n", "labels": marked}, 422),
        ("POST", "/v1/runtimes", {"kind": "durable", "name": "n", "config": in_config}, 422),
        ("PUT", "/v1/runtimes/durable-demo.x/config", {"config": in_config}, 422),
        ("POST", RUNTIMES, {"key": "n", "config": in_config}, 422),
        ("PUT", f"{RUNTIMES}/n/config", {"config": in_config}, 422),
        ("POST", APIS["browsers"].runtimes, {"name": "n", "metadata": marked}, 400),
        ("POST", APIS["flat"].runtimes, {"name": "n", "metadata": marked, "type": "browser"}, 400),
        ("PATCH", f"{APIS['browsers'].runtimes}/n", {"metadata": marked}, 400),
    ]
    for method, path, body, status in bodies:
        refused = await call(gateway, key, method, path, body)
        assert refused.status == status, (method, path, refused.text)
        assert "reserved" in refused.text
    assert all(upstream.emulator.counts()["runtimes"] == 0 for upstream in gateway.upstreams.values())
