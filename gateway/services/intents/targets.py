"""Where a create goes, told apart by what stays the same: the provider's API, address, account and scope."""

import asyncio
import hmac
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from gateway.domain.conclusions import CreateTraits, TargetMatch
from gateway.domain.errors import GatewayError
from gateway.domain.intents import Intent, canonical_scope_of, namespace_of
from gateway.domain.operations import Operation
from gateway.domain.values import is_uuid
from gateway.ports.context import RequestContext
from gateway.ports.provider import Deduplication, ProviderAdapter
from gateway.ports.sealing import Sealer, Unreadable
from gateway.services.fleet import Fleet, Provider
from gateway.services.routing import Target


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """A target and its namespace. ``account`` is empty where the provider tells none; then the credentials stand in
    for it in the fingerprint, but not in the namespace, which outlives them."""

    target: Target
    namespace: str
    account: str

    @property
    def provider(self) -> Provider:
        """The configured provider."""
        return self.target.provider

    @property
    def adapter(self) -> ProviderAdapter[Any]:
        """Its adapter."""
        return self.target.provider.adapter

    @property
    def scope(self) -> str:
        """The scope there."""
        return self.target.scope

    @property
    def traits(self) -> CreateTraits:
        """The properties of the provider that decide what findings prove."""
        adapter = self.adapter
        return CreateTraits(
            adapter.deduplication, adapter.create_is_free, adapter.idempotency_key_ttl, adapter.marks_creates
        )

    @property
    def canonical_scope(self) -> str:
        """The scope by the name that the provider itself uses for it (see ``ProviderAdapter.canonical_scope``)."""
        return canonical_scope_of(self.namespace)


class TargetResolver:
    """Finds out where targets are. What a provider says of its account is asked once per set of credentials."""

    def __init__(self, fleet: Fleet, sealer: Sealer) -> None:
        self._fleet = fleet
        self._sealer = sealer
        self._accounts: WeakKeyDictionary[ProviderAdapter[Any], str] = WeakKeyDictionary()
        self._scopes: WeakKeyDictionary[ProviderAdapter[Any], dict[str, str]] = WeakKeyDictionary()
        self._digests: WeakKeyDictionary[ProviderAdapter[Any], dict[tuple[str, str], bytes]] = WeakKeyDictionary()
        self._asking: dict[tuple[ProviderAdapter[Any], str], asyncio.Future[GatewayError | None]] = {}

    async def of(self, target: Target, ctx: RequestContext) -> ResolvedTarget:
        """The place of a target. Raises as any read at the provider does."""
        adapter = target.provider.adapter
        scopes = self._scopes.setdefault(adapter, {})
        while adapter not in self._accounts or target.scope not in scopes:
            await self._ask(target, scopes, ctx)
        account = self._accounts[adapter]
        namespace = namespace_of(adapter.api, adapter.settings.base_url, account, scopes[target.scope])
        return ResolvedTarget(target, namespace, account)

    async def _ask(self, target: Target, scopes: dict[str, str], ctx: RequestContext) -> None:
        """Ask what is not known yet. Who comes meanwhile waits for that answer, or error, so that a burst of creates
        is one question; when the asker is cancelled, the next one asks."""
        adapter, key = target.provider.adapter, (target.provider.adapter, target.scope)
        ctx.provider = target.provider.name
        error: GatewayError | None = None
        if (reading := self._asking.get(key)) is not None:
            if (error := await asyncio.shield(reading)) is not None:
                raise error
            return
        asking = self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            async with self._fleet.call_scope(target.provider, Operation.GET, ctx) as call:
                call.settling = True
                if adapter not in self._accounts:
                    self._accounts[adapter] = await adapter.account(call)
                if len(scopes) >= _MOST_SCOPES:
                    scopes.clear()
                scopes[target.scope] = await adapter.canonical_scope(target.scope, call)
        except GatewayError as failure:
            error = failure
            raise
        finally:
            del self._asking[key]
            asking.set_result(error)

    async def of_intent(self, intent: Intent, ctx: RequestContext, *, looking: bool = False) -> ResolvedTarget | None:
        """The place that an intent was sent to, under whichever name it is configured now; None when it is not, or
        with other credentials of an unknown account.

        ``looking``: nothing is sent there, so that other credentials do if what they show is proof whosever they are.
        """
        named = self._fleet.get(intent.provider)
        candidates = [provider for provider in self._fleet if provider is not named]
        seen_by_others = None
        for provider in [named, *candidates] if named else candidates:
            if provider.pinned_scope not in {None, intent.scope} or not _same_address(provider, intent):
                continue
            resolved = await self.of(Target(provider, intent.scope), ctx)
            if resolved.namespace != intent.namespace:
                continue
            if self.is_target(resolved, intent.target):
                return resolved
            if looking and seen_by_others is None and _is_the_same_to_all(resolved):
                seen_by_others = resolved
        return seen_by_others

    def fingerprint(self, resolved: ResolvedTarget) -> str:
        """What tells a target from another one, keyed, so that nothing can be guessed from it."""
        version = self._sealer.digest_version
        return f"{version}:{self._digest(resolved, version).hex()}"

    def match(self, resolved: ResolvedTarget | None, intent: Intent) -> TargetMatch:
        """Whether ``resolved``, from :meth:`of_intent`, is where the intent was sent to."""
        if resolved is None:
            return TargetMatch.GONE
        return TargetMatch.SAME if self.is_target(resolved, intent.target) else TargetMatch.SAME_NAMES

    def is_target(self, resolved: ResolvedTarget, fingerprint: str) -> bool:
        """Whether a fingerprint is of this place, in whose namespace the intent is. With a key that is not known any
        more only the namespace tells, where it has the account."""
        version, _, digest = fingerprint.partition(":")
        try:
            known = self._digest(resolved, version).hex()
        except Unreadable:
            return resolved.account != ""
        return hmac.compare_digest(known, digest)

    def _digest(self, resolved: ResolvedTarget, version: str) -> bytes:
        digests = self._digests.setdefault(resolved.adapter, {})
        digest = digests.get((version, resolved.namespace))
        if digest is None:
            known = resolved.account or resolved.adapter.settings.token.get_secret_value()
            digest = self._sealer.digest("target", {"namespace": resolved.namespace, "account": known}, version)
            if len(digests) >= _MOST_SCOPES:
                digests.clear()
            digests[version, resolved.namespace] = digest
        return digest


_MOST_SCOPES = 10_000  # of an open provider; callers name them


def _is_the_same_to_all(resolved: ResolvedTarget) -> bool:
    """Whether what is found at a place is what it is, whoever looks: it carries the mark of its create; or a name has
    no owner there, and the place is a UUID, not an alias that means another one to each account."""
    adapter = resolved.adapter
    return adapter.marks_creates or (adapter.deduplication is Deduplication.NONE and is_uuid(resolved.scope))


def _same_address(provider: Provider, intent: Intent) -> bool:
    adapter = provider.adapter
    known = msgspec.json.decode(intent.namespace, type=list[str])
    return known[:2] == [adapter.api, adapter.settings.base_url.rstrip("/")]
