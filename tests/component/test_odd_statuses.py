"""A status that HTTP does not have, in any response of a provider: a bad response, and for a create an unknown outcome.

See docs/promises.md#p10 and docs/fault-cases.md#fault-0.
"""

import asyncio
import json

import pytest

from tests.component.test_deep_answers import ONE, ROWS
from tests.component.test_unreadable_rows import APIS, DIALECT, MEMBER
from tests.component.whole_gateway import whole_gateway
from tests.scripted_server import Reply, ScriptedServer

ENOUGH = 200  # replies


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("status", [0, 99, 600, 700, 999])
async def test_status_outside_of_http_is_a_bad_response(status: int, api: str) -> None:
    """The body is that of a success, so that nothing but the status is wrong."""
    for body in (ROWS[api], {MEMBER[api]: [ROWS[api]]}):
        raw = json.dumps(body).encode()
        odd = Reply(b"HTTP/1.1 %03d OK\r\nContent-Length: %d\r\n\r\n%s" % (status, len(raw), raw))
        async with (
            ScriptedServer([odd] * ENOUGH) as provider,
            whole_gateway(api, **{api: {"base_url": provider.url}}) as gateway,
        ):
            upstream = gateway.upstreams[api]
            read = await gateway.call("GET", f"/v1/runtimes/{ONE[api]}")
            assert (read.status, read.json["code"]) == (502, "provider_bad_response")
            listed = await gateway.call("GET", "/v1/runtimes")
            (missing,) = listed.json["incomplete"]
            assert (listed.status, missing["problem"]["code"]) == (503, "provider_bad_response")
            scope = (await gateway.call("GET", "/v1/providers")).json["items"][0]["scope"]
            assert (await gateway.call("GET", DIALECT[api].format(scope=scope))).status == 502
            native = await gateway.call("GET", f"/native/{upstream.name}/any")
            assert (native.status, native.json["code"]) == (502, "provider_bad_response")
            assert f"The status {status} is not one of HTTP." in native.json["detail"]
            made = await gateway.call("POST", "/v1/runtimes", {"kind": upstream.kind, "name": "checkout-bot"})
            assert made.json["code"] in {"outcome_unknown", "provider_bad_response"}
            creates = [received for received in provider.received if received.method == "POST"]
            assert bool(creates) == (made.json["code"] == "outcome_unknown"), "sent, so it may have been made"


async def test_native_write_that_gets_an_odd_status_has_an_unknown_outcome() -> None:
    odd = Reply(b"HTTP/1.1 777 OK\r\nContent-Length: 2\r\n\r\n{}")
    async with ScriptedServer([odd] * ENOUGH) as provider:
        options = {"base_url": provider.url, "native": {"allow": ["* /**"]}}
        async with whole_gateway("durable", durable=options) as gateway:
            response = await gateway.call("POST", "/native/durable-demo/any", {})
            assert (response.status, response.json["code"]) == (504, "outcome_unknown")
            assert len(provider.received) == 1
            await asyncio.wait_for(provider.until_ended(0), 30)
