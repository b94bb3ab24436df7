"""The caller, as the API shows it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from gateway.domain.access import Principal
from gateway.domain.runtime import Model


class Me(Model, frozen=True, kw_only=True):
    """The caller. ``scopes`` are its permissions. ``providers``, ``kinds`` and ``provider_scopes`` are the only ones
    that it may use; null means any. ``own_only``: it sees only runtimes of ``owner``, under which its own are recorded.
    ``expires_at`` null: never."""

    object: Literal["me"] = "me"
    principal: str
    owner: str
    own_group: str | None
    own_only: bool
    scopes: list[str]
    providers: list[str] | None
    kinds: list[str] | None
    provider_scopes: list[str] | None
    expires_at: str | None


def me_of(principal: Principal) -> Me:
    """What a caller is shown about itself."""
    only, expires = principal.restrictions, principal.expires
    return Me(
        principal=principal.name,
        owner=principal.owner,
        own_group=principal.group,
        own_only=principal.own_only,
        scopes=sorted(principal.permissions),
        providers=_sorted(only.providers),
        kinds=_sorted(only.kinds),
        provider_scopes=_sorted(only.scopes),
        expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z"),
    )


def _sorted(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else sorted(values)
