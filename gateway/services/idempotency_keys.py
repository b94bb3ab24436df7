"""The idempotency keys that are sent to providers. They are derived, so they are the same on every replica and need no
store."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.ports.provider import ProviderAdapter


def provider_key(adapter: ProviderAdapter[Any], scope: str, principal: str, client_key: str) -> str:
    """The key for a provider, derived from the namespace (API, address, resolved scope), the principal and the
    caller's own key. Principals with the same key get different provider keys."""
    return create_key([adapter.api, adapter.settings.address, scope], principal, client_key, 0)


def create_key(namespace: str | Sequence[str], principal: str, client_key: str, generation: int) -> str:
    """The key that is sent with a create. If the caller sent a key, it can be derived again after a loss of the store.

    ``client_key`` is the caller's own key, or the intent's id. ``generation`` increases only for a new attempt after
    all earlier ones provably created nothing.
    """
    digest = hashlib.sha256(msgspec.json.encode([namespace, principal, client_key, generation])).hexdigest()
    return f"rtgw-{digest[:40]}"
