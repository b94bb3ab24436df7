"""Keys and principals, as the API shows them to administrators."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import UNSET, UnsetType

from gateway.domain.access import Principal
from gateway.domain.runtime import Model
from gateway.ports.principals import StoredKey, StoredPrincipal
from gateway.services.access.directory import Directory
from gateway.services.access.me import instant


class ApiKey(Model, frozen=True, kw_only=True):
    """A key. ``key`` is its text, which only the response to its creation has. ``scopes`` null: all of its principal's.
    ``source``: where it can be changed. ``last_used_at`` is exact to the minute."""

    object: Literal["key"] = "key"
    id: str
    key: str | UnsetType = UNSET
    prefix: str | None
    principal: str
    name: str | None
    scopes: list[str] | None
    source: Literal["api", "settings"]
    created_at: str | None
    expires_at: str | None
    last_used_at: str | None


class ApiKeys(Model, frozen=True, kw_only=True):
    """All keys, those of the settings first."""

    object: Literal["list"] = "list"
    items: list[ApiKey]


class PrincipalView(Model, frozen=True, kw_only=True):
    """A principal. ``scopes`` null: it has no rights, and ``warning`` says why."""

    object: Literal["principal"] = "principal"
    name: str
    source: Literal["settings", "api", "token"]
    template: str | None
    disabled: bool
    scopes: list[str] | None
    owner: str | None
    own_only: bool | None
    expires_at: str | None
    created_at: str | None
    warning: str | None


class PrincipalList(Model, frozen=True, kw_only=True):
    """All principals of the settings and of the API, and those of tokens that are disabled."""

    object: Literal["list"] = "list"
    items: list[PrincipalView]


def key_view(key: StoredKey, text: str | UnsetType = UNSET) -> ApiKey:
    """A key of the store, with its text if it was made now."""
    return ApiKey(
        id=key.id,
        key=text,
        prefix=key.prefix,
        principal=key.principal,
        name=key.name,
        scopes=None if key.scopes is None else list(key.scopes),
        source="api",
        created_at=instant(key.created_at),
        expires_at=instant(key.expires_at),
        last_used_at=instant(key.last_used_at),
    )


def declared_keys(keys: Mapping[bytes, Principal]) -> Iterator[ApiKey]:
    """The keys of the settings. Their ids are derived from their digests, of which they show nothing."""
    for digest, principal in keys.items():
        yield ApiKey(
            id=f"key_{hashlib.sha256(b'id of ' + digest).hexdigest()[:12]}",
            prefix=None,
            principal=principal.name,
            name=None,
            scopes=None,
            source="settings",
            created_at=None,
            expires_at=instant(principal.expires),
            last_used_at=None,
        )


def principal_view(name: str, directory: Directory, stored: StoredPrincipal | None) -> PrincipalView:
    """A principal of the settings, of the store, or of a token."""
    declared = name in directory.declared
    template = stored.template if stored is not None and not declared else None
    rights = directory.declared.get(name if template is None else template)
    owner = None if rights is None else rights.group or name
    warning = None
    if rights is None and "/" not in name:
        missing = name if template is None else template
        warning = f"The settings do not contain the principal {missing}, so this one has no rights."
    return PrincipalView(
        name=name,
        source="settings" if declared else "token" if "/" in name else "api",
        template=template,
        disabled=stored is not None and stored.disabled,
        scopes=None if rights is None else sorted(rights.permissions),
        owner=owner,
        own_only=None if rights is None else rights.own_only,
        expires_at=None if rights is None else instant(rights.expires),
        created_at=None if template is None or stored is None else instant(stored.created_at),
        warning=warning,
    )
