"""Runtimes are exported, and imported when they or their provider are gone, over the API of a whole gateway."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.api import export_routes
from tests.component.moves.applied import at_once, call, capability, fleet_of, items, moved, reaches, seen, waits_for
from tests.component.whole_gateway import Gateway, Upstream, whole_gateway
from tests.tcp_faults import Mode

READER = "a-key-of-a-reader-7788"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    reader = {"reader": {"keys": [READER], "scopes": ["runtimes:read"]}}
    options: dict[str, Any] = {"durable-2": {"scope": "zeta/two"}, "bctrl_browsers-2": {"scope": "sp_two"}}
    apis = ("durable", "bctrl_browsers")
    async with whole_gateway(*apis, twice=apis, principals=reader, **options) as started:
        yield started


async def exported(gateway: Gateway, query: str = "") -> list[Any]:
    """The lines of an export."""
    response = await gateway.call("GET", f"/v1/export{query}")
    assert response.status == 200, response.text
    assert response.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def runtimes_in(lines: list[Any]) -> list[Any]:
    return [line for line in lines if line["object"] == "exported_runtime"]


def secrets_of(lines: list[Any]) -> dict[str, str]:
    """The values of the secrets that :func:`fleet_of` sends, by their references."""
    found = {}
    for line in lines:
        config = line["create"]["config"]
        number = config["metadata"]["labels"]["number"]
        found[config["runtime_server"]["env"]["SECRET"]["$secret"]] = f"value-{number}"
    return found


async def dies(source: Upstream) -> None:
    """Close the port of a provider."""
    await source.proxy.set_mode(Mode.REFUSE)
    await source.proxy.cut()


async def imported(gateway: Gateway, target: Upstream, lines: list[Any], **fields: Any) -> Any:
    """Import these lines, and wait for the end of their move."""
    body = {"provider": target.name, "runtimes": lines, **fields}
    done = await call(gateway, "POST", "/v1/import", body, status=202)
    move = await reaches(gateway, done["move"]["id"], "planned" if fields.get("dry_run") else "done", "failed")
    return {**done, "move": move}


async def test_an_export_has_every_runtime_once_and_no_secret(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_routes, "_PAGE", 2)
    source = gateway.upstreams["durable"]
    made = await fleet_of(gateway, source, 5)
    browser = await gateway.create(gateway.upstreams["bctrl_browsers"], driver="playwright")
    lines = await exported(gateway)
    assert {line["id"] for line in runtimes_in(lines)} == {runtime["id"] for runtime in [*made, browser]}
    assert lines[-1] == {"object": "export_end", "runtimes": 6, "incomplete": []}
    assert "value-" not in json.dumps(lines)
    one = next(line for line in runtimes_in(lines) if line["id"] == made[2]["id"])
    assert (one["provider"], one["provider_id"], one["name"]) == (source.name, made[2]["provider_id"], made[2]["name"])
    assert one["create"]["config"]["resources"]["cpu_cores"] == 3
    assert [binding["name"] for binding in one["bindings"]] == ["@acme/tool-0", "@acme/tool-1"]
    other = next(line for line in runtimes_in(lines) if line["id"] == browser["id"])
    assert (other["create"]["driver"], other["state"], other["bindings"]) == ("playwright", "running", None)
    place = next(at for at, line in enumerate(lines) if line["object"] == "export_progress")
    rest = await exported(gateway, f"?cursor={lines[place]['cursor']}")
    assert [line["id"] for line in runtimes_in(rest)] == [line["id"] for line in runtimes_in(lines[place:])]


async def test_an_export_is_restricted_and_needs_the_scope_admin(gateway: Gateway) -> None:
    await fleet_of(gateway, gateway.upstreams["durable"], 1)
    await gateway.create(gateway.upstreams["bctrl_browsers"])
    assert {line["kind"] for line in runtimes_in(await exported(gateway, "?kind=browser"))} == {"browser"}
    lines = await exported(gateway, f"?provider={gateway.upstreams['durable'].name}")
    assert {line["kind"] for line in runtimes_in(lines)} == {"durable"}
    headers = {"Authorization": f"Bearer {READER}"}
    for method, path in (("GET", "/v1/export"), ("POST", "/v1/import")):
        assert (await gateway.call(method, path, **headers)).status == 403
    for query in ("provider=none", "cursor=none", "limit=5", "kind=x"):
        assert (await gateway.call("GET", f"/v1/export?{query}")).status == 400
    head = await gateway.call("HEAD", "/v1/export")
    assert (head.status, head.text) == (200, "")


async def test_an_export_is_plain_text_for_callers_that_accept_only_that(gateway: Gateway) -> None:
    await fleet_of(gateway, gateway.upstreams["durable"], 1)
    response = await gateway.call("GET", "/v1/export", Accept="text/plain")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.text.splitlines()[-1:] == [json.dumps((await exported(gateway))[-1], separators=(",", ":"))]


async def test_what_cannot_be_exported_is_named(gateway: Gateway) -> None:
    source, other = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
    made = await fleet_of(gateway, source, 2)
    await fleet_of(gateway, other, 1)
    source.fault("get_config", fault="status", status=400, times=1)
    other.fault("list", fault="status", status=500)
    lines = await exported(gateway, "?kind=durable")
    (missing,) = [line for line in lines if line["object"] == "not_exported"]
    assert missing["id"] in {runtime["id"] for runtime in made}
    assert len(runtimes_in(lines)) == 1
    assert [one["provider"] for one in lines[-1]["incomplete"]] == [other.name]


async def test_a_dead_source_is_moved_from_kept_creates(gateway: Gateway) -> None:
    """All runtimes that the gateway made are known with their configs, the last one included, and answer again."""
    source, target = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
    made = await fleet_of(gateway, source, 4)
    config = {"version": "v2", "runtime_server": {"env": {"SECRET": "changed"}}}
    await call(gateway, "PUT", f"/v1/runtimes/{made[3]['id']}/config", {"config": config})
    before = {runtime["id"]: await seen(gateway, runtime["id"]) for runtime in made}
    await dies(source)
    move = await moved(gateway, source, target, when="now", source_after="keep")
    assert move["counts"] == {"moved": 4}, await items(gateway, move)
    assert any("could not be asked" in text for text in move["side_effects"])
    for item in await items(gateway, move):
        assert {"capabilities", "changes since"} <= set(item["unknown"])
        after = await seen(gateway, item["runtime_id"])
        assert {name: after[name] for name in ("id", "name", "labels", "config")} == {
            name: before[item["runtime_id"]][name] for name in ("id", "name", "labels", "config")
        }
        assert after["state"] == "idle"


async def test_a_dead_source_is_imported_from_an_export(gateway: Gateway) -> None:
    """With configs, secrets, capabilities and states, under the old ids; a second import is refused."""
    source, target = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
    made = await fleet_of(gateway, source, 6)
    lines = runtimes_in(await exported(gateway, f"?provider={source.name}"))
    before = {runtime["id"]: await seen(gateway, runtime["id"]) for runtime in made}
    await dies(source)
    refused = await call(gateway, "POST", "/v1/import", {"provider": target.name, "runtimes": lines}, status=422)
    assert {error["pointer"].rpartition("/")[0] for error in refused["errors"]} == {"#/secrets"}
    secrets = secrets_of(lines)
    dry = await imported(gateway, target, lines, secrets=secrets, dry_run=True)
    assert (dry["refused"], dry["move"]["counts"]) == ([], {"planned": 6})
    assert "value-" not in json.dumps([dry, await items(gateway, dry["move"])])
    assert target.emulator.requests.received("create") == []
    done = await imported(gateway, target, lines, secrets=secrets)
    assert done["move"]["counts"] == {"moved": 6}, await items(gateway, done["move"])
    assert {runtime["id"]: await seen(gateway, runtime["id"]) for runtime in made} == before
    listed = await call(gateway, "GET", f"/v1/runtimes?provider={target.name}&limit=100")
    assert {runtime["id"] for runtime in listed["items"]} == set(before)
    body = {"provider": target.name, "runtimes": lines, "secrets": secrets}
    again = await call(gateway, "POST", "/v1/import", body, status=422)
    assert {error["code"] for error in again["errors"]} == {"moved"}


async def test_a_runtime_that_still_exists_is_not_imported(gateway: Gateway) -> None:
    source, target = gateway.upstreams["bctrl_browsers"], gateway.upstreams["bctrl_browsers-2"]
    kept, gone = await gateway.create(source), await gateway.create(source)
    lines = runtimes_in(await exported(gateway, f"?provider={source.name}"))
    await call(gateway, "DELETE", f"/v1/runtimes/{gone['id']}", status=204)
    done = await imported(gateway, target, lines)
    assert [(one["id"], one["problem"]["code"]) for one in done["refused"]] == [(kept["id"], "already_exists")]
    assert done["move"]["counts"] == {"moved": 1}, json.dumps([done["move"], await items(gateway, done["move"])])
    runtime = await call(gateway, "GET", f"/v1/runtimes/{gone['id']}")
    assert (runtime["id"], runtime["provider"], runtime["state"]) == (gone["id"], target.name, "running")
    assert (await call(gateway, "GET", f"/v1/runtimes/{kept['id']}"))["provider"] == source.name


async def test_a_source_that_was_planned_live_is_waited_for(gateway: Gateway) -> None:
    """What is kept of its create is not used in its place."""
    source, target = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
    runtime = await gateway.create(source)
    await capability(gateway, runtime["id"], "@acme/later", 2)
    body = {"source": {"provider": source.name}, "target": {"provider": target.name}, "when": "now"}
    move = await call(gateway, "POST", "/v1/moves", body, status=202)
    move = await reaches(gateway, move["id"], "planned")
    await dies(source)
    await call(gateway, "POST", f"/v1/moves/{move['id']}/apply", {"digest": move["digest"]}, status=202)
    assert source.name in await waits_for(gateway, move)
    assert target.emulator.requests.received("create") == []
    await source.proxy.set_mode(Mode.FORWARD)
    move = await reaches(gateway, move["id"], "done")
    assert move["counts"] == {"moved": 1}, await items(gateway, move)
    assert (await seen(gateway, runtime["id"]))["bindings"] == {"@acme/later": ("1.0.2", True, {})}
