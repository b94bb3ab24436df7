"""Every scope calls every route of every surface, about its own runtime, another owner's, an absent one, and one of a
provider that it may not use. The expected outcomes are the rows from which the table in docs/access.md is written."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.api.openapi import ROUTES
from gateway.api.site import PROBE_ROUTES
from gateway.app import plugins
from gateway.domain.values import Permission
from tests.access_table import AccessRow, Reach, access_table
from tests.component.access.matrix_calls import (
    ADMINISTERED,
    APIS,
    FORWARD,
    MAKER,
    OTHER,
    Thing,
    apis_of,
    body_of,
    call,
    key_of,
    make,
    make_principal,
    paths,
    principals,
)
from tests.component.whole_gateway import KEY, Gateway, Response, whole_gateway

AT_ONCE = 24
ROWS = list(access_table(plugins()))
_IDS = re.compile(r'"(instance|requestId|request_id)": ?"[^"]*"')


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    # The listener of the test is a loopback one, whose metrics need no key.
    monkeypatch.setattr("gateway.api.application.OPEN_PROBE_ROUTES", PROBE_ROUTES)
    known = {api: plugins()[api].demo.provider for api in APIS}
    async with whole_gateway(*APIS, principals=principals(known), forward=FORWARD) as started:
        yield started


def told(answer: Response, thing: Thing) -> tuple[int, str, list[tuple[str, str]]]:
    """The answer without what identifies its request and the address that was sent."""
    text = _IDS.sub("", answer.text)
    for mark in sorted(thing.marks(), key=len, reverse=True):
        text = text.replace(mark, "…")
    ignored = {"Date", "X-Request-ID", "Content-Length"}
    return answer.status, text, sorted((n, v) for n, v in answer.headers.items() if n not in ignored)


def permits(row: AccessRow, permission: Permission) -> bool:
    return row.permission is None or permission in {row.permission, Permission.ADMIN}


@dataclass
class Matrix:
    """Makes the calls, and collects those whose outcome is not that of the table."""

    gateway: Gateway
    theirs: dict[str, Thing]
    calls: int = 0
    wrong: list[str] = field(default_factory=list)

    async def ask(self, row: AccessRow, key: str | None, path: str, thing: Thing) -> Response:
        self.calls += 1
        method = "GET" if row.method == "any method" else row.method
        return await call(self.gateway, key, method, path, body_of(row, thing))

    def expect(self, right: bool, row: AccessRow, what: str, *answers: Response) -> None:
        if not right:
            found = [(answer.status, answer.text[:300]) for answer in answers]
            self.wrong.append(f"{row.call}: {what}: {found}")

    async def run(self, row: AccessRow, permission: Permission) -> None:
        if not row.secured:
            (path,) = paths(row, self.theirs["durable"])
            for key in (None, key_of(permission)):
                answer = await self.ask(row, key, path, self.theirs["durable"])
                self.expect(answer.status == 200, row, f"{permission}, no key needed", answer)
        elif not permits(row, permission):
            await self.refused(row, permission)
        else:
            for api in apis_of(row):
                await self.foreign(row, permission, self.theirs[api])
                await self.outside(row, permission, self.theirs[api])
            await self.own(row, permission)

    async def refused(self, row: AccessRow, permission: Permission) -> None:
        """A scope that the table does not name: 403 that names the needed one, whatever the call is about."""
        api = apis_of(row)[0]
        thing = self.theirs[api]
        for about, key in ((thing, key_of(permission)), (thing.absent(), key_of(permission, api))):
            answer = await self.ask(row, key, next(paths(row, about)), about)
            named = str(row.permission) in answer.text
            self.expect(answer.status == 403 and named, row, f"{permission} is not enough", answer)

    async def foreign(self, row: AccessRow, permission: Permission, thing: Thing) -> None:
        """The call about a runtime of another owner."""
        key, absent = key_of(permission), thing.absent()
        if row.path.startswith(ADMINISTERED):
            thing = await make_principal(self.gateway, thing)
        if row.foreign is Reach.OWN:  # afterwards this name is also one of the caller's own
            thing = await make(self.gateway, OTHER, thing.api)
        for path, other in zip(paths(row, thing), paths(row, absent), strict=True):
            answer = await self.ask(row, key, path, thing)
            what = f"{permission}, {thing.api} of another owner"
            if row.foreign is Reach.ABSENT:
                missing = await self.ask(row, key, other, absent)
                same = told(answer, thing) == told(missing, absent)
                self.expect(same and _absent(answer), row, what, answer, missing)
            elif row.foreign is Reach.DENIED:
                self.expect(answer.status == 403, row, what, answer)
            elif row.foreign is Reach.OWN:
                own = answer.status in {200, 201, 409} and thing.native_id not in answer.text
                self.expect(own, row, what, answer)
            else:
                seen = row.foreign is Reach.LEFT_OUT and any(mark in answer.text for mark in _ids(thing))
                # (A move that is being planned cannot be applied yet, for example.)
                done = answer.status < 300 or (answer.status == 409 and row.path.startswith("/v1/moves/{id}/"))
                self.expect(done and not seen, row, what, answer)

    async def outside(self, row: AccessRow, permission: Permission, thing: Thing) -> None:
        """The call about a runtime of a provider that the caller may not use."""
        key, absent = key_of(permission, thing.api), thing.absent()
        if row.path.startswith(ADMINISTERED):
            return
        for path, other in zip(paths(row, thing), paths(row, absent), strict=True):
            answer = await self.ask(row, key, path, thing)
            what = f"{permission}, {thing.api} outside of the restrictions"
            if row.outside is Reach.ABSENT:
                missing = await self.ask(row, key, other, absent)
                same = told(answer, thing) == told(missing, absent)
                self.expect(same and answer.status == 404, row, what, answer, missing)
            elif row.outside is Reach.DENIED:
                self.expect(answer.status == 403, row, what, answer)
            else:
                marks = (*_ids(thing), f'"{thing.provider}"')
                seen = row.outside is Reach.LEFT_OUT and any(mark in answer.text for mark in marks)
                self.expect(answer.status < 300 and not seen, row, what, answer)

    async def own(self, row: AccessRow, permission: Permission) -> None:
        """The call about a runtime that the maker made for this call alone."""
        for api in apis_of(row):
            thing = await make(self.gateway, MAKER, api)
            if row.path.startswith(ADMINISTERED):
                thing = await make_principal(self.gateway, thing)
            key = key_of(permission)
            if row.path.startswith("/v1/intents/"):  # intents are their principal's; only an admin can settle one
                key = KEY if row.permission is Permission.ADMIN else MAKER
            answer = await self.ask(row, key, next(paths(row, thing)), thing)
            if row.foreign is Reach.DENIED:
                self.expect(answer.status == 403, row, f"{permission}, own {api}", answer)
            else:
                forwarded = answer.status == 404 and "Proxy-Status" in answer.headers  # the emulator has no such path
                done = answer.status < 300 or answer.status == 409 or _unsupported(answer) or forwarded
                self.expect(done, row, f"{permission}, own {api}", answer)


def _ids(thing: Thing) -> Sequence[str]:
    return (thing.id, thing.native_id, thing.name, thing.intent)


def _unsupported(answer: Response) -> bool:
    return answer.status == 422 and answer.json.get("code") == "unsupported_feature"


def _absent(answer: Response) -> bool:
    return answer.status == 404 or _unsupported(answer)


def cells() -> Iterator[tuple[AccessRow, Permission]]:
    for row in ROWS:
        for permission in Permission:
            yield row, permission


async def snapshot(gateway: Gateway, theirs: dict[str, Thing]) -> list[Any]:
    """What calls could have changed."""
    read = [(await gateway.call("GET", f"/v1/runtimes/{thing.id}")).json for thing in theirs.values()]
    path = f"/v1/runtimes/{theirs['durable'].id}"
    more = [(await gateway.call("GET", path + below)).text for below in ("/config", "/capabilities")]
    return [*more, *((one["id"], one["name"], one["state"], one["owner"]) for one in read)]


async def test_no_scope_reaches_more_than_the_table_says(gateway: Gateway) -> None:
    theirs = {api: await make(gateway, OTHER, api) for api in APIS}
    before = await snapshot(gateway, theirs)
    matrix, free = Matrix(gateway, theirs), asyncio.Semaphore(AT_ONCE)

    async def run(row: AccessRow, permission: Permission) -> None:
        async with free:
            await matrix.run(row, permission)

    await asyncio.gather(*(run(row, permission) for row, permission in cells()))
    assert matrix.wrong == [], "\n".join(matrix.wrong)
    assert matrix.calls > 8 * len(ROWS)
    assert await snapshot(gateway, theirs) == before


def test_new_route_without_a_rule_or_a_body_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    thing = Thing("durable", "durable-demo", "id", "native", "name", "intent")
    with pytest.raises(LookupError, match="POST /v1/new"):
        body_of(AccessRow("POST", "/v1/new", None, Reach.NONE, Reach.NONE, "new"), thing)
    new = replace(ROUTES[0], path="/v1/new")
    monkeypatch.setattr("tests.access_table.ROUTES", (*ROUTES, new))
    with pytest.raises(LookupError, match="POST /v1/new"):
        list(access_table(plugins()))


async def test_call_without_a_key_is_refused_on_every_surface(gateway: Gateway) -> None:
    thing = await make(gateway, OTHER, "durable")
    for row in ROWS:
        if row.secured:
            path = gateway.url + next(paths(row, thing))
            async with gateway.client.get(path, headers={"Authorization": ""}) as response:
                assert response.status in {401, 405}, row.call
                assert response.status == 401 or row.method != "GET"
