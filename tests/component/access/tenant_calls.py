"""The calls of the two tenants, chosen at random."""

import base64
import itertools
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain.ownership import suffix_of
from gateway.domain.public_view import PublicView
from tests.component.access.tenants import (
    APIS,
    DIALECTS,
    SHARED_NAMES,
    WORKSPACE,
    Leaks,
    Runtime,
    Tenant,
    absent_like,
    learn,
)
from tests.component.whole_gateway import PUBLIC_ID_KEY, Gateway, Response

_BELOW: Final[tuple[tuple[str, str, Any], ...]] = (
    ("GET", "", None),
    ("HEAD", "", None),
    ("GET", "?wait=9", None),
    ("GET", "/events", None),
    ("POST", "/start?wait=0", {}),
    ("POST", "/start", {}),
    ("POST", "/pause", {}),
    ("POST", "/resume", {}),
    ("POST", "/stop", {"discard_state": True}),
    ("POST", "/reset", {}),
    ("POST", "/keepalive", {"extend_seconds": 60}),
    ("POST", "/connections", {}),
    ("GET", "/config", None),
    ("GET", "/capabilities", None),
    ("GET", "/capabilities/resolved", None),
    ("POST", "/capabilities", {"name": "tool", "version": "1"}),
    ("PATCH", "/capabilities/none", {"enabled": False}),
    ("DELETE", "/capabilities/none", None),
    ("PATCH", "", {"metadata": {"a": 1}}),
    ("POST", "/connections/revoke", {}),
    ("DELETE", "", None),
)
_MOST_RUNTIMES: Final = 12
VIEW: Final = PublicView(base64.b64decode(PUBLIC_ID_KEY))


@dataclass
class Calls:
    """Makes calls as one of the tenants, about its own runtimes, the other's, and what may belong to the other."""

    gateway: Gateway
    leaks: Leaks
    tenants: tuple[Tenant, Tenant]
    numbers: Any = field(default_factory=itertools.count)

    def name(self, tenant: Tenant) -> str:
        dice = self.leaks.dice
        return dice.choice([*SHARED_NAMES, *(f"{tenant.mark}-{number}" for number in range(8))])

    async def create(self, tenant: Tenant, other: Tenant) -> None:
        """Create or ensure a runtime, also with the other's Idempotency-Key, and sometimes without any mark."""
        dice, api = self.leaks.dice, self.leaks.dice.choice(APIS)
        if len(tenant.runtimes) >= _MOST_RUNTIMES:
            runtime = dice.choice(list(tenant.runtimes.values()))
            verb = ("DELETE", "") if runtime.api != "bctrl" else ("POST", "/stop")
            await self.ask(tenant, other, verb[0], f"/v1/runtimes/{runtime.id}{verb[1]}", None)
            del tenant.runtimes[runtime.id]
            return
        neutral = dice.random() < 0.3
        name = f"shared-{next(self.numbers)}" if neutral else self.name(tenant)
        upstream = self.gateway.upstreams[api]
        body: dict[str, Any] = {"kind": upstream.kind, "provider": upstream.name, "name": name}
        if self.leaks.hidden and dice.random() < 0.9:  # with the public view, a create that names a provider is refused
            del body["provider"]
        if not neutral:
            body |= _details(tenant, api)
        headers = {"Idempotency-Key": f"key-{dice.randrange(40)}"} if dice.random() < 0.4 else {}
        if dice.random() < 0.2:
            headers["Prefer"] = "respond-async"
        self._remember(tenant, neutral, await self.ask(tenant, other, "POST", "/v1/runtimes", body, **headers))

    async def create_in_dialect(self, tenant: Tenant, other: Tenant) -> None:
        """Create by a dialect."""
        dialect = self.leaks.dice.choice(list(DIALECTS))
        if len(tenant.runtimes) >= _MOST_RUNTIMES:
            return
        name = self.name(tenant)
        body = {
            "durable": {"key": name, "description": tenant.secret},
            "bctrl": {"alias": name, "kind": "browser"},
            "bctrl_browsers": {"name": name, "metadata": {"of": tenant.secret}},
            "flat": {"name": name, "type": "browser"},
        }[dialect]
        headers = {"Idempotency-Key": f"key-{self.leaks.dice.randrange(40)}"} if dialect != "durable" else {}
        answer = await self.ask(tenant, other, "POST", DIALECTS[dialect], body, **headers)
        learn(tenant, answer)
        if answer.status < 300:
            found = await self.ask(tenant, other, "GET", f"/v1/runtimes?name={name}")
            for row in found.json["items"] if found.status == 200 else ():
                self._known(tenant, row)

    def _remember(self, tenant: Tenant, neutral: bool, answer: Response) -> None:
        learn(tenant, answer)
        if answer.status == 202 and answer.json["object"] == "intent":
            return
        if answer.status < 300 and answer.json["id"] not in tenant.runtimes:
            other = next(one for one in self.tenants if one is not tenant)
            if answer.json["id"] not in other.runtimes:  # a replay for a runtime that was assigned since
                self._known(tenant, answer.json, neutral=neutral)

    def _known(self, tenant: Tenant, row: Any, *, neutral: bool = False) -> None:
        plain = VIEW.unseal(row["id"]) if self.leaks.hidden else row["id"]
        provider, _, reference = plain.partition(".")
        api = {"durable-demo": "durable", "bctrl-demo": "bctrl"}.get(provider, "bctrl_browsers")
        runtime = Runtime(api, row["id"], reference.rpartition("~")[2], row["name"], neutral=neutral)
        if self.leaks.hidden:
            self.leaks.hidden += (plain, runtime.native_id)
        tenant.runtimes.setdefault(row["id"], runtime)
        tenant.had.add(row["id"])

    async def list(self, tenant: Tenant, other: Tenant) -> None:
        """A page of the unified list, with names, owners and cursors of the other; the rows are those of the tenant."""
        dice = self.leaks.dice
        query = dice.choice(
            [
                "",
                f"name={self.name(other)}",
                f"name={self.name(tenant)}",
                "owner=me",
                f"owner={other.owner}",
                f"label=of%3D{other.mark}",
                f"q={other.mark}",
                "state=running",
                f"provider={self.gateway.upstreams[dice.choice(APIS)].name}",
            ]
        )
        query += f"&limit={dice.choice([1, 2, 50])}"
        await self._page(tenant, other, "/v1/runtimes", query, "next_cursor")

    async def list_in_dialect(self, tenant: Tenant, other: Tenant) -> None:
        """A page of a dialect's list."""
        dialect = self.leaks.dice.choice(list(DIALECTS))
        member = "next_cursor" if dialect == "durable" else "nextCursor"
        query = "" if dialect == "bctrl" else f"limit={self.leaks.dice.choice([1, 2, 50])}"
        if dialect == "bctrl_browsers":
            query += self.leaks.dice.choice(["", f"&name={self.name(other)}", f"&q={other.mark}"])
        await self._page(tenant, other, DIALECTS[dialect], query, member)

    async def _page(self, tenant: Tenant, other: Tenant, path: str, query: str, member: str) -> None:
        dice = self.leaks.dice
        cursors = [cursor for where, cursor in (*tenant.cursors, *other.cursors) if where == path]
        if cursors and dice.random() < 0.4:
            query += f"&cursor={dice.choice(cursors)}"
        method = dice.choice(["GET", "GET", "GET", "HEAD"])
        answer = await self.ask(tenant, other, method, f"{path}?{query}".rstrip("?&"))
        if answer.status != 200 or method == "HEAD":
            return
        learn(tenant, answer)
        for row in answer.json.get("items", ()):
            if row["id"] in other.runtimes:
                self.leaks.report(tenant, path, f"lists {row['id']}")
        cursor = answer.json.get(member)
        if cursor is not None:
            tenant.cursors = [*tenant.cursors[-20:], (path, cursor)]
            rows = answer.json.get("items", answer.json.get("data"))
            if not rows and path != "/v1/runtimes":
                self.leaks.report(tenant, path, "an empty page with a cursor reveals rows of others")

    async def own(self, tenant: Tenant, other: Tenant) -> None:
        """A call about an own runtime, with the ETag of one of the other."""
        runtime, headers = self.one(tenant), self._conditions(other)
        if runtime is None:
            return
        method, below, body = self.leaks.dice.choice([*_BELOW, ("PUT", "/config", _config(tenant))])
        if runtime.neutral and method in {"PUT", "PATCH"}:
            return
        answer = await self.ask(tenant, other, method, f"/v1/runtimes/{runtime.id}{below}", body, **headers)
        learn(tenant, answer)
        runtime.etag = answer.headers.get("ETag", runtime.etag)
        if method == "DELETE" and answer.status == 204 and not below:
            del tenant.runtimes[runtime.id]

    async def foreign(self, tenant: Tenant, other: Tenant) -> None:
        """A call about the other's runtime, and the same about an absent one: the answers are equal."""
        runtime = self.one(other)
        if runtime is not None:
            method, below, body = self.leaks.dice.choice([*_BELOW, ("PUT", "/config", _config(tenant))])
            texts = {runtime.id: absent_like(runtime.id)}
            if self.leaks.hidden:
                texts = {runtime.id: VIEW.seal(absent_like(VIEW.unseal(runtime.id)))}
            await self._compare(tenant, other, method, "/v1/runtimes/", texts, below, body)

    async def foreign_in_dialect(self, tenant: Tenant, other: Tenant) -> None:
        """The same by a dialect, with the native id or the other's name, also as it is at the provider."""
        runtime, dice = self.one(other), self.leaks.dice
        if runtime is None or runtime.name in SHARED_NAMES:
            return
        dialect = dice.choice(["bctrl_browsers", "flat"]) if runtime.api == "bctrl_browsers" else runtime.api
        address = dice.choice([runtime.native_id, runtime.name, runtime.name + suffix_of(other.owner)])
        method, below, body = dice.choice([*_BELOW, ("PUT", "/config", _config(tenant))])
        await self._compare(
            tenant, other, method, f"{DIALECTS[dialect]}/", {address: "absent-" + absent_like(address)[7:]}, below, body
        )

    async def _compare(
        self, tenant: Tenant, other: Tenant, method: str, path: str, texts: dict[str, str], below: str, body: Any
    ) -> None:
        (foreign, absent), headers = next(iter(texts.items())), self._conditions(other)
        headers["Authorization"] = f"Bearer {self.leaks.dice.choice(tenant.keys)}"
        answers = [
            await self.ask(tenant, other, method, f"{path}{one}{below}", body, **headers) for one in (foreign, absent)
        ]
        if answers[0].status < 400 or answers[0].status == 412:
            self.leaks.report(
                tenant, f"{method} {path}{foreign}{below}", f"{answers[0].status} {answers[0].text[:300]}"
            )
        self.leaks.same(tenant, f"{method} {path}{foreign}{below}", *answers, texts)

    async def intents(self, tenant: Tenant, other: Tenant) -> None:
        """The own intents, and those of the other."""
        dice = self.leaks.dice
        await self.ask(tenant, other, "GET", f"/v1/intents?principal={other.mark}{dice.choice(['', '-0'])}")
        answer = await self.ask(tenant, other, "GET", "/v1/intents")
        learn(tenant, answer)
        if answer.status == 200:
            tenant.intents.update(row["id"] for row in answer.json["items"])
        if other.intents:
            intent = dice.choice(sorted(other.intents))
            method, below, body = dice.choice([("GET", "", None), ("POST", "/resolve", {"absent": True})])
            texts = {intent: absent_like(intent)}
            await self._compare(tenant, other, method, "/v1/intents/", texts, below, body)

    async def audit(self, tenant: Tenant, other: Tenant) -> None:
        """The own actions. Those that were refused name what the tenant itself has sent."""
        outcome = self.leaks.dice.choice(["ok", "unknown"])
        answer = await self.ask(tenant, other, "GET", f"/v1/audit?limit=100&outcome={outcome}")
        if answer.status == 200:
            tenant.events += len(answer.json["items"])
        await self.ask(tenant, other, "GET", f"/v1/audit?principal={other.mark}")

    async def elsewhere(self, tenant: Tenant, other: Tenant) -> None:
        """Calls that are about no runtime of the tenant."""
        runtime = self.one(other)
        native = "none" if runtime is None else runtime.native_id
        path = self.leaks.dice.choice(
            [
                "/v1/me",
                "/v1/providers",
                "/v1/providers/durable-demo",
                "/v1/providers/durable-demo/history",
                "/v1/keys",
                "/v1/principals",
                "/v1/moves",
                f"/v1/principals/{other.mark}",
                f"/native/durable-demo/api/v1/org/acme/ws/research/runtimes/{native}",
                f"/native/browsers-demo/v1/browsers/{native}",
                f"/native/bctrl-demo/v1/workspaces/{WORKSPACE}/runtimes",
                "/durable/api/v1/user",
                "/durable/api/v1/user/organizations",
                "/durable/api/v1/user/secrets",
                "/durable/api/v1/org/acme/ws",
                "/durable/api/v1/org/acme/ws/research/projects",
                f"/durable/api/v1/org/acme/sandboxes/{self._sandbox(other)}/logs",
                f"/v1/runtimes/{native}",
                f"/v1/{other.mark}",
                "/openapi.json",
            ]
        )
        await self.ask(tenant, other, self.leaks.dice.choice(["GET", "GET", "HEAD", "POST"]), path)

    def _sandbox(self, other: Tenant) -> str:
        found = sorted(one for one in other.ids if one.startswith(("sb", "sandbox")))
        return found[0] if found else "none"

    async def ask(
        self, tenant: Tenant, other: Tenant, method: str, path: str, body: Any = None, **headers: str
    ) -> Response:
        return await self.leaks.ask(tenant, other, method, path, body, **headers)

    def one(self, tenant: Tenant) -> Runtime | None:
        return self.leaks.dice.choice(list(tenant.runtimes.values())) if tenant.runtimes else None

    def _conditions(self, other: Tenant) -> dict[str, str]:
        runtime, dice = self.one(other), self.leaks.dice
        if runtime is None or not runtime.etag or dice.random() < 0.6:
            return {}
        return {dice.choice(["If-Match", "If-None-Match"]): runtime.etag}


def _details(tenant: Tenant, api: str) -> dict[str, Any]:
    """Members of a create in which a tenant's texts are."""
    proxy = {"type": "http", "host": f"{tenant.mark}.example", "port": 8080, "username": tenant.mark}
    if api == "durable":
        config = {**_config(tenant)["config"], "metadata": {"labels": {"of": tenant.mark}}}
        return {"display_name": f"{tenant.mark} shown", "description": tenant.secret, "config": config}
    if api == "bctrl":
        return {"launch": {"mode": "ephemeral", "proxy": {**proxy, "password": tenant.secret}}}
    return {
        "labels": {"of": tenant.mark},
        "launch": {"mode": "ephemeral", "proxy": {**proxy, "password": tenant.secret}},
    }


def _config(tenant: Tenant) -> dict[str, Any]:
    return {"config": {"version": "v2", "runtime_server": {"env": {"TOKEN": tenant.secret, "OF": tenant.mark}}}}
