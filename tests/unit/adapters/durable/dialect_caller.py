"""Calls the durable dialect over providers with scripted responses."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from adapters.durable.adapter import DurableAdapter
from adapters.durable.dialect import DurableDialect
from gateway.domain.access import Principal
from gateway.domain.errors import GatewayError
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectRequest
from gateway.ports.transport import Call, TransportFailure, UpstreamResponse
from gateway.services.dialects import DialectRule, DialectService
from gateway.services.fleet import Fleet
from tests.unit.adapters.durable.fakes import settings
from tests.unit.adapters.fakes import FakeTransport
from tests.unit.services.fakes import FakeClock, keyring, services_of


class _Adapter(DurableAdapter):
    """An adapter with a fixed account, so that a create sends no request to read it."""

    async def account(self, call: Call) -> str:  # noqa: ARG002
        return "account-1"


class DialectCaller:
    """Calls the dialect's handlers. The first provider is pinned to ``acme/research``."""

    def __init__(self, *answers: UpstreamResponse | TransportFailure, rules: Sequence[DialectRule] = ()) -> None:
        self.transport = FakeTransport(*answers)
        self.adapters = [_Adapter(settings(), self.transport)]
        self.rules = rules
        self.ctx = RequestContext("r", Principal("shop"))

    def add_provider(self, *answers: UpstreamResponse, **options: Any) -> FakeTransport:
        """Add a provider with scripted responses; returns its transport."""
        transport = FakeTransport(*answers)
        self.adapters.append(_Adapter(settings(**options), transport))
        return transport

    def dialect(self) -> DurableDialect:
        fleet = Fleet(self.adapters, FakeClock())
        return DurableDialect(DialectService(fleet, services_of(fleet).create, {"durable": self.rules}, keyring()))

    async def call(self, method: str, target: str, body: Any = b"") -> DialectAnswer:
        """Call the handler of the matching route, as the server does."""
        dialect, parts = self.dialect(), urlsplit(target)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        for route in dialect.routes:
            parameters = _match(route.path, parts.path)
            if route.method == method and parameters is not None:
                query = parse_qsl(parts.query, keep_blank_values=True)
                request = DialectRequest(method, parts.path, parameters, query, {}, raw)
                return await route.handler(dialect, request, self.ctx)
        raise AssertionError(f"no route for {method} {target}")

    async def refused(self, method: str, target: str, body: Any = b"") -> GatewayError:
        """The error of a call that must send nothing to the first provider."""
        with pytest.raises(GatewayError) as caught:
            await self.call(method, target, body)
        assert not self.transport.sent
        return caught.value

    @property
    def sent(self) -> list[tuple[str, str, Any]]:
        """Method, path and decoded body of every request sent to the first provider."""
        return [
            (request.method, request.path, json.loads(request.body) if request.body else None)
            for request in self.transport.sent
        ]


def _match(template: str, path: str) -> Mapping[str, str] | None:
    names, values = template.split("/"), path.split("/")
    if len(names) != len(values):
        return None
    pairs = list(zip(names, values, strict=True))
    if any(name != value and not name.startswith("{") for name, value in pairs):
        return None
    return {name.strip("{}"): value for name, value in pairs if name.startswith("{")}


def locations(error: GatewayError) -> list[str | None]:
    """The pointers or parameters of an error's fields."""
    return [fault.pointer or fault.parameter for fault in error.errors]
