"""The JSON of bctrl's responses."""

from typing import Any

from adapters.bctrl.adapter import BctrlAdapter
from adapters.bctrl.settings import BctrlSettings
from gateway.ports.transport import TransportFailure, UpstreamResponse
from tests.unit.adapters.fakes import FakeTransport

TOKEN = "bctrl-token-4711"
WORKSPACE = "7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"
UUID = "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"
OTHER = "99999999-2ee2-4e00-89ec-32d5f69181c0"


def row(**members: Any) -> dict[str, Any]:
    """A runtime with the required members only."""
    return {
        "id": UUID,
        "workspaceId": WORKSPACE,
        "alias": "checkout-bot",
        "kind": "browser",
        "status": "active",
        "driver": "playwright",
        "createdAt": "2026-03-01T10:00:00Z",
        "updatedAt": "2026-03-01T10:00:05Z",
        **members,
    }


def settings(**options: Any) -> BctrlSettings:
    """The settings of a pinned provider called ``bc``."""
    known = {"name": "bc", "api": "bctrl", "base_url": "http://bctrl.test", "token": TOKEN, "scope": WORKSPACE}
    return BctrlSettings.model_validate({**known, **options})


def adapter(*answers: UpstreamResponse | TransportFailure, **options: Any) -> tuple[BctrlAdapter, FakeTransport]:
    """An adapter on a transport with the given responses."""
    transport = FakeTransport(*answers)
    return BctrlAdapter(settings(**options), transport), transport
