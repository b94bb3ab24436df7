"""The durable dialect over providers with scripted answers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from adapters.durable.adapter import DurableAdapter
from adapters.durable.dialect import DurableDialect
from gateway.domain.errors import GatewayError
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectRequest
from gateway.ports.transport import Call, TransportFailure, UpstreamResponse
from gateway.services.dialects import DialectRule, DialectService
from gateway.services.fleet import Fleet
from tests.unit.adapters.durable.fakes import settings
from tests.unit.adapters.fakes import FakeTransport
from tests.unit.services.fakes import FakeClock, services_of


class _Adapter(DurableAdapter):
    """An adapter whose account is known, so that nothing is asked before the first create."""

    async def account(self, call: Call) -> str:  # noqa: ARG002
        return "account-1"


class Asked:
    """A dialect over providers with scripted answers, and a way to ask it."""

    def __init__(self, *answers: UpstreamResponse | TransportFailure, rules: Sequence[DialectRule] = ()) -> None:
        self.transport = FakeTransport(*answers)
        self.adapters = [_Adapter(settings(), self.transport)]
        self.rules = rules
        self.ctx = RequestContext("r", "shop")

    def beside(self, *answers: UpstreamResponse, **options: Any) -> FakeTransport:
        """One more provider."""
        transport = FakeTransport(*answers)
        self.adapters.append(_Adapter(settings(**options), transport))
        return transport

    def dialect(self) -> DurableDialect:
        fleet = Fleet(self.adapters, FakeClock())
        return DurableDialect(DialectService(fleet, services_of(fleet).create, {"durable": self.rules}))

    async def ask(self, method: str, target: str, body: Any = b"") -> DialectAnswer:
        """Call the handler of the route that fits, as the server would."""
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
        """The error that it ends with, having sent nothing."""
        with pytest.raises(GatewayError) as caught:
            await self.ask(method, target, body)
        assert not self.transport.sent
        return caught.value

    @property
    def sent(self) -> list[tuple[str, str, Any]]:
        """Method, path and decoded body of all that was sent."""
        return [
            (request.method, request.path, json.loads(request.body) if request.body else None)
            for request in self.transport.sent
        ]


def _match(template: str, path: str) -> Mapping[str, str] | None:
    wanted, given = template.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    pairs = list(zip(wanted, given, strict=True))
    if any(name != value and not name.startswith("{") for name, value in pairs):
        return None
    return {name.strip("{}"): value for name, value in pairs if name.startswith("{")}


def where(error: GatewayError) -> list[str | None]:
    """The places of an error's faults."""
    return [fault.pointer or fault.parameter for fault in error.errors]
