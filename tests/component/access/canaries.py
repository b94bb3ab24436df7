"""A served gateway with a distinctive secret in every place that can hold one, and the search for them."""

import base64
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from gateway.app import plugins
from tests.component import fleets
from tests.component.processes import client
from tests.component.whole_gateway import Gateway, Response, Upstream
from tests.issuer import part
from tests.tcp_faults import TcpFaultProxy

ADMIN, MAKER = "canary-key-of-the-admin", "canary-key-of-the-maker"
PROXY_PASSWORD, ENV_VALUE = "canary-proxy-password", "canary-env-value"
WRONG_KEY, QUERY_KEY = "canary-wrong-key-12345", "canary-key-in-a-query"
STORE_KEY: Final = base64.b64encode(b"canary-store-encryption-key-0815").decode()
PUBLIC_ID_KEY: Final = base64.b64encode(b"canary-key-that-seals-public-ids").decode()
TOKENS: Final = "canary-token-of"
ISSUER: Final = "https://login.test"
CLAIMS: Final = part({"iss": ISSUER, "aud": "gateway", "sub": "canary-person", "exp": 9_999_999_999})
TOKEN: Final = f"{part({'alg': 'ES256', 'kid': 'canary'})}.{CLAIMS}.{part(b'canary-signature')}"
"""A token of an issuer whose keys cannot be fetched, and its claims."""

PROXY: Final = {"type": "http", "host": "proxy.example", "port": 3128, "username": "me", "password": PROXY_PASSWORD}
CONFIG: Final = {"version": "v2", "runtime_server": {"env": {"TOKEN": ENV_VALUE}}}
DETAILS: Final[dict[str, dict[str, Any]]] = {
    "durable": {"config": CONFIG},
    "bctrl": {"launch": {"mode": "ephemeral", "proxy": PROXY}},
    "bctrl_browsers": {"launch": {"mode": "ephemeral", "proxy": PROXY}},
}
"""Members of a create that hold secrets."""

SENT: Final = {"durable": ENV_VALUE, "bctrl": PROXY_PASSWORD, "bctrl_browsers": PROXY_PASSWORD}
"""The secret in them."""

INVALID: Final = {
    "kind": "browser",
    "name": f"{PROXY_PASSWORD}/",
    "launch": {"mode": PROXY_PASSWORD, "proxy": {**PROXY, "port": PROXY_PASSWORD, "password": [PROXY_PASSWORD]}},
    "config": {"version": ENV_VALUE, "runtime_server": {"env": {"TOKEN": [ENV_VALUE]}}},
    "proxy": f"http://me:{PROXY_PASSWORD}@proxy.example",
    "password": PROXY_PASSWORD,
    "provider_options": {"secret": ENV_VALUE},
}
"""A body that no call accepts, with secrets in all members."""


@dataclass
class Search:
    """Looks for secrets. ``made`` are those that the gateway and the providers made meanwhile."""

    made: set[str] = field(default_factory=set)
    found: list[str] = field(default_factory=list)
    searched: int = 0

    def secrets(self) -> tuple[str, ...]:
        """All of them."""
        fixed = (fleets.KEY, ADMIN, MAKER, PROXY_PASSWORD, ENV_VALUE, WRONG_KEY, QUERY_KEY, STORE_KEY, TOKENS)
        return (*fixed, PUBLIC_ID_KEY, CLAIMS, TOKEN.rpartition(".")[2], "canary-store-encryption-key", *self.made)

    def text(self, text: str, where: str, *, returns: Iterable[str] = ()) -> None:
        """Search a text. ``returns`` are the secrets that it is there to return."""
        self.searched += 1
        allowed = set(returns)
        for secret in self.secrets():
            for form in {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")}:
                if form in text and secret not in allowed:
                    at = text.index(form)
                    self.found.append(f"{where} contains {form}: {text[max(at - 200, 0) : at + 100]}")

    def files(self, paths: Iterable[Path]) -> None:
        """Search the raw bytes of files, also for other forms of the secrets."""
        for path in paths:
            raw = path.read_bytes()
            for secret in self.secrets():
                forms = {secret.encode(), secret.encode().hex().encode(), base64.b64encode(secret.encode())[:-4]}
                if any(form in raw for form in forms):
                    self.found.append(f"{path.name} contains {secret}")
            self.searched += 1

    def learn(self, document: Any) -> None:
        """Remember the secrets in the answer of a call that returns some."""
        for name, value in _members(document):
            if name in {"token", "sandbox_token"}:
                self.made.add(value)
            if "?key=" in value:
                self.made.add(value.partition("?key=")[2].partition("&")[0])


def _members(document: Any) -> Iterator[tuple[str, str]]:
    if isinstance(document, dict):
        for name, value in document.items():
            if isinstance(value, str):
                yield name, value
            yield from _members(value)
    elif isinstance(document, list):
        for item in document:
            yield from _members(item)


@dataclass
class Served:
    """The served gateway. ``file`` are its settings, ``store`` the folder of its store."""

    gateway: Gateway
    process: Any
    file: Path
    store: Path

    def log(self) -> str:
        return str(self.process.output)

    def command_line(self) -> str:
        """The arguments of the process, as every user of the machine sees them."""
        return Path(f"/proc/{self.process.process.pid}/cmdline").read_text()


@asynccontextmanager
async def served(fleet: fleets.Fleet) -> AsyncIterator[Served]:
    """Serve a gateway with its secrets in all settings that take one."""
    store = fleet.folder / "store"
    store.mkdir()
    quick = {"policies": {"breaker": {"minimum": 10_000}}, "deadlines": {"create": 1}}
    fleet_settings = {name: {**one.settings, **quick} for name, one in fleet.emulators.items()}
    sections: dict[str, Any] = {
        "auth": {
            "keys": {"tests": {"key": fleets.KEY}},
            "principals": {
                "admin": {"keys": [ADMIN], "scopes": ["admin"]},
                "web": {"keys": ["canary-key-of-the-page"], "view": "public"},
                "maker": {"keys": [MAKER], "own_only": True, "allow": {"proxy": {"hosts": ["proxy.example"]}}},
            },
            "public_id_key": PUBLIC_ID_KEY,
            "jwt": [
                {
                    "issuer": ISSUER,
                    "audience": "gateway",
                    "jwks": "http://127.0.0.1:1/jwks",
                    "name": "login",
                    "template": "web",
                }
            ],
        },
        "store": {"url": f"sqlite:///{store / 'store.db'}", "encryption_keys": [STORE_KEY]},
        "log": {"level": "debug"},
        "providers": fleet_settings,
    }
    async with fleet.gateway(**sections) as gateway, client(gateway.url, ADMIN) as session:
        upstreams = {
            one.settings["api"]: Upstream(
                name,
                "durable" if one.settings["api"] == "durable" else "browser",
                one.settings["token"],
                one.emulator,
                cast("TcpFaultProxy", None),
            )
            for name, one in fleet.emulators.items()
        }
        assert set(upstreams) == set(plugins())
        whole = Gateway("", session, upstreams, cast("Any", None))
        yield Served(whole, gateway.process, fleet.folder / "gateway.yaml", store)


def whole_text(answer: Response) -> str:
    """All of an answer."""
    return "\n".join((answer.text, json.dumps(dict(answer.headers))))
