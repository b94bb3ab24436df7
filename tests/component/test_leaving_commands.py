"""The commands of docs/leaving-a-provider.md#3-another-provider-of-the-same-kind, pasted from the page, at a gateway
between emulators."""

import re
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from ruamel.yaml import YAML

from gateway.app import create_app, create_emulator, plugins, serving
from gateway.cli.server import load
from gateway.telemetry.logs import make_logger
from gateway.testing.processes import running
from tests.component.moves.applied import at_once
from tests.component.processes import COMMAND, ROOT, Ended, client, finished
from tests.tcp_faults import Mode, TcpFaultProxy

ADMIN: Final = "a-key-of-an-administrator"
SECRETS: Final = ("5f1c2b8e-0000-4000-8000-000000000001", "5f1c2b8e-0000-4000-8000-000000000002")
PROFILE: Final = "9d2e7c41-0000-4000-8000-000000000001"
PAGE: Final = (ROOT / "docs" / "leaving-a-provider.md").read_text("utf-8").partition("\n## 3. ")[2]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """One replica knows of an announcement at once."""
    at_once(monkeypatch)


def blocks(title: str, language: str) -> list[str]:
    """The code blocks of a part of the page."""
    part = PAGE.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


def loaded(text: str) -> Any:
    return YAML(typ="safe").load(text)


@dataclass
class Desk:
    """Where an administrator pastes commands. The ids in a command are those that were printed last."""

    url: str
    folder: Path
    team: aiohttp.ClientSession
    proxies: Mapping[str, TcpFaultProxy]
    printed: dict[str, str] = field(default_factory=dict)

    async def paste(self, command: str, code: int = 0, shown: str = "") -> Ended:
        """Run a command that exits with this code. Its output has all lines of ``shown``, except those with a ``…``."""
        for example, value in self.printed.items():
            command, shown = command.replace(example, value), shown.replace(example, value)
        script = self.folder / "bin" / "runtime-gateway"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
        script.chmod(0o755)
        environment = {"RTGW_SERVER": self.url, "RTGW_API_KEY": ADMIN, "PATH": f"{script.parent}:/usr/bin:/bin"}
        shell = ("bash", "--noprofile", "--norc", "-ec", f"exec <<< y\n{command}")
        ended = await finished(command=shell, cwd=self.folder, environment=environment)
        assert ended.code == code, f"$ {command}\n{ended.stdout}{ended.stderr}"
        for example, pattern in {"mv_019a…": r"\bmv_[0-9a-f]+", "sha256:4f1c…": r"sha256:[0-9a-f]{64}"}.items():
            if found := re.findall(pattern, ended.stdout):
                self.printed[example] = found[-1]
        lines = {line.strip() for line in ended.stdout.splitlines()}
        missing = [line for line in shown.splitlines() if "…" not in line and line.strip() not in lines]
        assert not missing, f"$ {command}\n{missing}\n{ended.stdout}"
        return ended

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self.team.request(method, path, json=body) as response:
            document = await response.json()
            assert response.status < 300, document
            return document

    async def create(self, name: str, **fields: Any) -> str:
        made = await self.call("POST", "/v1/runtimes", {"name": name, **fields})
        return str(made["id"])

    async def providers(self) -> dict[str, str]:
        """Where each runtime is, by its name."""
        return {one["name"]: one["provider"] for one in (await self.call("GET", "/v1/runtimes"))["items"]}


class World:
    """Emulators of the providers in the page. Gateways in front of them have the same store."""

    def __init__(self, folder: Path, proxies: Mapping[str, TcpFaultProxy], providers: Mapping[str, Any]) -> None:
        self.folder, self.proxies, self.providers = folder, proxies, providers

    async def down(self, name: str) -> None:
        """Nothing is at the address of a provider any longer."""
        await self.proxies[name].set_mode(Mode.REFUSE)
        await self.proxies[name].cut()

    @asynccontextmanager
    async def gateway(self, *without: str, **sections: Any) -> AsyncIterator[Desk]:
        document = {
            "version": 1,
            "http": {"listen": "127.0.0.1:0"},
            "data": {"enabled": True, "listen": "127.0.0.1:0"},
            "auth": {"principals": {"admin": {"keys": [ADMIN], "scopes": ["admin"]}}},
            "store": {"url": f"sqlite:///{self.folder}/gateway.db"},
            "cache": {"enabled": False},
            "providers": {name: one for name, one in self.providers.items() if name not in without},
            **sections,
        }
        with (self.folder / "gateway.yaml").open("w") as file:
            YAML().dump(document, file)
        settings = load(str(self.folder / "gateway.yaml")).settings
        app = create_app(settings, logger=make_logger("debug", "json", StringIO()))
        async with serving(settings, app) as addresses, client(addresses.api, ADMIN) as team:
            yield Desk(addresses.api, self.folder, team, self.proxies)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    providers = loaded(blocks("Both ends in the settings", "yaml")[0])["providers"]
    proxies: dict[str, TcpFaultProxy] = {}
    async with AsyncExitStack() as stack:
        for name, provider in providers.items():
            plugin = plugins()[provider["api"]]
            provider["token"] = f"token-of-{name}"
            emulator = create_emulator(provider["api"], token=provider["token"])
            proxies[name] = TcpFaultProxy(await stack.enter_async_context(running(emulator)))
            await stack.enter_async_context(proxies[name])
            provider["base_url"] = proxies[name].url + plugin.demo.base_path
            if provider["api"] == "bctrl_browsers":
                provider["scope"] = plugin.demo.scope
        yield World(tmp_path, proxies, providers)


async def agents(desk: Desk) -> dict[str, str]:
    """The durable runtimes that the page moves. Their ids by name."""
    made = {}
    for name, secret in (("agent-1", SECRETS[0]), ("agent-2", SECRETS[0]), ("agent-3", SECRETS[1])):
        config = {"version": "v2", "secrets": {"secret_ids": [secret]}, "resources": {"cpu_cores": 2}}
        fields = {"kind": "durable", "provider": "durable-main", "config": config, "start": name == "agent-2"}
        made[name] = await desk.create(name, **fields)
    await desk.call("POST", f"/v1/runtimes/{made['agent-1']}/capabilities", {"name": "web-search"})
    return made


async def test_a_durable_fleet_leaves_its_organization_and_the_settings(world: World) -> None:
    (plan, again), (report, second) = blocks("Plan", "sh"), blocks("Plan", "text")
    mappings, overrides = blocks("Plan", "yaml")
    async with world.gateway() as desk:
        made = await agents(desk)
        await desk.paste(plan, 3, report)
        assert set(loaded((world.folder / "mappings.yaml").read_text())["secret_ids"]) == set(SECRETS)
        (world.folder / "mappings.yaml").write_text(mappings)
        (world.folder / "overrides.yaml").write_text(overrides)
        await desk.paste(again, 0, second)
        await desk.paste(*blocks("Apply", "sh")[:1], 0, *blocks("Apply", "text"))
        await desk.paste(blocks("Apply", "sh")[1])
        left, there = blocks("Verify", "sh")[0].splitlines()
        assert (await desk.paste(left)).stdout.splitlines()[1:] == []
        listed = (await desk.paste(there)).stdout
        assert all(runtime_id in listed for runtime_id in made.values())
        await desk.paste(blocks("Verify", "sh")[1])
        assert all(runtime_id in (world.folder / "ids.csv").read_text() for runtime_id in made.values())
        config = f"/v1/runtimes/{made['agent-1']}/config"
        secrets = {"secret_ids": [loaded(mappings)["secret_ids"][SECRETS[0]]]}
        patched = {"version": "v2", "secrets": secrets, "resources": {"cpu_cores": 8}}
        await desk.call("PUT", config, {"config": patched})
        dry_run, back = blocks("Back", "sh")
        changed, done = blocks("Back", "text")
        await desk.paste(dry_run, 3, changed)
        await desk.paste(back, 0, done)
        assert set((await desk.providers()).values()) == {"durable-main"}
        assert (await desk.call("GET", config))["config"]["resources"]["cpu_cores"] == 8
        await desk.paste(f"{again.strip()} --on-name-conflict adopt")
        await desk.paste(blocks("Apply", "sh")[0])
    routes = loaded(blocks("Without the old provider", "yaml")[0])
    async with world.gateway("durable-main", **routes) as desk:
        for name, runtime_id in made.items():
            runtime = await desk.call("GET", f"/v1/runtimes/{runtime_id}")
            assert (runtime["id"], runtime["provider"]) == (runtime_id, "durable-new")
            native = await desk.call("GET", f"/durable/api/v1/org/acme/ws/research/runtimes/{name}")
            assert native["id"] == runtime_id.partition(".")[2]


async def test_browsers_leave_the_workspaces(world: World) -> None:
    title = "From bctrl's workspaces to its browsers"
    plan, rest = blocks(title, "sh")
    report = blocks(title, "text")[0].replace("sp_1234", world.providers["browsers-main"]["scope"])
    async with world.gateway() as desk:
        for name, launch in {
            "checkout-1": {"mode": "ephemeral", "humanize": True},
            "checkout-2": {"mode": "profile", "profile_id": PROFILE},
        }.items():
            await desk.create(name, kind="browser", provider="bctrl-main", driver="playwright", launch=launch)
        await desk.paste(plan, 3, report)
        (world.folder / "profiles.yaml").write_text(blocks(title, "yaml")[0])
        again, apply = rest.splitlines()
        await desk.paste(again)
        await desk.paste(apply)
        assert await desk.providers() == dict.fromkeys(("checkout-1", "checkout-2"), "browsers-main")
        workspace = f"/bctrl/v1/workspaces/{world.providers['bctrl-main']['scope']}/runtimes"
        for name in ("checkout-1", "checkout-2"):
            shown = await desk.call("GET", f"{workspace}/{name}")
            assert (shown["alias"], shown["status"]) == (name, "active")


async def test_a_fleet_leaves_a_provider_that_is_down(world: World) -> None:
    title = "A provider that is down already"
    async with world.gateway() as desk:
        made = await desk.create("agent", kind="durable", provider="durable-main")
        await world.down("durable-main")
        await desk.paste(blocks(title, "sh")[0], 0, blocks(title, "text")[0])
        await desk.paste(blocks("Apply", "sh")[0])
        assert (await desk.call("GET", f"/v1/runtimes/{made}"))["provider"] == "durable-new"


async def test_exported_runtimes_are_imported_when_their_provider_is_down(world: World) -> None:
    export, rest = blocks("A copy in a file", "sh")
    dry_run, again = rest.splitlines()
    async with world.gateway() as desk:
        made = await desk.create("agent", kind="durable", provider="durable-main")
        await desk.paste(export)
        assert made in (world.folder / "fleet.ndjson").read_text()
        await world.down("durable-main")
        await desk.paste(dry_run)
        assert "agent" not in await desk.providers()
        await desk.paste(again)
        assert await desk.providers() == {"agent": "durable-new"}
