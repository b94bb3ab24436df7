"""What the reader of a page has: a checkout, providers, settings of them, a gateway that runs, and its records."""

import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from gateway.app import create_app, create_emulator, plugins, serving
from gateway.cli.server import load
from gateway.domain.intents import IntentState, namespace_of
from gateway.storage.sqlite import SqliteStore
from gateway.telemetry.logs import Event, make_logger
from gateway.testing.processes import running
from tests.component.processes import ROOT, client
from tests.contract.store.subject import LEASE, begun, bring, create

KEY: Final = "a-key-of-an-administrator"
REQUEST_ID: Final = "5b1f6f0a-8a4e-4a57-9d5e-0c5b8f3a9f11"
VARIABLES: Final = {
    "GATEWAY_KEY": KEY,
    "SHOP_KEY": "a-key-of-a-shop-1234",
    "DURABLE_TOKEN": "a-token-of-durable",
    "BCTRL_TOKEN": "a-token-of-bctrl",
}
"""What the settings of the pages take from the environment."""
_numbers: Final = itertools.count()
PROVIDERS: Final = {
    "durable-main": ("durable", "https://app.dreadnode.io", "DURABLE_TOKEN", "acme/research"),
    "durable-new": ("durable", "https://new.dreadnode.test", "DURABLE_TOKEN", "initech/agents"),
    "browsers-main": ("bctrl_browsers", "https://api.bctrl.ai", "BCTRL_TOKEN", "sp_1234"),
    "bctrl-main": ("bctrl", "https://workspaces.bctrl.test", "BCTRL_TOKEN", "7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"),
}


@dataclass
class World:
    """``folder`` is the checkout, with ``gateway.yaml``. ``bases`` are the emulators' addresses by the documented ones.
    ``url`` is a gateway's address, if one runs."""

    folder: Path
    bases: dict[str, str] = field(default_factory=dict)
    url: str = ""

    @property
    def log(self) -> Path:
        """What the gateway writes to its output."""
        return self.folder.parent / "log"

    @property
    def store(self) -> Path:
        """The file with the gateway's store, where the pages have it."""
        return self.folder / "var/lib/runtime-gateway/store.db"

    def write(self, settings: dict[str, Any]) -> None:
        """Write ``gateway.yaml`` with the addresses of this machine in place of those of the page."""
        for provider in settings["providers"].values():
            provider["base_url"] = self.bases[provider["base_url"]]
            if provider["api"] == "bctrl_browsers":
                provider["scope"] = plugins()[provider["api"]].demo.scope
        settings["http"] = {"listen": "127.0.0.1:0"}
        settings["store"] = {"url": f"sqlite:///{self.store}"}
        with (self.folder / "gateway.yaml").open("w") as file:
            YAML().dump(settings, file)
        shutil.copy(self.folder / "gateway.yaml", self.folder / "etc/runtime-gateway.yaml")

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make a call of the API with the administrator's key."""
        async with client(self.url, KEY) as team, team.request(method, path, json=body) as response:
            document = await response.json()
            assert response.status < 300, document
            return document

    async def parked(self) -> str:
        """The id of a new create that an operator has to decide about."""
        _, base, _, scope = PROVIDERS["durable-main"]
        store = SqliteStore(self.store)
        await store.open()
        try:
            namespace = namespace_of("durable", self.bases[base], "an-account", scope)
            new = create(f"agent-{next(_numbers)}", namespace=namespace, provider="durable-main", scope=scope)
            return (await bring(store, begun(await store.begin(new, "me", LEASE)), IntentState.PARKED)).id
        finally:
            await store.close()


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A checkout in ``folder`` and emulators of the providers."""
    for name in ("etc", "opt", "backup", "var/lib/runtime-gateway"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(ROOT / "config", folder / "config")
    made = World(folder)
    async with AsyncExitStack() as stack:
        for api, base, token, _ in PROVIDERS.values():
            emulator = create_emulator(api, token=VARIABLES[token])
            made.bases[base] = await stack.enter_async_context(running(emulator)) + plugins()[api].demo.base_path
        yield made


def own_settings(issuer: dict[str, Any]) -> dict[str, Any]:
    """Settings with every provider, an administrator, and an issuer of tokens."""
    return {
        "version": 1,
        "data": {"enabled": True, "listen": "127.0.0.1:0"},
        "cache": {"enabled": False},
        "auth": {
            "principals": {
                "admin": {"keys": ["${GATEWAY_KEY}"], "scopes": ["admin"]},
                "shop": {"keys": ["${SHOP_KEY}"], "scopes": ["runtimes:read"]},
            },
            "jwt": [issuer],
        },
        "providers": {
            name: {"api": api, "base_url": base, "token": f"${{{token}}}", "scope": scope, "order": order}
            for order, (name, (api, base, token, scope)) in enumerate(PROVIDERS.items(), 1)
        },
    }


@asynccontextmanager
async def gateway(made: World) -> AsyncIterator[None]:
    """Run a gateway with the settings in ``gateway.yaml``. Its log has a request, and rejected settings."""
    settings = load(str(made.folder / "gateway.yaml")).settings
    with made.log.open("w", buffering=1) as log:
        logger = make_logger("debug", "json", log)
        logger.info(Event.REQUEST, request_id=REQUEST_ID)
        logger.error(Event.SETTINGS_REJECTED)
        async with serving(settings, create_app(settings, logger=logger)) as addresses:
            made.url = addresses.api
            yield
