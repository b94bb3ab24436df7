"""Responses of the durable API, and adapters over scripted transports."""

from typing import Any

from adapters.durable.adapter import DurableAdapter
from adapters.durable.settings import DurableSettings
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import CreateDurable
from gateway.domain.validation import validate
from gateway.ports.transport import TransportFailure, UpstreamResponse
from tests.unit.adapters.fakes import FakeTransport, answer

TOKEN = "dn_key_4711"
SCOPE = "acme/research"
W = "/api/v1/org/acme/ws/research/runtimes"
UUID = "2489e9ad-2ee2-4e00-8ec9-32d5f69181c0"
OTHER = "99999999-2ee2-4e00-8ec9-32d5f69181c0"
PROJECT = "5d2f1f6e-0c53-4a6e-9f0b-6d1b1c3a7e55"
REF = RuntimeRef(SCOPE, UUID)


def failure(status: int, kind: str | None = None, *, code: int | None = None, **members: Any) -> UpstreamResponse:
    """An error response in the provider's own envelope."""
    body = {"code": code or status, "detail": "the provider's words", **members}
    return answer(status, body if kind is None else {**body, "type": kind})


def instance(**members: Any) -> dict[str, Any]:
    """A running instance."""
    return {
        "sandbox_id": OTHER,
        "provider": "e2b",
        "provider_sandbox_id": "i0123",
        "sandbox_url": "https://sandbox.test",
        "state": "running",
        "created_at": "2026-03-01T10:00:00Z",
        "expires_at": "2026-03-01T11:00:00Z",
        "pause_reason": None,
        "billed_credits": 3,
        "running_credits": 4,
        "estimated_total_credits": 7,
        "total_runtime_seconds": 60,
        "actual_runtime_limit_seconds": 3600,
        "supports_pause": True,
        **members,
    }


def row(**members: Any) -> dict[str, Any]:
    """An idle runtime as a current platform returns it."""
    return {
        "id": UUID,
        "key": "agent",
        "name": "Agent",
        "description": None,
        "status": "idle",
        "instance": None,
        "project_id": PROJECT,
        "project_key": "shop",
        "project_name": "Shop",
        "config_version": "v2",
        "config_digest": "d1",
        "created_at": "2026-03-01T09:00:00Z",
        "updated_at": "2026-03-01T09:00:05Z",
        "created_by": OTHER,
        "owned_by_me": True,
        **members,
    }


def page(*items: dict[str, Any], cursor: str | None = None) -> UpstreamResponse:
    """A page of runtimes."""
    return answer(200, {"items": list(items), "next_cursor": cursor})


def create(**fields: Any) -> CreateDurable:
    """A parsed create of the name ``agent``."""
    return validate(CreateDurable, {"kind": "durable", "name": "agent", **fields})


def settings(**options: Any) -> DurableSettings:
    """The settings of a pinned provider named ``dn``."""
    defaults = {"name": "dn", "api": "durable", "base_url": "http://dn.test", "token": TOKEN, "scope": SCOPE}
    return DurableSettings.model_validate({**defaults, **options})


def adapter(*answers: UpstreamResponse | TransportFailure, **options: Any) -> tuple[DurableAdapter, FakeTransport]:
    """An adapter over a transport with these scripted responses."""
    transport = FakeTransport(*answers)
    return DurableAdapter(settings(**options), transport), transport
