"""People with tokens at two gateways on PostgreSQL and Redis: the issuer, both stores and a gateway fail in turn."""

from collections import Counter
from functools import partial
from pathlib import Path

from gateway.ports.audit import AuditQuery
from gateway.storage.sql_store import SqlStore
from tests.faults.callers import Response, get, session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import Setup, body, settings_of
from tests.faults.replicas import KEY, Replica, replicas, write_settings
from tests.faults.world import unique_name, world
from tests.issuer import Issuer
from tests.redis_server import RedisServer

TEMPLATE = "a-key-of-the-template-1"


class People:
    """What people do at the gateways. ``acknowledged`` are the ids of requests whose response arrived and which the
    audit trail has to have."""

    def __init__(self, gateways: list[Replica]) -> None:
        self._gateways = gateways
        self.acknowledged: set[str] = set()

    async def me(self, token: str, at: int) -> Response:
        async with session(token) as client:
            return await get(client, str(self._gateways[at].url), "/v1/me")

    async def is_accepted(self, token: str, at: int) -> bool:
        """Whether a gateway accepts a token."""
        return (await self.me(token, at)).status == 200

    async def call(self, token: str, at: int, path: str, sent: object) -> tuple[int, dict[str, object]]:
        """One action."""
        request_id = f"call-{len(self.acknowledged)}"
        url, headers = str(self._gateways[at].url), {"X-Request-ID": request_id}
        async with session(token) as client, client.post(url + path, json=sent, headers=headers) as answer:
            document = await answer.json()
        self.acknowledged.add(request_id)
        return answer.status, document


async def test_issuer_stores_and_a_gateway_are_killed_in_turn(
    postgres_location: StoreLocation, redis: RedisServer, tmp_path: Path
) -> None:
    issuer = Issuer()
    async with (
        issuer.serving(),
        world(tmp_path, postgres_location, deadline=10, setups=[Setup("bctrl_browsers", "browsers", {})]) as w,
    ):
        rights = {"keys": [TEMPLATE], "own_only": True, "limits": {"running": 2, "requests": "10000/hour"}}
        auth = {"keys": {"caller": {"key": KEY}}, "principals": {"shop": rights}, "jwt": [issuer.settings()]}
        upstream = w.providers["browsers"]
        limits = {"storage": redis.url, "timeout": 5}
        settings = write_settings(
            tmp_path, settings_of([upstream]), postgres_location.settings, auth=auth, limits=limits
        )
        async with replicas(settings, 2) as gateways:
            people, token = People(gateways), issuer.token()

            status, made = await people.call(token, 0, "/v1/runtimes", body(upstream, "browser", unique_name()))
            assert status == 201
            stop = f"/v1/runtimes/{made['id']}/stop"

            issuer.down = True
            assert (await people.call(issuer.token(sub="u2"), 1, stop, {}))[0] == 404  # of another person
            assert (await people.call(token, 1, stop, {}))[0] == 200  # the last keys are used
            await gateways[0].kill()
            await gateways[0].start()
            refused = await people.me(token, 0)
            assert (refused.status, refused.code) == (503, "provider_unavailable")
            assert await people.is_accepted(TEMPLATE, 0)  # keys need no issuer

            old, issuer.down = token, False
            issuer.rotate()
            token = issuer.token()
            assert await people.is_accepted(token, 1)  # an unknown key is fetched at once
            assert (await people.me(old, 1)).status == 401
            await gateways[0].kill()
            await gateways[0].start()
            assert await people.is_accepted(token, 0)

            redis.kill()
            assert (await people.call(token, 0, stop, {}))[0] == 200
            redis.start()

            await postgres_location.cut()
            create = body(upstream, "browser", unique_name())
            status, problem = await people.call(token, 0, "/v1/runtimes", create)
            assert (status, problem["code"]) == (503, "store_unavailable")
            assert (await people.me(token, 0)).status == 200  # a token needs no store
            await gateways[1].kill()  # with events that only its journal has
            await postgres_location.restore()
            await gateways[1].start()
            await eventually(partial(people.is_accepted, token, 1), "tokens are accepted again")

            async def is_made() -> bool:
                return (await people.call(token, 1, "/v1/runtimes", create))[0] in {200, 201}

            await eventually(is_made, "the store is used again")

            async def complete() -> bool:
                return people.acknowledged <= set(await recorded(w.store))

            await eventually(complete, "every action is in the audit trail")
            assert set((await recorded(w.store)).values()) == {1}


async def recorded(store: SqlStore) -> Counter[str | None]:
    """How many events each of the actions has."""
    events = await store.audit_events(AuditQuery(limit=100_000))
    return Counter(event.request_id for event in events if (event.request_id or "").startswith("call-"))
