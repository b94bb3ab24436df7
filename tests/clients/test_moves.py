"""The providers' own clients go on with runtimes that have moved to another provider."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app import plugins
from tests.clients.test_bctrl_sdks import run as run_bctrl
from tests.clients.test_dn import api, dn
from tests.clients.test_dn import run as run_dn
from tests.component.dialects.durable_sides import Side
from tests.component.moves.applied import at_once, call, capability, items, moved
from tests.component.whole_gateway import KEY, Gateway, Upstream, whole_gateway

WHERE = ["acme", "research"]
SINGLE = ("create", "get", "start", "stop", "pause", "resume", "reset", "keepalive", "get_config", "replace_config")
"""Operations of the emulators on single runtimes."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)


def side(gateway: Gateway) -> Side:
    """The durable dialect of a gateway, in front of the provider to which runtimes move."""
    upstream = gateway.upstreams["durable-2"]
    return Side(f"{gateway.url}/durable", KEY, upstream.emulator, "", gateway.url)  # type: ignore[arg-type]


def of_runtimes(upstream: Upstream) -> dict[str, int]:
    """The numbers of requests for single runtimes that a provider received."""
    counted = upstream.emulator.requests.per_operation
    return {name: counted[name] for name in SINGLE if name in counted}


async def test_dn_reads_and_changes_a_runtime_that_has_moved_to_another_organization(tmp_path: Path) -> None:
    """By its key and by its old id, which stay what they were, in the organization and workspace that it has left."""
    async with whole_gateway("durable", twice=["durable"], **{"durable-2": {"scope": "zeta/two"}}) as gateway:
        source, target = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
        config = {"version": "v2", "resources": {"cpu_cores": 2}}
        made = await gateway.create(source, name="agent", config=config, start=True)
        await capability(gateway, made["id"], "@acme/web", 0)
        move = await moved(gateway, source, target, when="now", source_after="reset")
        assert (move["state"], move["counts"]) == ("done", {"moved": 1}), await items(gateway, move)
        old, before = made["provider_id"], of_runtimes(source)

        (tmp_path / "c.yaml").write_text("version: v2\nresources: {cpu_cores: 8}\n")
        steps = [
            dn(0, "runtime", "list", "--json"),
            dn(0, "runtime", "get", "agent", "--json"),
            dn(0, "runtime", "get", old, "--json"),
            dn(0, "runtime", "pause", "agent"),
            dn(0, "runtime", "resume", old),
            dn(0, "runtime", "keepalive", "agent", "--extend-seconds", "120"),
            dn(0, "runtime", "reset", "agent", "--yes"),
            dn(0, "runtime", "config-set", old, "--file", "c.yaml", "--yes"),
            dn(0, "runtime", "config-get", "agent", "--json"),
            dn(0, "runtime", "start", "agent", "--json"),
            api("list_runtime_capabilities", *WHERE, old),
            api("install_runtime_capability", *WHERE, "agent", name="search"),
            api("create_runtime", *WHERE, key="agent"),
        ]
        masked = replace(side(gateway), _placeholders={old: "<old>"})
        results = await run_dn(masked, tmp_path, [step for _, step in steps])
        assert [result["exit"] for result in results] == [code for code, _ in steps], results
        output = [result["out"] for result in results]
        assert all("<old>" in output[number] for number in (0, 1, 2)), output
        assert '"cpu_cores": 8' in output[8]
        assert "@acme/web" in output[10]
        assert of_runtimes(source) == before

        (copy,) = target.emulator.world.runtimes()  # type: ignore[attr-defined]
        assert copy.status == "running"
        bindings = await call(gateway, "GET", f"/v1/runtimes/{made['id']}/capabilities")
        assert {binding["name"] for binding in bindings["items"]} == {"@acme/web", "search"}


async def test_clients_of_both_older_eras_go_on_with_browsers_that_moved_to_the_current_api() -> None:
    """``bctrl`` 0.1.5, whose ids are those of the current API, lists and controls them; a client of the workspaces era
    has its aliases and ids."""
    async with whole_gateway("bctrl", "bctrl_browsers") as gateway:
        source, target = gateway.upstreams["bctrl"], gateway.upstreams["bctrl_browsers"]
        made = [await gateway.create(source, name=f"agent-{number}") for number in range(3)]
        move = await moved(gateway, source, target, when="now")
        assert (move["state"], move["counts"]) == ("done", {"moved": 3}), await items(gateway, move)
        before = of_runtimes(source)
        there = {item["name"]: item["target"]["provider_id"] for item in await items(gateway, move)}

        printed = await run_bctrl("0.1.5", "bctrl_moved_client.py", url=f"{gateway.url}/bctrl", key=KEY)
        assert sorted(printed) == sorted(there)
        for name, steps in printed.items():
            assert steps == {
                "get": [there[name], name, "active"],
                "start": [there[name], False, "active"],
                "stop": [there[name], True, "stopped"],
                "then": "stopped",
                "start again": [there[name], True, "active"],
            }

        workspace = f"/bctrl/v1/workspaces/{plugins()['bctrl'].demo.scope}/runtimes"
        rows = (await call(gateway, "GET", workspace))["runtimes"]
        shown = {(row["id"], row["alias"], row["status"]) for row in rows}
        assert shown == {(one["provider_id"], one["name"], "active") for one in made}
        for one in made:
            assert (await call(gateway, "GET", f"{workspace}/{one['name']}"))["id"] == one["provider_id"]
            stopped = await call(gateway, "POST", f"{workspace}/{one['name']}/stop")
            assert (stopped["id"], stopped["status"]) == (one["provider_id"], "stopped")
        assert of_runtimes(source) == before
        assert target.emulator.counts() == {"runtimes": 3, "live_runtimes": 0}
