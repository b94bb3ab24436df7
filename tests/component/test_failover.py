"""Creates that go to another provider: when nothing can have reached the first one, and never else."""

from typing import Any, Final

import pytest

from gateway.testing.tcp_faults import Mode
from tests.component.whole_gateway import APIS, Gateway, Upstream, whole_gateway

SHORT: Final = {"deadlines": {"create": 0.5}, "policies": {"retry": {"tries": 1}}}


async def create(gateway: Gateway, upstream: Upstream, key: str = "k", **fields: Any) -> Any:
    """Ask for the runtime ``box`` of no provider in particular; the answer."""
    body = {"kind": upstream.kind, "name": "box", **fields}
    return await gateway.call("POST", "/v1/runtimes", body, **{"Idempotency-Key": key})


def posts(upstream: Upstream) -> int:
    """How many creates came."""
    return upstream.emulator.requests.per_operation["create"]


async def refuse(upstream: Upstream) -> None:
    """Refuse connections, for real."""
    await upstream.proxy.cut()
    await upstream.proxy.set_mode(Mode.REFUSE)


@pytest.mark.parametrize("api", APIS)
async def test_a_create_goes_to_the_second_provider_when_the_first_refuses_the_connection_and_stays_there(
    api: str,
) -> None:
    async with whole_gateway(api, twice=[api]) as gateway:
        first, second = gateway.upstreams[api], gateway.upstreams[f"{api}-2"]
        await refuse(first)
        answer = await create(gateway, first)
        assert (answer.status, answer.json["provider"]) == (201, second.name), answer.text
        assert answer.json["attempts"] == [{"provider": first.name, "code": "provider_unavailable"}]
        await first.proxy.set_mode(Mode.FORWARD)
        replayed = await create(gateway, first)
        assert (replayed.status, replayed.json) == (201, answer.json)
        assert replayed.headers["Idempotency-Replayed"] == "true"
        named = await create(gateway, first, key="another")
        assert (named.status, named.json["id"], named.json["created"]) == (200, answer.json["id"], False)
        assert (posts(first), len(list(first.emulator.made()))) == (0, 0)
        assert len(list(second.emulator.made())) == 1


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "drop_before"},
        {"fault": "drop_after"},
        {"fault": "hang_after"},
        {"fault": "half_body"},
        {"fault": "html"},
        {"fault": "status", "status": 500},
        {"fault": "status_after", "status": 503},
        {"fault": "status", "status": 402},
        {"fault": "status", "status": 429},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
async def test_a_create_that_reached_the_first_provider_goes_nowhere_else(api: str, fault: dict[str, Any]) -> None:
    async with whole_gateway(api, twice=[api], **{api: SHORT}) as gateway:
        first, second = gateway.upstreams[api], gateway.upstreams[f"{api}-2"]
        first.fault("create", **fault, times=1)
        answers = [await create(gateway, first)]
        await refuse(first)
        answers.append(await create(gateway, first))
        assert {answer.json.get("attempts") for answer in answers} == {None}
        assert posts(second) == 0
        assert posts(first) >= 1


async def test_where_all_refuse_the_problem_names_each() -> None:
    async with whole_gateway("durable", twice=["durable"]) as gateway:
        first, second = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
        await refuse(first)
        await refuse(second)
        answer = await create(gateway, first)
        assert (answer.status, answer.json["code"]) == (503, "provider_unavailable")
        assert [attempt["provider"] for attempt in answer.json["attempts"]] == [first.name, second.name]
        await second.proxy.set_mode(Mode.FORWARD)
        answer = await create(gateway, first)
        assert (answer.status, answer.json["provider"]) == (201, second.name)


async def test_a_provider_that_was_named_is_the_only_one() -> None:
    async with whole_gateway("durable", twice=["durable"]) as gateway:
        first, second = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
        await refuse(first)
        answer = await create(gateway, first, provider=first.name)
        assert (answer.status, answer.json["code"]) == (503, "provider_unavailable")
        assert posts(second) == 0


async def test_a_provider_that_rejects_the_gateways_credentials_is_passed_over() -> None:
    async with whole_gateway("bctrl", twice=["bctrl"]) as gateway:
        first, second = gateway.upstreams["bctrl"], gateway.upstreams["bctrl-2"]
        first.fault("create", fault="status", status=401)
        answer = await create(gateway, first)
        assert (answer.status, answer.json["provider"]) == (201, second.name), answer.text
        assert answer.json["attempts"] == [{"provider": first.name, "code": "provider_credentials_rejected"}]
