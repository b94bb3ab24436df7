"""The target of a create, identified by what does not change: the provider's API, address, account and scope."""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from gateway.domain.base_urls import same_address
from gateway.domain.conclusions import CreateTraits, TargetMatch
from gateway.domain.errors import GatewayError
from gateway.domain.intents import Intent, canonical_scope_of, namespace_of, parts_of
from gateway.domain.values import Operation, is_uuid
from gateway.ports.context import RequestContext
from gateway.ports.provider import Deduplication, ProviderAdapter
from gateway.ports.sealing import Sealer, Unreadable
from gateway.ports.store import Store
from gateway.services.fleet import Fleet, Provider
from gateway.services.provider_choice import Target


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """A target and its namespace. ``account`` is empty if the provider does not report one; then the fingerprint is
    made from the credentials, but the namespace, which outlives them, is not."""

    target: Target
    namespace: str
    account: str

    @property
    def provider(self) -> Provider:
        return self.target.provider

    @property
    def adapter(self) -> ProviderAdapter[Any]:
        return self.target.provider.adapter

    @property
    def scope(self) -> str:
        return self.target.scope

    @property
    def traits(self) -> CreateTraits:
        """The properties of the provider that decide what findings prove."""
        adapter = self.adapter
        return CreateTraits(
            adapter.deduplication, adapter.create_is_free, adapter.idempotency_key_ttl, adapter.marks_creates
        )

    @property
    def keys_namespace(self) -> str:
        """The namespace from which keys are derived: the same for every spelling of the base URL, and without the
        store."""
        api, _, account, scope = parts_of(self.namespace)
        return namespace_of(api, self.adapter.settings.address, account, scope)

    @property
    def canonical_scope(self) -> str:
        """The scope by the name that the provider itself uses for it (see ``ProviderAdapter.canonical_scope``)."""
        return canonical_scope_of(self.namespace)


class TargetResolver:
    """Resolves targets. A provider's account is read once per set of credentials, and the spelling of its base URL in
    namespaces, which the store decides, as often."""

    def __init__(self, fleet: Fleet, sealer: Sealer, store: Store) -> None:
        self._fleet = fleet
        self._sealer = sealer
        self._store = store
        self._base_urls: WeakKeyDictionary[ProviderAdapter[Any], Sequence[str]] = WeakKeyDictionary()
        self._accounts: WeakKeyDictionary[ProviderAdapter[Any], str] = WeakKeyDictionary()
        self._scopes: WeakKeyDictionary[ProviderAdapter[Any], dict[str, str]] = WeakKeyDictionary()
        self._digests: WeakKeyDictionary[ProviderAdapter[Any], dict[tuple[str, str], bytes]] = WeakKeyDictionary()
        self._pending: dict[tuple[ProviderAdapter[Any], str], asyncio.Future[GatewayError | None]] = {}

    async def of(self, target: Target, ctx: RequestContext) -> ResolvedTarget:
        """Resolve a target. Raises as any read at the provider does, and :class:`StoreUnavailable`."""
        adapter = target.provider.adapter
        scopes = self._scopes.setdefault(adapter, {})
        while adapter not in self._accounts or target.scope not in scopes:
            await self._ask(target, scopes, ctx)
        account = self._accounts[adapter]
        namespace = namespace_of(adapter.api, self._base_urls[adapter][0], account, scopes[target.scope])
        return ResolvedTarget(target, namespace, account)

    async def _ask(self, target: Target, scopes: dict[str, str], ctx: RequestContext) -> None:
        """Read what is not known yet. Concurrent callers wait for the same read, or its error, so a burst of creates is
        one read; if its caller is cancelled, the next one reads."""
        adapter, key = target.provider.adapter, (target.provider.adapter, target.scope)
        ctx.provider = target.provider.name
        error: GatewayError | None = None
        if (pending := self._pending.get(key)) is not None:
            if (error := await asyncio.shield(pending)) is not None:
                raise error
            return
        reading = self._pending[key] = asyncio.get_running_loop().create_future()
        settings = adapter.settings
        try:
            if adapter not in self._base_urls:
                spelled = await self._store.base_urls(adapter.api, settings.base_url, settings.own_paths)
                self._base_urls[adapter] = spelled
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
            del self._pending[key]
            reading.set_result(error)

    async def of_intent(
        self, intent: Intent, ctx: RequestContext, *, looking: bool = False, by_id: bool = False
    ) -> ResolvedTarget | None:
        """The target that an intent was sent to, under its configured name of today; None if it is not configured, or
        with other credentials of an unknown account.

        ``looking``: nothing is sent, so other credentials will do if what they show is proof for any account.
        ``by_id``: any will do, because only the intent's runtime is read, whose id is proven.
        """
        named = self._fleet.get(intent.provider)
        candidates = [provider for provider in self._fleet if provider is not named]
        seen_by_others = None
        for provider in [named, *candidates] if named else candidates:
            known = _at(provider.adapter, intent.namespace)
            if provider.pinned_scope not in {None, intent.scope} or known is None:
                continue
            resolved = await self.of(Target(provider, intent.scope), ctx)
            if known != [resolved.account, resolved.canonical_scope]:
                continue
            resolved = replace(resolved, namespace=intent.namespace)  # as it was spelled when the intent was written
            if self.is_target(resolved, intent.target):
                return resolved
            if seen_by_others is None and (by_id or (looking and _shows_the_same_to_all(resolved))):
                seen_by_others = resolved
        return seen_by_others

    def fingerprint(self, resolved: ResolvedTarget) -> str:
        """A keyed digest that distinguishes targets and reveals nothing about them."""
        version = self._sealer.digest_version
        return f"{version}:{self._digest(resolved, resolved.namespace, version).hex()}"

    def match(self, resolved: ResolvedTarget | None, intent: Intent) -> TargetMatch:
        """Whether ``resolved``, from :meth:`of_intent`, is where the intent was sent to."""
        if resolved is None:
            return TargetMatch.GONE
        return TargetMatch.SAME if self.is_target(resolved, intent.target) else TargetMatch.SAME_NAMES

    def is_target(self, resolved: ResolvedTarget, fingerprint: str) -> bool:
        """Whether a fingerprint belongs to this target, in whose namespace the intent is. If the sealing key is gone,
        the namespace decides, provided that it contains the account."""
        version, _, digest = fingerprint.partition(":")
        api, _, account, scope = parts_of(resolved.namespace)
        spelled = [namespace_of(api, url, account, scope) for url in self._base_urls.get(resolved.adapter, ())]
        try:
            known = [
                self._digest(resolved, one, version).hex() for one in dict.fromkeys([resolved.namespace, *spelled])
            ]
        except Unreadable:
            return resolved.account != ""
        return any(hmac.compare_digest(one, digest) for one in known)

    def _digest(self, resolved: ResolvedTarget, namespace: str, version: str) -> bytes:
        digests = self._digests.setdefault(resolved.adapter, {})
        digest = digests.get((version, namespace))
        if digest is None:
            known = resolved.account or resolved.adapter.settings.token.get_secret_value()
            digest = self._sealer.digest("target", {"namespace": namespace, "account": known}, version)
            if len(digests) >= _MOST_SCOPES:
                digests.clear()
            digests[version, namespace] = digest
        return digest


_MOST_SCOPES = 10_000  # of a provider that is open to any scope; callers choose them


def _shows_the_same_to_all(resolved: ResolvedTarget) -> bool:
    """Whether a look-up shows the same to every account: creates are marked; or names have no owner and the scope is a
    UUID, not an alias that each account resolves to its own."""
    adapter = resolved.adapter
    return adapter.marks_creates or (adapter.deduplication is Deduplication.NONE and is_uuid(resolved.scope))


def _at(adapter: ProviderAdapter[Any], namespace: str) -> list[str] | None:
    """The account and scope of a namespace, however its base URL is spelled; None if it is at another address."""
    api, base_url, account, scope = parts_of(namespace)
    here = adapter.settings
    return [account, scope] if (api, same_address(base_url, here.own_paths)) == (adapter.api, here.address) else None
