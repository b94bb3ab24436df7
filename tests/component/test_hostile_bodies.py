"""A large body with many faults gets a small response, whatever route it is sent to."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from pydantic import ValidationError

from gateway.api.access_routes import ACCESS_ROUTES
from gateway.api.routes import V1_ROUTES
from gateway.app import plugins
from gateway.domain import validation
from gateway.http.bodies import MAX_VALUES
from tests.component.whole_gateway import whole_gateway

SIZE: Final = 1 << 20
LARGEST_RESPONSE: Final = 64 << 10
MISSING: Final = "00000000-0000-4000-8000-000000000000"


def filled(start: str, entry: str, end: str, most: int = SIZE) -> bytes:
    """A body of 1 MiB at most: ``entry``, with ``%d`` replaced by its number, up to ``most`` times."""
    entries: list[str] = []
    size = len(start) + len(end)
    while len(entries) < most and size + len(entry) + 8 < SIZE:
        entries.append(entry.replace("%d", str(len(entries))))
        size += len(entries[-1]) + 1
    return (start + ",".join(entries) + end).encode()


LONG: Final = "x" * 1000
CREATE: Final = '{"kind": "browser", "alias": "a", "type": "browser", "launch": {"mode": "ephemeral", '
BODIES: Final = {
    "a list of wrong items": filled(CREATE + '"extension_ids": [', "1", "]}}"),
    "a list of wrong items in camel case": filled(CREATE + '"extensionIds": [', "1", "]}}"),
    "a list of secrets": filled('{"secret_ids": [', "1", "]}"),
    "a list below the bound": filled('{"secret_ids": [', "1", "]}", 900),
    "unknown members": filled('{"kind": "durable",', '"m%d": 1', "}"),
    "fewer unknown members with long names": filled('{"kind": "durable",', f'"m%d{LONG}": 1', "}", 990),
    "names of control characters": filled('{"kind": "durable",', '"m%d' + "\\u0001" * 160 + '": 1', "}", 990),
    "one name": filled('{"kind": "browser",', '"' + "n" * (SIZE - 100) + '": 1', "}"),
    "options": filled('{"kind": "browser", "provider_options": {', f'"o%d{LONG}": 1', "}}", 990),
    "a config's list": filled('{"kind": "durable", "config": {"capabilities": [', "1", "]}}"),
    "a config's list below the bound": filled('{"kind": "durable", "config": {"capabilities": [', "{}", "]}}", 4900),
    "a config's environment": filled('{"config": {"runtime_server": {"env": {', '"e%d": 1', "}}}}"),
    "flags": filled('{"flags": {', '"f%d": 1', "}}", 990),
    "a long kind": b'{"kind": "' + b"k" * (SIZE - 20) + b'"}',
    "a list": filled("[", "1", "]"),
}


def routes_with_a_body() -> Iterator[tuple[str, str]]:
    paths = [(route.method, route.path) for route in (*V1_ROUTES, *ACCESS_ROUTES)]
    for plugin in plugins().values():
        if plugin.dialect is not None:
            prefix = plugin.dialect.prefix
            paths += [(route.method, f"/{prefix}{route.path}") for route in plugin.dialect.routes]
    for method, path in dict.fromkeys(paths):
        if method in {"POST", "PUT", "PATCH"}:
            yield method, re.sub(r"\{\w+(?::[^}]*)?\}", MISSING, path)


@pytest.mark.parametrize("kind", BODIES)
async def test_a_hostile_body_gets_a_response_below_64_kib(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    original = validation.field_errors

    def counting(exc: ValidationError, at: Any = ()) -> Any:
        found.append(exc.error_count())
        return original(exc, at)

    monkeypatch.setattr(validation, "field_errors", counting)
    body = BODIES[kind]
    assert len(body) <= SIZE
    routes = list(routes_with_a_body())
    assert len(routes) > 20
    async with whole_gateway("durable", "bctrl", "bctrl_browsers") as gateway:
        headers = {"Content-Type": "application/json"}
        for method, path in routes:
            async with gateway.client.request(method, gateway.url + path, data=body, headers=headers) as response:
                text = await response.read()
                assert 400 <= response.status < 500, (method, path, text[:500])
                assert len(text) < LARGEST_RESPONSE, (method, path)
    assert max(found, default=0) <= MAX_VALUES
    assert sum(size > 1000 for size in found) <= len(routes)


async def test_the_list_beyond_the_bound_is_named() -> None:
    async with whole_gateway("bctrl") as gateway:
        ids = [1] * 1001
        body = {"kind": "browser", "name": "a", "launch": {"mode": "ephemeral", "extension_ids": ids}}
        refused = await gateway.call("POST", "/v1/runtimes", body)
        assert (refused.status, refused.json["code"]) == (422, "validation_failed")
        assert [fault["pointer"] for fault in refused.json["errors"]] == ["#/launch/extension_ids"]
        ids.pop()
        refused = await gateway.call("POST", "/v1/runtimes", body)
        assert len(refused.json["errors"]) == 100
        assert refused.json["errors"][-1]["detail"] == "901 more faults are not listed."
