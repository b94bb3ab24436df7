"""How to call each row of the access table: addresses and bodies, and the runtimes that the calls are about."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.domain.values import Permission
from tests.access_table import AccessRow
from tests.component.whole_gateway import Gateway, Response

WORKSPACE: Final = "7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"
APIS: Final = ("durable", "bctrl", "bctrl_browsers")
MAKER, OTHER = "key-of-the-maker-1234", "key-of-the-other-1234"
FORWARD: Final = {"bctrl": ["* /v1/**"], "durable": ["* /api/v1/**"]}
"""Settings under which the dialects forward everything."""
ADMINISTERED: Final = ("/v1/keys", "/v1/principals", "/v1/moves")
"""The paths of calls about something that :func:`make_principal` makes."""
MOVE: Final = {"source": {"provider": "bctrl-demo"}, "target": {"provider": "browsers-demo"}}
IMPORTED: Final = {
    "id": "bctrl-demo.x",
    "kind": "browser",
    "provider": "bctrl-demo",
    "scope": "x",
    "provider_id": "x",
    "create": {"kind": "browser", "name": "x"},
}
_numbers: Final = itertools.count()


def key_of(permission: Permission, away: str = "") -> str:
    """The key of the principal that has only this permission. ``away``: that may not use providers of this API."""
    return f"key-of-only-{permission}-{away or 'own'}".replace(":", "-")


def principals(providers: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """A principal for each permission, which owns what the maker makes, and one that may not use each API.
    ``providers`` are the names of the providers by API."""
    found: dict[str, dict[str, Any]] = {
        "maker": {"keys": [MAKER], "own_only": True, "own_group": "mine"},
        "other": {"keys": [OTHER], "own_only": True, "own_group": "theirs"},
    }
    for permission in Permission:
        name = f"only-{permission}".replace(":", "-")
        found[name] = {"keys": [key_of(permission)], "scopes": [permission], "own_only": True, "own_group": "mine"}
        for away in APIS:
            allowed = [provider for api, provider in providers.items() if api != away]
            key = key_of(permission, away)
            found[f"{name}-{away}"] = {"keys": [key], "scopes": [permission], "providers": allowed}
    return found


async def call(gateway: Gateway, key: str | None, method: str, path: str, body: Any = None) -> Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return await gateway.call(method, path, body, **headers)


@dataclass(frozen=True)
class Thing:
    """A runtime and what belongs to it; ``by`` are the native addresses of a dialect."""

    api: str
    provider: str
    id: str
    native_id: str
    name: str
    intent: str
    binding: str = "none"
    sandbox: str = "none"
    key_id: str = "none"
    principal: str = "none"
    move: str = "none"

    def absent(self) -> "Thing":
        """A runtime of the same provider that does not exist."""

        def other(text: str) -> str:
            return text[:-1] + ("0" if text[-1] != "0" else "1")

        return replace(
            self,
            id=other(self.id),
            native_id=other(self.native_id),
            name=f"no{self.name[2:]}",
            intent=other(self.intent),
            sandbox=other(self.sandbox),
        )

    def marks(self) -> tuple[str, ...]:
        """The texts that name it."""
        return (self.id, self.native_id, self.name, self.intent, self.sandbox)


async def make(gateway: Gateway, key: str, api: str) -> Thing:
    """Make a runtime of the key's owner; a durable one runs, and has a capability."""
    upstream = gateway.upstreams[api]
    name = f"rt{next(_numbers)}-of-{key[-9:-5]}"
    body = {"kind": upstream.kind, "provider": upstream.name, "name": name}
    made = await call(gateway, key, "POST", "/v1/runtimes", body)
    assert made.status == 201, made.text
    intents = await call(gateway, key, "GET", "/v1/intents?limit=100")
    intent = next(one["id"] for one in intents.json["items"] if one["runtime_id"] == made.json["id"])
    thing = Thing(api, upstream.name, made.json["id"], made.json["provider_id"], name, intent)
    if api != "durable":
        return thing
    path = f"/v1/runtimes/{thing.id}"
    bound = await call(gateway, key, "POST", f"{path}/capabilities", {"name": "tool", "version": "1"})
    started = await call(gateway, key, "POST", f"{path}/start", {})
    assert (bound.status, started.status) == (201, 200), (bound.text, started.text)
    sandbox = started.json["durable"]["instance"]["provider_instance_id"]
    return replace(thing, binding=bound.json["id"], sandbox=sandbox)


async def make_principal(gateway: Gateway, thing: Thing) -> Thing:
    """Add a principal and its key, and a move, for the calls that administer them."""
    name = f"temporary-{next(_numbers)}"
    made = await gateway.call("POST", "/v1/keys", {"principal": name, "template": "maker"})
    move = await gateway.call("POST", "/v1/moves", MOVE)
    assert (made.status, move.status) == (201, 202), (made.text, move.text)
    return replace(thing, key_id=made.json["id"], principal=name, move=move.json["id"])


def apis_of(row: AccessRow) -> tuple[str, ...]:
    """The APIs with whose runtimes to make this call."""
    if row.api is not None:
        return (row.api,)
    return APIS if "/runtimes" in row.path or row.path.startswith("/native") else ("durable",)


def paths(row: AccessRow, thing: Thing) -> Iterator[str]:
    """The paths of a call about this runtime, one for each way to address it."""
    for native in dict.fromkeys((thing.native_id, thing.name)) if row.api in {"durable", "bctrl_browsers"} else [""]:
        if "{runtime}" in row.path or row.path.startswith("/bctrl/v1/browsers/{id}"):
            yield _filled(row, thing, native)
        elif native in {"", thing.native_id}:
            yield _filled(row, thing, thing.native_id)


def _filled(row: AccessRow, thing: Thing, native: str) -> str:
    values = {
        "org": "acme",
        "workspace": "research",
        "project": "default",
        "alias": thing.name,
        "runtime": native,
        "binding": thing.binding,
        "binding_id": thing.binding,
        "sandbox": thing.sandbox,
        "provider": thing.provider,
        "page": "access",
        "code": "not_found",
        "path": "none",
        "id": _id(row, thing, native),
    }
    values["name"] = thing.provider
    if row.path.startswith("/v1/principals"):
        values["name"] = thing.principal
    elif row.path.startswith("/docs"):
        values["name"] = "docs.css"
    elif row.path.startswith("/console"):
        values["name"] = "app.js"
    return re.sub(r"{(\w+)}", lambda match: values[match[1]], row.path)


def _id(row: AccessRow, thing: Thing, native: str) -> str:
    if row.path.startswith("/v1/intents"):
        return thing.intent
    if row.path.startswith("/v1/keys"):
        return thing.key_id
    if row.path.startswith("/v1/moves"):
        return thing.move
    if row.api == "bctrl":
        return WORKSPACE
    return thing.id if row.api is None else native


_CONFIG: Final = {"resources": {"cpu_cores": 2}}
_BINDING: Final = {"name": "other", "version": "1"}


def body_of(row: AccessRow, thing: Thing) -> Any:
    """A valid body. Raises ``LookupError`` for a call with a body that has none here."""
    if row.method in {"GET", "DELETE", "any method"}:
        return None
    name = thing.name
    bodies: dict[str, Any] = {
        "POST /v1/runtimes": {"kind": "durable" if thing.api == "durable" else "browser", "provider": thing.provider}
        | {"name": name},
        "PUT /v1/runtimes/{id}/config": {"config": _CONFIG},
        "POST /v1/runtimes/{id}/capabilities": _BINDING,
        "PATCH /v1/runtimes/{id}/capabilities/{binding_id}": {"enabled": False},
        "PUT /v1/runtimes/{id}/owner": {"owner": "mine"},
        "POST /v1/intents/{id}/resolve": {"absent": True},
        "POST /v1/keys": {"principal": thing.principal},
        "POST /v1/keys/{id}/rotate": {},
        "POST /v1/moves": MOVE,
        "POST /v1/moves/{id}/apply": {"digest": "another"},
        **{f"POST /v1/moves/{{id}}/{verb}": {} for verb in ("pause", "resume", "cancel", "rollback")},
        "POST /v1/import": {"provider": "durable-demo", "runtimes": [IMPORTED]},
        "POST /v1/principals/{name}/disable": {},
        "POST /v1/principals/{name}/enable": {},
        "POST /bctrl/v1/workspaces/{id}/runtimes": {"alias": name, "kind": "browser"},
        "POST /bctrl/v1/workspaces/{id}/runtimes/{alias}/stop": None,
        "POST /bctrl/v1/browsers": {"name": name},
        "PATCH /bctrl/v1/browsers/{id}": {"metadata": {"a": 1}},
        "POST /bctrl/v1/browsers/{id}/connections/revoke": {},
        "POST /bctrl/v1/runtimes": {"name": name, "type": "browser"},
        "PATCH /bctrl/v1/runtimes/{id}": {"metadata": {"a": 1}},
        "POST /durable/api/v1/org/{org}/ws/{workspace}/projects": {"name": f"project {name}"},
    }
    if row.call in bodies:
        return bodies[row.call]
    below = re.sub(r"^\S+/(ws/{workspace}/runtimes|runtimes|browsers)/{\w+}", "", row.path)
    by_verb = {"/config": {"config": _CONFIG}, "/keepalive": {"extend_seconds": 60}, "/capabilities": _BINDING}
    by_verb |= {
        "/stop": {"discard_state": True} if row.api is None else {},
        "/capabilities/{binding}": {"enabled": False},
    }
    by_verb |= {f"/{verb}": {} for verb in ("start", "pause", "resume", "reset", "connections")}
    if row.path.endswith("/ws/{workspace}/runtimes"):
        return {"key": name}
    if below == row.path or below not in by_verb:
        raise LookupError(f"say in {__file__} which body makes {row.call} valid")
    return by_verb[below]
