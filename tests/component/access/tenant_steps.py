"""The steps of the two tenants: calls of one of them, and what happens at the gateway and the providers meanwhile."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.domain.ownership import suffix_of
from tests.component.access.tenant_calls import VIEW, Calls
from tests.component.access.tenants import APIS, DIALECTS, ID_MEMBERS, Tenant

_FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"fault": "malformed_json"},
    {"fault": "html"},
    {"fault": "half_body"},
    {"fault": "drop_before"},
    {"fault": "other_answer"},
    *({"fault": "status", "status": status} for status in (400, 401, 403, 404, 409, 422, 429, 500, 503)),
)


class Steps(Calls):
    """Makes steps at random."""

    async def step(self) -> None:
        """One step of one of the tenants."""
        dice = self.leaks.dice
        pair = list(self.tenants)
        dice.shuffle(pair)
        tenant, other = pair
        steps: tuple[tuple[int, Callable[[Tenant, Tenant], Awaitable[None]]], ...] = (
            (5, self.create),
            (2, self.create_in_dialect),
            (5, self.list),
            (3, self.list_in_dialect),
            (6, self.own),
            (8, self.foreign),
            (6, self.foreign_in_dialect),
            (3, self.intents),
            (1, self.audit),
            (2, self.elsewhere),
            (1, self.assign),
            (2, self.fault),
            (1, self.unreadable_row),
        )
        chosen = dice.choices([one for _, one in steps], [weight for weight, _ in steps])[0]
        await chosen(tenant, other)

    async def assign(self, tenant: Tenant, other: Tenant) -> None:
        """An administrator gives a runtime without marks to the other tenant."""
        neutral = [one for one in tenant.runtimes.values() if one.neutral]
        if not neutral:
            return
        runtime = self.leaks.dice.choice(neutral)
        path = f"/v1/runtimes/{VIEW.unseal(runtime.id) if self.leaks.hidden else runtime.id}/owner"
        assigned = await self.gateway.call("PUT", path, {"owner": other.owner})
        if assigned.status == 200:
            other.runtimes[runtime.id] = tenant.runtimes.pop(runtime.id)
            other.had.add(runtime.id)
            # Both know its ids: the earlier owner still has them in its intents and replays.
            # Only the dialect of bctrl shows the ids of its contexts.
            rows = await self.gateway.call("GET", DIALECTS["bctrl"]) if runtime.api == "bctrl" else None
            shown = [row for row in rows.json["runtimes"] if row["id"] == runtime.native_id] if rows else []
            known = ID_MEMBERS.findall(assigned.text + json.dumps(shown))
            self.leaks.common |= {runtime.id, runtime.native_id, *known}

    async def fault(self, tenant: Tenant, other: Tenant) -> None:
        """A call during which a provider fails, with an error that repeats names at the provider."""
        dice, runtime = self.leaks.dice, self.one(tenant)
        if runtime is None:
            return
        rule = dict(dice.choice(_FAULTS))
        if rule["fault"] == "status":
            rule["detail"] = f"{runtime.name}{suffix_of(tenant.owner)} cannot be used: {tenant.secret}"
        operation = dice.choice(["get", "list", "start", "stop", "get_config", "create"])
        upstream = self.gateway.upstreams[runtime.api]
        if operation not in upstream.emulator.operations.values():
            return
        if operation == "create" and rule["fault"] != "status":
            return
        if operation == "get_config" and rule["fault"] == "other_answer":
            return  # nothing in a config says whose it is
        upstream.fault(operation, **rule)
        try:
            if operation == "create":
                await self.create(tenant, other)
            elif operation == "list":
                await self.list(tenant, other)
            else:
                below = {"get": "", "start": "/start", "stop": "/stop", "get_config": "/config"}[operation]
                method = "POST" if operation in {"start", "stop"} else "GET"
                await self.ask(tenant, other, method, f"/v1/runtimes/{runtime.id}{below}")
                if operation == "get":
                    path = f"{DIALECTS[runtime.api]}/{runtime.name if runtime.api == 'bctrl' else runtime.native_id}"
                    await self.ask(tenant, other, "GET", path)
        finally:
            upstream.emulator.faults.end_all()

    async def unreadable_row(self, tenant: Tenant, other: Tenant) -> None:
        """A list with a row of the other that cannot be read."""
        member = {"durable": "items", "bctrl": "runtimes", "bctrl_browsers": "data"}
        api = self.leaks.dice.choice(APIS)
        row = {
            "id": other.secret,
            "key": other.secret,
            "name": f"{other.secret}{suffix_of(other.owner)}",
            "status": [1],
        }
        upstream = self.gateway.upstreams[api]
        body = json.dumps({member[api]: [row, other.secret]})
        upstream.fault("list", fault="status", status=200, body=body, content_type="application/json")
        try:
            for path in (f"/v1/runtimes?provider={upstream.name}", DIALECTS[api], "/v1/runtimes?name=agent"):
                await self.ask(tenant, other, "GET", path)
        finally:
            upstream.emulator.faults.end_all()
