"""The providers, as the API shows them."""

import os
import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import msgspec

from gateway.domain.errors import NotFound
from gateway.domain.runtime import Model
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.transport import WorkStatus
from gateway.services.fleet import Fleet, Health, Provider
from gateway.services.provider_history import ProviderHistory, ProviderHistoryView


class HealthView(Model, frozen=True, kw_only=True):
    """The health of a provider, as one gateway process last observed it; null where nothing was observed yet. Times are
    RFC 3339. ``observation``: whether the last observation was a probe (``active``) or a request (``passive``)."""

    status: Literal["unknown", "ok", "failing"]
    last_success_at: str | None = None
    last_failure_at: str | None = None
    last_failure_code: str | None = None
    credentials_ok: bool | None = None
    observation: Literal["active", "passive"] | None = None


class PolicyView(Model, frozen=True, kw_only=True):
    """The load of one class of work at a provider in one gateway process: calls in flight and waiting, each with its
    limit, and the breaker. ``retry_after``: in how many seconds it admits a call; null where it does now."""

    in_flight: int
    max_in_flight: int | None
    waiting: int
    max_waiting: int | None
    breaker: Literal["closed", "open", "half_open"]
    retry_after: float | None


class ProviderView(Model, frozen=True, kw_only=True):
    """One provider. ``kinds`` are the kinds of runtimes that it lists, ``creates`` those that can be created there.
    ``scope`` null: the provider is open, and callers name the scope. ``deadlines``: seconds by operation.
    ``policies``: the load by class of work (``read``, ``create``, ``start``, ``release``)."""

    object: Literal["provider"] = "provider"
    name: str
    api: str
    kinds: list[str]
    creates: list[str]
    scope: str | None
    features: list[str]
    order: int
    weight: int
    deadlines: dict[str, float]
    policies: dict[str, PolicyView]
    health: HealthView
    observed_by: str


class ProviderList(Model, frozen=True, kw_only=True):
    """All providers, in the order of the settings."""

    object: Literal["list"] = "list"
    items: list[ProviderView]


class ProviderService:
    def __init__(self, fleet: Fleet, history: ProviderHistory | None = None) -> None:
        """``history`` None: nothing is kept of the last hour."""
        self._fleet = fleet
        self._history = history
        self._observer = f"{socket.gethostname()}:{os.getpid()}"

    def all(self, ctx: RequestContext) -> ProviderList:
        """The providers that the caller may use, in the order of the settings."""
        ctx.principal.require_full_view()
        return ProviderList(items=[self._view(provider) for provider in self._fleet.visible(ctx)])

    def one(self, name: str, ctx: RequestContext) -> ProviderView:
        """One provider. Raises :class:`NotFound` for a name that is unknown, or that the caller may not use."""
        return self._view(self._named(name, ctx))

    def history(self, name: str, ctx: RequestContext) -> ProviderHistoryView:
        """The last hour of one provider. Raises as :meth:`one`."""
        provider = self._named(name, ctx)
        minutes = [] if self._history is None else self._history.of(provider)
        return ProviderHistoryView(provider=provider.name, items=minutes, observed_by=self._observer)

    def _named(self, name: str, ctx: RequestContext) -> Provider:
        ctx.principal.require_full_view()
        for provider in self._fleet.visible(ctx):
            if provider.name == name:
                return provider
        raise NotFound(f"This gateway has no provider of this name; it has: {self._fleet.names(ctx)}.")

    def _view(self, provider: Provider) -> ProviderView:
        settings = provider.adapter.settings
        health = provider.health
        return ProviderView(
            name=provider.name,
            api=provider.adapter.api,
            kinds=sorted(provider.adapter.kinds),
            creates=sorted(provider.adapter.creates),
            scope=provider.pinned_scope,
            features=sorted(provider.adapter.features),
            order=settings.order,
            weight=settings.weight,
            deadlines={operation.value: settings.deadline(operation) for operation in Operation},
            policies={work.value: _policy(status) for work, status in provider.adapter.transport.status().items()},
            health=HealthView(
                status=_status(health),
                last_success_at=_time(health.last_success),
                last_failure_at=_time(health.last_failure),
                last_failure_code=health.last_failure_code,
                credentials_ok=health.credentials_ok,
                observation=None if health.probed is None else "active" if health.probed else "passive",
            ),
            observed_by=self._observer,
        )


def _policy(status: WorkStatus) -> PolicyView:
    rounded = None if status.retry_after is None else round(status.retry_after, 3)
    return msgspec.convert(replace(status, retry_after=rounded), PolicyView, from_attributes=True)


def _status(health: Health) -> Literal["unknown", "ok", "failing"]:
    if health.failing:
        return "failing"
    return "unknown" if health.last_success is None else "ok"


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
