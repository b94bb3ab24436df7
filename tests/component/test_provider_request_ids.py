"""A provider's ``X-Request-ID`` in problems and logs: without the secrets that it may echo, and not of any length.

See docs/promises.md#p6.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from gateway.ports.redaction import MAX_REQUEST_ID
from gateway.testing.processes import running
from tests.component.test_deep_answers import ONE
from tests.component.test_unreadable_rows import APIS
from tests.component.whole_gateway import Gateway, whole_gateway

ENV_VALUE = "hunter2-of-the-caller"
ENVELOPE = {"code": 404, "detail": "no", "type": "not_found_error", "error": "no", "message": "no"}


def logged_ids(gateway: Gateway, event: str) -> list[Any]:
    lines = map(json.loads, gateway.log.getvalue().splitlines())
    return [line["provider_request_id"] for line in lines if line["event"] == event and "provider_request_id" in line]


async def calls(api: str, request_id: str, secrets: Sequence[str]) -> None:
    """Read a runtime, create one, and pass a request through, at a provider that refuses everything with this request
    id. No secret may be in a response or in the log."""

    async def refuse(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(ENVELOPE, status=404, headers={"X-Request-ID": request_id})

    provider = web.Application()
    provider.router.add_route("*", "/{path:.*}", refuse)
    async with running(provider) as url, whole_gateway(api, **{api: {"base_url": url}}) as gateway:
        upstream = gateway.upstreams[api]
        responses = [
            await gateway.call("GET", f"/v1/runtimes/{ONE[api]}"),
            await gateway.call("POST", "/v1/runtimes", {"kind": upstream.kind, "name": "agent"}),
            await gateway.call("GET", f"/native/{upstream.name}/any"),
        ]
        assert all(response.status in {404, 502} for response in responses)
        everything = gateway.log.getvalue() + "".join(str(r.headers) + r.text for r in responses)
        assert [secret for secret in secrets if secret in everything] == []
        ids = {*logged_ids(gateway, "upstream"), *logged_ids(gateway, "request")}
        ids |= {response.json["provider_request_id"] for response in responses[:2]}
        assert len(ids) <= 2, ids
        expected = None if len(request_id) > MAX_REQUEST_ID else request_id
        for secret in secrets:
            expected = None if expected is None else expected.replace(secret, "[redacted]")
        assert expected in ids


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("form", ["TOKEN", "Bearer TOKEN", "a-TOKEN-b-TOKEN"])
async def test_token_of_the_provider_in_its_request_id_is_removed(form: str, api: str) -> None:
    token = f"token-of-{api}-4711"
    await calls(api, form.replace("TOKEN", token), [token])


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("length", [1, MAX_REQUEST_ID, MAX_REQUEST_ID + 1, 5000])
async def test_request_id_of_the_provider_is_shown_up_to_its_maximum_length(length: int, api: str) -> None:
    await calls(api, "r" * length, [] if length <= MAX_REQUEST_ID else ["r" * MAX_REQUEST_ID])


async def test_secret_of_a_create_in_the_request_id_is_removed() -> None:
    async def refuse(request: web.Request) -> web.Response:
        echoed = ENV_VALUE if ENV_VALUE in await request.text() else "nothing"
        status = 422 if request.method == "POST" else 404
        return web.json_response(ENVELOPE, status=status, headers={"X-Request-ID": f"id-{echoed}"})

    provider = web.Application()
    provider.router.add_route("*", "/{path:.*}", refuse)
    async with running(provider) as url, whole_gateway("durable", durable={"base_url": url}) as gateway:
        config = {"version": "v2", "runtime_server": {"env": {"PASSWORD": ENV_VALUE}}}
        made = await gateway.call("POST", "/v1/runtimes", {"kind": "durable", "name": "agent", "config": config})
        assert made.json["provider_request_id"] == "id-[redacted]", made.text
        assert "id-[redacted]" in logged_ids(gateway, "upstream")
        assert ENV_VALUE not in gateway.log.getvalue() + made.text
