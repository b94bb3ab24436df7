"""The providers as callers see them."""

import os
import socket
from datetime import UTC, datetime
from typing import Literal

from gateway.domain.errors import NotFound
from gateway.domain.operations import Operation
from gateway.domain.runtime import Model
from gateway.services.fleet import Fleet, Provider


class HealthView(Model, frozen=True, kw_only=True):
    """What one gateway process last saw of a provider; null where it has seen nothing yet. Times are RFC 3339."""

    status: Literal["unknown", "ok", "failing"]
    last_success_at: str | None = None
    last_failure_at: str | None = None
    last_failure_code: str | None = None
    credentials_ok: bool | None = None


class ProviderView(Model, frozen=True, kw_only=True):
    """One provider. ``scope`` null: it is open, and callers name the scope. ``deadlines``: seconds per operation."""

    object: Literal["provider"] = "provider"
    name: str
    api: str
    kinds: list[str]
    scope: str | None
    features: list[str]
    order: int
    weight: int
    deadlines: dict[str, float]
    max_connections: int
    health: HealthView
    observed_by: str


class ProviderList(Model, frozen=True, kw_only=True):
    """All providers, in the order of the settings."""

    object: Literal["list"] = "list"
    items: list[ProviderView]


class ProviderService:
    """Describes the providers."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._observer = f"{socket.gethostname()}:{os.getpid()}"

    def all(self) -> ProviderList:
        """Every provider."""
        return ProviderList(items=[self._view(provider) for provider in self._fleet])

    def one(self, name: str) -> ProviderView:
        """One provider. Raises :class:`NotFound`."""
        provider = self._fleet.get(name)
        if provider is None:
            raise NotFound(f"This gateway has no provider of this name; it has: {self._fleet.names}.")
        return self._view(provider)

    def _view(self, provider: Provider) -> ProviderView:
        settings = provider.adapter.settings
        health = provider.health
        return ProviderView(
            name=provider.name,
            api=provider.adapter.api,
            kinds=sorted(provider.adapter.kinds),
            scope=provider.pinned_scope,
            features=sorted(provider.adapter.features),
            order=settings.order,
            weight=settings.weight,
            deadlines={operation.value: settings.deadline(operation) for operation in Operation},
            max_connections=settings.max_connections,
            health=HealthView(
                status=_status(health.last_success, health.last_failure),
                last_success_at=_time(health.last_success),
                last_failure_at=_time(health.last_failure),
                last_failure_code=health.last_failure_code,
                credentials_ok=health.credentials_ok,
            ),
            observed_by=self._observer,
        )


def _status(success: float | None, failure: float | None) -> Literal["unknown", "ok", "failing"]:
    if success is None and failure is None:
        return "unknown"
    return "failing" if failure is not None and failure >= (success or 0) else "ok"


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
