"""The choice of the provider for a create: of those that fit, by tier, and inside a tier by weighted rendezvous hash.

The hash is over (principal, kind, name), so all replicas choose the same provider without communication.
"""

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import (
    AlreadyExists,
    FieldError,
    GatewayError,
    ProviderNotConfigured,
    UnsupportedFeature,
    ValidationFailed,
)
from gateway.domain.lifecycle import is_live
from gateway.domain.requests import CreateRequest
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.services.access.visibility import refuse_outside_body
from gateway.services.fleet import Fleet, Provider

_HASH_SPACE: Final = float(1 << 64)
_FIND_SECONDS: Final = 2.0  # how long one provider that hangs may delay creates at other providers


@dataclass(frozen=True, slots=True)
class Target:
    """The provider and scope of a create."""

    provider: Provider
    scope: str


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a provider cannot serve a create. ``scope``: the fault is in the scope, which the caller can correct."""

    error: FieldError
    scope: bool = False


def fit(provider: Provider, request: CreateRequest) -> Target | list[Misfit]:
    """The target at this provider, or all reasons why it cannot serve the create. No I/O."""
    adapter = provider.adapter
    if request.kind not in adapter.creates:
        creates = ", ".join(sorted(adapter.creates)) or "nothing"
        return [Misfit(FieldError(f"{provider.name} creates only: {creates}.", "unsupported", pointer="#/kind"))]
    misfits = [
        Misfit(
            FieldError(
                f"{provider.name} ({adapter.api}) has no {' or '.join(sorted(need.any_of))}.",
                "unsupported",
                pointer=need.pointer,
            )
        )
        for need in request.requirements()
        if not need.any_of & adapter.features
    ]
    scope = _scope(provider, request)
    if isinstance(scope, Misfit):
        misfits.append(scope)
    elif not misfits:
        return Target(provider, scope)
    return misfits


def _scope(provider: Provider, request: CreateRequest) -> str | Misfit:
    pinned = provider.pinned_scope
    if not request.sent("scope"):
        if pinned is not None:
            return pinned
        detail = f"{provider.name} has no fixed scope: name one."
        return Misfit(FieldError(detail, "required", pointer="#/scope"), scope=True)
    try:
        scope = provider.adapter.parse_scope(request.scope)
    except ValueError as exc:
        return Misfit(FieldError(f"{provider.name}: {exc}", "invalid", pointer="#/scope"), scope=True)
    if pinned is not None and scope != pinned:
        detail = f"{provider.name} is pinned to another scope."
        return Misfit(FieldError(detail, "unsupported", pointer="#/scope"), scope=True)
    return scope


def rank(targets: Sequence[Target], principal: str, kind: str, name: str) -> list[Target]:
    """The targets, first choice first."""

    def score(target: Target) -> tuple[int, float]:
        settings = target.provider.adapter.settings
        seed = "\0".join((principal, kind, name, target.provider.name, target.scope)).encode()
        draw = (int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "big") + 0.5) / _HASH_SPACE
        return settings.order, math.log(draw) / settings.weight * -1

    return sorted(targets, key=score)


def _not_allowed(provider: Provider) -> list[Misfit]:
    detail = f"The caller may use {provider.name} only in another scope."
    return [Misfit(FieldError(detail, "not_allowed", pointer="#/scope"), scope=True)]


class Router:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def choose(self, request: CreateRequest, ctx: RequestContext, *, name_may_exist: bool = True) -> list[Target]:
        """The targets of a create, first choice first. If a target has a live runtime of the same name, it is the only
        choice, whatever the order and the hash are. ``name_may_exist`` False: the name is new, so no provider is
        called.

        Raises :class:`ValidationFailed` for an unknown provider, or for a scope that no suitable provider accepts.
        Raises :class:`UnsupportedFeature`, with the reasons for each provider, if none fits, and what ``check_create``
        of the first adapter raises if all suitable adapters refuse. Raises as :meth:`present`.
        """
        targets = self._fitting(request, ctx)
        ranked = rank(targets, ctx.principal.name, request.kind, request.name)
        if self._fleet.moves and name_may_exist:
            ranked = list(dict.fromkeys(self.present(target, request, ctx) for target in ranked))
        if len(ranked) > 1 and name_may_exist:
            found = await asyncio.gather(*(self._has_runtime(target, request.name, ctx) for target in ranked))
            for target, exists in zip(ranked, found, strict=True):
                if exists:
                    return [target]
        return ranked

    def present(self, target: Target, request: CreateRequest, ctx: RequestContext) -> Target:
        """Where a create goes: to a target, or where the runtime of its name has moved from there.

        Raises :class:`AlreadyExists` if the caller may not use that place, :class:`ProviderNotConfigured` if the
        gateway does not have it, and what ``check_create`` of its adapter raises."""
        row = self._fleet.moves.of_name(target.provider.name, target.scope, request.kind, request.name)
        if row is None:
            return target
        if not ctx.principal.sees(row.target, row.target_scope):
            raise AlreadyExists("The name is already in use.", provider=target.provider.name)
        if (provider := self._fleet.get(row.target)) is None:
            detail = f"The runtime of this name has moved to {row.target}, which this gateway does not have."
            raise ProviderNotConfigured(detail, provider=row.target)
        provider.adapter.check_create(request)
        return Target(provider, row.target_scope)

    def _fitting(self, request: CreateRequest, ctx: RequestContext) -> list[Target]:
        refuse_outside_body(request, ctx.principal)
        if request.sent("provider"):
            named = self._fleet.get(request.provider)
            if named is None:
                raise ValidationFailed.at(
                    "#/provider",
                    f"This gateway has no provider {request.provider}; it has: {self._fleet.names(ctx)}.",
                    code="unknown_provider",
                )
            candidates: Sequence[Provider] = [named]
        else:
            candidates = self._fleet.visible(ctx)
        targets: list[Target] = []
        misfits: list[Misfit] = []
        refusals: list[GatewayError] = []
        for provider in candidates:
            found = fit(provider, request)
            if isinstance(found, Target) and not ctx.principal.sees(provider.name, found.scope):
                found = _not_allowed(provider)
            if not isinstance(found, Target):
                misfits += found
                continue
            try:
                provider.adapter.check_create(request)
            except (ValidationFailed, UnsupportedFeature) as refusal:
                refusals.append(refusal)
            else:
                targets.append(found)
        if targets:
            return targets
        if refusals:
            raise refusals[0]
        capable = [misfit for misfit in misfits if misfit.error.pointer != "#/kind"]
        relevant = [misfit.error for misfit in capable or misfits]
        if capable and all(misfit.scope for misfit in capable):
            raise ValidationFailed(relevant[0].detail, errors=relevant)
        if len(candidates) == 1:
            raise UnsupportedFeature(relevant[0].detail, errors=relevant, provider=candidates[0].name)
        raise UnsupportedFeature("No provider of this gateway can make this runtime.", errors=relevant)

    async def _has_runtime(self, target: Target, name: str, ctx: RequestContext) -> bool:
        """Whether the target has a live runtime of the name that may belong to the own account. False if it cannot be
        read within :data:`_FIND_SECONDS`."""
        try:
            async with self._fleet.call_scope(target.provider, Operation.LIST, ctx, at_most=_FIND_SECONDS) as call:
                found = await target.provider.adapter.find(target.scope, name, call)
        except GatewayError:
            return False
        return any(is_live(runtime.state) and runtime.may_be_own for runtime in found)
