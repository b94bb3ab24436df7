"""Two tenants that use one gateway at random: no answer to one of them contains anything of the other.

``make tenants N=5000 SEED=7`` makes more steps. A failure prints the seed.
"""

import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.component.access.tenant_steps import Steps
from tests.component.access.tenants import APIS, ID_MEMBERS, Leaks, Tenant, principals
from tests.component.whole_gateway import whole_gateway
from tests.issuer import Issuer

N = int(os.environ.get("TENANTS_N") or 400)
SEED = int(os.environ.get("TENANTS_SEED") or random.randrange(10**6))  # noqa: S311 (test data)
_ACCOUNT = ("user", "org/acme", "org/acme/ws/research", "org/acme/ws/research/projects")
PATIENT = {"policies": {"breaker": {"minimum": 10_000}}}


@asynccontextmanager
async def two_tenants(**limits: Any) -> AsyncIterator[Steps]:
    """A gateway with two tenants: one calls with keys, the other with tokens. ``limits`` replace the rights of their
    principals."""
    issuer = Issuer()
    amber = Tenant("qzamber", ("key-of-amber-0123456", "key-of-amber-6543210"))
    tokens = (issuer.token(sub=f"person-{number}", tenant="qzbirch") for number in range(2))
    birch = Tenant("qzbirch", tuple(tokens), by_token=True)
    settings = {name: {**one, **limits} for name, one in principals((amber, birch)).items()}
    options = dict.fromkeys(APIS, PATIENT)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(issuer.serving())
        jwt = [issuer.settings(template="qzbirch-0", own_group="tenant")]
        started = whole_gateway(*APIS, principals=settings, jwt=jwt, **options)
        gateway = await stack.enter_async_context(started)
        account = [await gateway.call("GET", f"/durable/api/v1/{path}") for path in _ACCOUNT]
        common = frozenset(one for answer in account for one in ID_MEMBERS.findall(answer.text))
        leaks = Leaks(gateway, random.Random(SEED), common)  # noqa: S311
        if limits.get("view") == "public":
            leaks.hidden = (*(one.name for one in gateway.upstreams.values()), "acme/research", '"provider_id":"')
        yield Steps(gateway, leaks, (amber, birch))


def _have(steps: Steps, *what: str) -> bool:
    """Whether one of the tenants has met each of these."""
    return all(any(getattr(tenant, one) for tenant in steps.tenants) for one in what)


async def test_no_answer_to_one_tenant_contains_anything_of_the_other() -> None:
    async with two_tenants() as steps:
        for _ in range(N):
            await steps.step()
    leaks = steps.leaks
    assert leaks.found == [], f"replay: make tenants N={N} SEED={SEED}\n" + "\n".join(leaks.found[:30])
    assert leaks.asked > N
    assert min(leaks.succeeded, leaks.refused) > N // 10
    assert _have(steps, "had", "ids", "cursors", "intents", "events")


async def test_no_answer_with_the_public_view_names_a_provider() -> None:
    async with two_tenants(view="public") as steps:
        for number in range(2 * N):
            if number >= N // 3 and _have(steps, "had", "cursors", "intents"):
                break
            await steps.step()
    leaks = steps.leaks
    assert leaks.found == [], f"replay: make tenants N={N} SEED={SEED}\n" + "\n".join(leaks.found[:30])
    assert min(leaks.succeeded, leaks.refused) > N // 30
    assert _have(steps, "had", "cursors", "intents")


async def test_refusals_of_limits_show_a_tenant_nothing_of_the_other() -> None:
    """They name the runtimes that hold its places; its requests are counted apart from those of the other."""
    async with two_tenants(limits={"requests": "100000/hour", "running": 1, "runtimes": 3}) as steps:
        for _ in range(N // 3):
            await steps.step()
        for tenant, other in (steps.tenants, steps.tenants[::-1]):
            for number in range(4):
                body = {"kind": "durable", "name": f"{tenant.mark}-full-{number}"}
                answer = await steps.leaks.ask(tenant, other, "POST", "/v1/runtimes", body)
            assert (answer.status, answer.json["code"]) == (429, "quota_exceeded"), answer.text
            assert answer.json["held_by"]
    assert steps.leaks.found == [], f"replay: make tenants N={N} SEED={SEED}\n" + "\n".join(steps.leaks.found[:30])


async def test_tenants_of_one_group_are_found_to_see_each_other() -> None:
    async with two_tenants(own_group="both") as steps:
        birch = steps.tenants[1]
        birch.keys = tuple(f"template-of-{birch.mark}-{number}" for number in range(len(birch.keys)))
        for _ in range(60):
            await steps.step()
    assert steps.leaks.found
