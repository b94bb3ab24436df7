"""The responses of the service, in front of emulators of the provider APIs, conform to its OpenAPI document."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import jsonschema_rs
import pytest

from gateway.api.openapi import openapi_document
from gateway.app import Addresses, create_emulator, plugins, serving
from gateway.demo import demo_settings
from gateway.testing.processes import running

KEY = "a-key-of-a-shop-1234"
TOKEN = "the-token-of-the-emulators"


async def emulators(stack: AsyncExitStack) -> dict[str, dict[str, Any]]:
    """An emulator of each API, and the settings of a provider in front of it."""
    providers = {}
    for api in ("durable", "bctrl"):
        demo = plugins()[api].demo
        url = await stack.enter_async_context(running(create_emulator(api, token=TOKEN)))
        options = {"api": api, "base_url": url + demo.base_path, "token": TOKEN, "scope": demo.scope}
        providers[demo.provider] = {**options, **(demo.options or {})}
    return providers


class Checked:
    """Calls the gateway, and checks every response against the document."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self.seen: set[str] = set()

    async def call(self, method: str, path: str, body: Any = None, query: str = "", **values: str) -> Any:
        """Call the operation at ``path``, a template filled with ``values``; returns the decoded body."""
        document = openapi_document()
        operation = document["paths"][path][method.lower()]
        async with self._session.request(method, self._url + path.format(**values) + query, json=body) as response:
            raw = await response.read()
            described = operation["responses"][str(response.status)]
            if "$ref" in described:
                described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
            for header, reference in described["headers"].items():
                schema = document["components"]["headers"][reference["$ref"].rpartition("/")[2]]["schema"]
                value: Any = response.headers.get(header)
                if value is not None:
                    value = int(value) if schema["type"] == "integer" else value
                    jsonschema_rs.validate(schema, value)
            content = described.get("content")
            assert bool(raw) is bool(content)
            if not content:
                return None
            schema = content[response.headers["Content-Type"].partition(";")[0]].get("schema", {})
            decoded = json.loads(raw)
            jsonschema_rs.validate({**schema, "components": document["components"]}, decoded)
            self.seen.add(f"{operation['operationId']} {response.status}")
            return decoded


def _served(providers: dict[str, dict[str, Any]], stack: AsyncExitStack) -> AbstractAsyncContextManager[Addresses]:
    folder = Path(stack.enter_context(TemporaryDirectory()))
    return serving(demo_settings(providers, port=0, api_key=KEY, folder=folder))


@pytest.fixture
async def gateway() -> AsyncIterator[Checked]:
    async with AsyncExitStack() as stack:
        providers = await emulators(stack)
        served = await stack.enter_async_context(_served(providers, stack))
        headers = {"Authorization": f"Bearer {KEY}"}
        yield Checked(served.api, await stack.enter_async_context(aiohttp.ClientSession(headers=headers)))


async def test_the_life_of_a_durable_runtime(gateway: Checked) -> None:
    create = {"kind": "durable", "name": "agent-1", "labels": {"team": "shop"}, "config": {"version": "v2", "new": 1}}
    made = await gateway.call("POST", "/v1/runtimes", create)
    assert (made["created"], made["warnings"][0]["pointer"]) == (True, "#/config/new")
    assert (await gateway.call("POST", "/v1/runtimes", create))["created"] is False
    runtime = {"id": made["id"]}
    one = "/v1/runtimes/{id}"
    assert (await gateway.call("GET", one, **runtime))["name"] == "agent-1"
    for verb, body in [
        ("start", {"runtime_limit_seconds": 600}),
        ("keepalive", None),
        ("connections", None),
        ("pause", None),
        ("resume", {}),
        ("stop", None),
        ("stop", {"discard_state": True}),
        ("reset", None),
        ("pause", None),
    ]:
        await gateway.call("POST", f"{one}/{verb}", body, **runtime)
    config = await gateway.call("GET", f"{one}/config", **runtime)
    await gateway.call("PUT", f"{one}/config", {"config": config["config"]}, **runtime)
    await gateway.call("PUT", f"{one}/config", {"config": {"version": "v1"}}, **runtime)
    bindings = f"{one}/capabilities"
    binding = await gateway.call("POST", bindings, {"name": "search"}, **runtime)
    for change in ({"enabled": False}, {"flags": {"fast": True, "old": None}}, {}):
        await gateway.call("PATCH", bindings + "/{binding_id}", change, **runtime, binding_id=binding["id"])
    await gateway.call("GET", bindings, **runtime)
    await gateway.call("GET", f"{bindings}/resolved", **runtime)
    for _ in range(2):
        await gateway.call("DELETE", bindings + "/{binding_id}", **runtime, binding_id=binding["id"])
    await gateway.call("DELETE", one, **runtime)
    assert {
        "createRuntime 201",
        "createRuntime 200",
        "startRuntime 200",
        "stopRuntime 409",
        "stopRuntime 200",
        "pauseRuntime 409",
        "replaceRuntimeConfig 422",
        "updateCapability 200",
        "updateCapability 422",
        "deleteRuntime 422",
        "removeCapability 404",
    } <= gateway.seen


async def test_the_life_of_a_browser(gateway: Checked) -> None:
    launch = {"mode": "ephemeral", "humanize": True, "proxy": {"type": "http", "host": "h", "port": 1}}
    made = await gateway.call("POST", "/v1/runtimes", {"kind": "browser", "name": "bot", "launch": launch})
    runtime = {"id": made["id"]}
    await gateway.call("GET", "/v1/runtimes/{id}", **runtime)
    await gateway.call("POST", "/v1/runtimes/{id}/pause", **runtime)
    await gateway.call("GET", "/v1/runtimes/{id}/config", **runtime)
    await gateway.call("POST", "/v1/runtimes/{id}/stop", **runtime)
    assert {"createRuntime 201", "pauseRuntime 422", "getRuntimeConfig 422", "stopRuntime 200"} <= gateway.seen


async def test_lists_providers_and_refusals_conform(gateway: Checked) -> None:
    for name in ("a", "b", "c"):
        await gateway.call("POST", "/v1/runtimes", {"kind": "durable", "name": name})
    await gateway.call("POST", "/v1/runtimes", {"kind": "browser", "name": "d"})
    found, query = set(), "?limit=2"
    while query:
        page = await gateway.call("GET", "/v1/runtimes", query=query)
        found |= {item["name"] for item in page["items"]}
        query = f"?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert {"a", "b", "c", "d"} <= found
    await gateway.call("GET", "/v1/runtimes", query="?limit=0")
    await gateway.call("GET", "/v1/runtimes/{id}", id="nope")
    await gateway.call("GET", "/v1/runtimes/{id}", id="nope.x")
    for provider in (await gateway.call("GET", "/v1/providers"))["items"]:
        await gateway.call("GET", "/v1/providers/{name}", name=provider["name"])
    await gateway.call("GET", "/v1/providers/{name}", name="nope")
    await gateway.call("POST", "/v1/runtimes", {"kind": "durable", "provider": "nope"})
    assert {
        "listRuntimes 200",
        "listRuntimes 400",
        "getRuntime 404",
        "getRuntime 421",
        "getProvider 404",
    } <= gateway.seen


async def test_an_unreachable_provider_is_named_in_a_partial_list_and_fails_a_complete_one() -> None:
    async with AsyncExitStack() as stack:
        providers = await emulators(stack)
        providers["durable-demo"]["base_url"] = "http://127.0.0.1:9"
        served = await stack.enter_async_context(_served(providers, stack))
        session = await stack.enter_async_context(aiohttp.ClientSession(headers={"X-API-Key": KEY}))
        gateway = Checked(served.api, session)
        page = await gateway.call("GET", "/v1/runtimes")
        (failure,) = page["incomplete"]
        assert (failure["provider"], failure["problem"]["code"]) == ("durable-demo", "provider_unavailable")
        whole = await gateway.call("GET", "/v1/runtimes", query="?partial=deny")
        assert (whole["code"], whole["incomplete"][0]["provider"]) == ("provider_unavailable", "durable-demo")
