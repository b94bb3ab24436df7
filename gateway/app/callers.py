"""The callers that the settings declare."""

from collections.abc import Mapping, Sequence

from gateway.domain.access import Principal
from gateway.domain.values import Kind
from gateway.settings import AuthSettings, Settings
from gateway.settings.access import JwtSettings


def principals_by_digest(settings: Settings) -> Mapping[bytes, Principal] | None:
    """The principal of each key, by the digest of the key; None if no key is required."""
    if not isinstance(settings.auth, AuthSettings):
        return None
    words = {word for one in settings.providers.values() for word in (one.name, one.api, one.scope)}
    return settings.auth.principals_by_digest(frozenset(filter(None, words - set(Kind))))


def issuers(settings: Settings) -> Sequence[JwtSettings]:
    return settings.auth.jwt if isinstance(settings.auth, AuthSettings) else ()


def changed_principals(before: Settings, after: Settings) -> list[str]:
    old, new = (
        set(one.auth.digests_by_principal().items()) if isinstance(one.auth, AuthSettings) else set()
        for one in (before, after)
    )
    return sorted({principal.name for principal, _ in old ^ new})
