"""Failover of creates to another provider: only if nothing can have reached the first one."""

from typing import Any, Final

import pytest

from tests.component.whole_gateway import APIS, Gateway, Upstream, whole_gateway
from tests.tcp_faults import Mode

SHORT: Final = {"deadlines": {"create": 0.5}, "policies": {"retry": {"tries": 1}}}


async def create(gateway: Gateway, upstream: Upstream, key: str = "k", **fields: Any) -> Any:
    """Create the runtime ``box`` without naming a provider. Return the response."""
    body = {"kind": upstream.kind, "name": "box", **fields}
    return await gateway.call("POST", "/v1/runtimes", body, **{"Idempotency-Key": key})


def posts(upstream: Upstream) -> int:
    """The number of creates that the provider received."""
    return upstream.emulator.requests.per_operation["create"]


async def refuse(upstream: Upstream) -> None:
    """Close the provider's connections, and refuse new ones."""
    await upstream.proxy.cut()
    await upstream.proxy.set_mode(Mode.REFUSE)


@pytest.mark.parametrize("api", APIS)
async def test_create_goes_to_the_second_provider_and_stays_there_when_the_first_refuses_the_connection(
    api: str,
) -> None:
    async with whole_gateway(api, twice=[api]) as gateway:
        first, second = gateway.upstreams[api], gateway.upstreams[f"{api}-2"]
        await refuse(first)
        response = await create(gateway, first)
        assert (response.status, response.json["provider"]) == (201, second.name), response.text
        assert response.json["attempts"] == [{"provider": first.name, "code": "provider_unavailable"}]
        await first.proxy.set_mode(Mode.FORWARD)
        replayed = await create(gateway, first)
        assert (replayed.status, replayed.json) == (201, response.json)
        assert replayed.headers["Idempotency-Replayed"] == "true"
        named = await create(gateway, first, key="another")
        assert (named.status, named.json["id"], named.json["created"]) == (200, response.json["id"], False)
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
async def test_create_that_reached_the_first_provider_is_sent_to_no_other(api: str, fault: dict[str, Any]) -> None:
    async with whole_gateway(api, twice=[api], **{api: SHORT}) as gateway:
        first, second = gateway.upstreams[api], gateway.upstreams[f"{api}-2"]
        first.fault("create", **fault, times=1)
        responses = [await create(gateway, first)]
        await refuse(first)
        responses.append(await create(gateway, first))
        assert {response.json.get("attempts") for response in responses} == {None}
        assert posts(second) == 0
        assert posts(first) >= 1


async def test_problem_names_each_provider_when_all_refuse() -> None:
    async with whole_gateway("durable", twice=["durable"]) as gateway:
        first, second = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
        await refuse(first)
        await refuse(second)
        response = await create(gateway, first)
        assert (response.status, response.json["code"]) == (503, "provider_unavailable")
        assert [attempt["provider"] for attempt in response.json["attempts"]] == [first.name, second.name]
        await second.proxy.set_mode(Mode.FORWARD)
        response = await create(gateway, first)
        assert (response.status, response.json["provider"]) == (201, second.name)


async def test_named_provider_is_the_only_one_that_is_tried() -> None:
    async with whole_gateway("durable", twice=["durable"]) as gateway:
        first, second = gateway.upstreams["durable"], gateway.upstreams["durable-2"]
        await refuse(first)
        response = await create(gateway, first, provider=first.name)
        assert (response.status, response.json["code"]) == (503, "provider_unavailable")
        assert posts(second) == 0


async def test_provider_that_rejects_the_gateways_credentials_is_skipped() -> None:
    async with whole_gateway("bctrl", twice=["bctrl"]) as gateway:
        first, second = gateway.upstreams["bctrl"], gateway.upstreams["bctrl-2"]
        first.fault("create", fault="status", status=401)
        response = await create(gateway, first)
        assert (response.status, response.json["provider"]) == (201, second.name), response.text
        assert response.json["attempts"] == [{"provider": first.name, "code": "provider_credentials_rejected"}]
