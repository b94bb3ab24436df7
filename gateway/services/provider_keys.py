"""The idempotency keys that go to providers: derived, so that they are the same on every replica and need no store."""

import hashlib
from typing import Any

import msgspec

from gateway.ports.provider import ProviderAdapter


def provider_key(
    adapter: ProviderAdapter[Any], scope: str, principal: str, client_key: str, *, generation: int = 0
) -> str:
    """The key for a provider, from the namespace (API, base URL, resolved scope), who asks and the caller's own key.

    Two principals with one key get different ones. ``generation`` rises only for a new attempt after a refusal.
    """
    namespace = [adapter.api, adapter.settings.base_url, scope]
    digest = hashlib.sha256(msgspec.json.encode([namespace, principal, client_key, generation])).hexdigest()
    return f"rtgw-{digest[:40]}"


def create_key(namespace: str, principal: str, client_key: str, generation: int) -> str:
    """The key that a create goes out under: it survives the loss of the store where the caller gave a key.

    ``client_key`` is the caller's own, or the intent's id. ``generation`` rises only for a new attempt after all before
    it provably made nothing.
    """
    digest = hashlib.sha256(msgspec.json.encode([namespace, principal, client_key, generation])).hexdigest()
    return f"rtgw-{digest[:40]}"
