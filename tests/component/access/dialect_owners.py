"""The dialects, principals that see only their own runtimes, and calls with their keys."""

from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.component.whole_gateway import Gateway, Response, Upstream

SHOP: Final = "key-of-the-shop-12345"
BANK: Final = "key-of-the-bank-12345"
READER: Final = "key-of-a-reader-12345"
PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "shop": {"keys": [SHOP], "own_only": True},
    "bank": {"keys": [BANK], "own_only": True},
    "reader": {
        "keys": [READER],
        "own_only": True,
        "own_group": "bank",
        "scopes": ["runtimes:read", "runtimes:create", "runtimes:lifecycle"],
    },
}
WORKSPACE: Final = "7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"
DURABLE: Final = "/durable/api/v1"
SUFFIX: Final = ".rgw-"
BINDING: Final = {"name": "x", "version": "1"}
CONFIG: Final = {"resources": {"cpu_cores": 2}}


@dataclass(frozen=True)
class Api:
    """A dialect. ``name``, ``rows`` and ``cursor`` are names of its members, ``create`` the other members of a create;
    ``by`` are the forms in which its paths address a runtime."""

    upstream: str
    runtimes: str
    name: str
    rows: str
    cursor: str | None
    by: tuple[str, ...]
    create: dict[str, Any] = field(default_factory=dict)

    def address(self, runtime: dict[str, Any], by: str) -> str:
        return str(runtime["id"] if by == "id" else runtime[self.name])


APIS: Final = {
    "durable": Api(
        "durable", f"{DURABLE}/org/acme/ws/research/runtimes", "key", "items", "next_cursor", ("id", "name")
    ),
    "workspaces": Api(
        "bctrl", f"/bctrl/v1/workspaces/{WORKSPACE}/runtimes", "alias", "runtimes", None, ("name",), {"kind": "browser"}
    ),
    "browsers": Api("bctrl_browsers", "/bctrl/v1/browsers", "name", "data", "nextCursor", ("id", "name")),
    "flat": Api("bctrl_browsers", "/bctrl/v1/runtimes", "name", "data", "nextCursor", ("id",), {"type": "browser"}),
}
ALL: Final = pytest.mark.parametrize("api", APIS.values(), ids=APIS)
PAGED: Final = pytest.mark.parametrize(
    "api", [api for api in APIS.values() if api.cursor], ids=lambda api: api.runtimes
)
BODIES: Final[dict[tuple[str, str], Any]] = {
    ("PUT", "/config"): {"config": CONFIG},
    ("POST", "/keepalive"): {"extend_seconds": 60},
    ("POST", "/capabilities"): BINDING,
    ("PATCH", "/capabilities/b"): {"enabled": True},
    ("PATCH", ""): {"name": "taken-over", "metadata": {"a": 1}},
}


async def call(gateway: Gateway, key: str | None, method: str, path: str, body: Any = None, **headers: str) -> Response:
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    response = await gateway.call(method, path, body, **headers)
    assert key is None or SUFFIX not in response.text, (method, path)
    return response


async def made(gateway: Gateway, key: str | None, api: Api, name: str) -> Any:
    response = await call(gateway, key, "POST", api.runtimes, {api.name: name, **api.create})
    assert response.status in {200, 201}, response.text
    return response.json


async def listed(gateway: Gateway, key: str | None, api: Api, query: str = "") -> list[Any]:
    """All rows of a list. No page but the last may be empty."""
    found: list[Any] = []
    cursor = None
    while True:
        separator = "&" if query else "?"
        more = "" if cursor is None else f"{separator}cursor={cursor}"
        page = (await call(gateway, key, "GET", f"{api.runtimes}{query}{more}")).json
        cursor = page.get(api.cursor)
        assert page[api.rows] or cursor is None
        found += page[api.rows]
        if cursor is None:
            return found


def labels_at_provider(upstream: Upstream) -> list[dict[str, Any]]:
    """The labels that a provider with labels has, of each runtime: the very objects."""
    world = upstream.emulator.world  # type: ignore[attr-defined]
    if upstream.kind == "durable":
        return [runtime.config["metadata"]["labels"] for _, runtime in world.with_workspaces()]
    return [browser.config["metadata"] for browser in world.all(0.0)]


def told(answer: Response) -> tuple[int, Any, set[str]]:
    """The answer without the ids of its request."""
    body = answer.json
    for part in (body, body.get("error")):
        if isinstance(part, dict):
            part.pop("requestId", None)
    return answer.status, body, set(answer.headers)
