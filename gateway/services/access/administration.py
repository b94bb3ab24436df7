"""The administration of keys and principals, and how administrators see them (docs/access.md)."""

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType

from gateway.domain import errors
from gateway.domain.access import Principal
from gateway.domain.key_requests import CreateKey, RotateKey
from gateway.domain.runtime import Model
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.principals import KeyRefused, NewKey, PrincipalStore, StoredKey, StoredPrincipal
from gateway.services.access.directory import Directory
from gateway.services.access.me import instant
from gateway.services.access.replication import AccessReplica
from gateway.telemetry.signals import AccessSignals


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


MAX_KEYS: Final = 5000
"""Keys, and principals, that the API makes, at most: every replica has all of them in memory."""

_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()  # a time after it may be none that can be shown in UTC
_OF_A_TOKEN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}/[\x21-\x7e]{1,255}\Z")
_NO_KEY: Final = "There is no key of this id."
_NO_PRINCIPAL: Final = "There is no principal of this name."


@dataclass(slots=True, eq=False, repr=False)
class AccessAdministration:
    """Every change is effective in this replica when its call returns, and in the others a moment later."""

    _store: PrincipalStore
    directory: Directory
    _replica: AccessReplica
    _clock: Clock
    _observer: AccessSignals

    async def create_key(self, request: CreateKey, ctx: RequestContext) -> ApiKey:
        """Make a key, and its principal from a template if it does not exist."""
        await self._replica.refresh()
        end = None if request.expires_at is None else request.expires_at.timestamp()
        now = self._clock.now()
        if end is not None and not now < end < _LATEST:
            raise errors.ValidationFailed.at("#/expires_at", "The end has to be in the future, before the year 9999.")
        rights = self._rights_for(request)
        for index, scope in enumerate(request.scopes or ()):
            if scope not in rights.permissions:
                detail = f"The principal {request.principal} does not have the scope {scope}."
                raise errors.ValidationFailed.at(errors.pointer("scopes", index), detail, code="not_allowed")
        scopes = None if request.scopes is None else tuple(dict.fromkeys(request.scopes))
        text, new = _generate(principal=request.principal, name=request.name, scopes=scopes, expires_at=end)
        stored = await self._store.add_key(
            new,
            template=request.template or None,
            declared=request.principal in self.directory.declared,
            limit=MAX_KEYS,
        )
        if isinstance(stored, KeyRefused):
            raise _refusal(stored)
        await self._changed("create_key", ctx, stored.principal, stored.id)
        return key_view(stored, text)

    def _rights_for(self, request: CreateKey) -> Principal:
        """The rights of the principal that the new key is for, which may not exist yet."""
        name, declared = request.principal, self.directory.declared
        if request.sent("template"):
            if name in declared:
                raise errors.ValidationFailed.at("#/template", f"The settings declare {name}; leave template out.")
            if request.template not in declared:
                detail = "The settings have no principal of this name."
                raise errors.ValidationFailed.at("#/template", detail, code="not_allowed")
            return declared[request.template]
        principal = self.directory.principal(name)
        if principal is None and name in self.directory.stored:
            raise errors.StateConflict("The template of this principal is not in the settings, so it has no rights.")
        if principal is None:
            raise _refusal(KeyRefused.NO_PRINCIPAL)
        return principal

    async def keys(self, principal: str | None) -> ApiKeys:
        shown = [view for view in declared_keys(self.directory.declared_keys) if principal in {None, view.principal}]
        return ApiKeys(items=[*shown, *map(key_view, await self._store.keys(principal))])

    async def revoke_key(self, key_id: str, ctx: RequestContext) -> None:
        self._refuse_declared_key(key_id)
        gone = await self._store.delete_key(key_id)
        if gone is None:
            raise errors.NotFound(_NO_KEY)
        await self._changed("revoke_key", ctx, gone.principal, gone.id)

    async def rotate_key(self, key_id: str, request: RotateKey, ctx: RequestContext) -> ApiKey:
        """Make a key with the rights of another one, which ends after the overlap."""
        self._refuse_declared_key(key_id)
        text, new = _generate(principal="")
        stored = await self._store.rotate_key(key_id, new, overlap=request.overlap)
        if stored is None:
            raise errors.NotFound(_NO_KEY)
        await self._changed("rotate_key", ctx, stored.principal, stored.id)
        return key_view(stored, text)

    async def principals(self) -> PrincipalList:
        stored = {one.name: one for one in await self._store.principals()}
        names = sorted({*self.directory.declared, *stored})
        return PrincipalList(items=[principal_view(name, self.directory, stored.get(name)) for name in names])

    async def set_disabled(self, name: str, disabled: bool, ctx: RequestContext) -> PrincipalView:
        """Disable or enable a principal: one of the settings, of the API, or of a token, whether it has called yet or
        not."""
        declared = name in self.directory.declared or _OF_A_TOKEN.match(name) is not None
        if not await self._store.disable(name, disabled, declared=declared):
            raise errors.NotFound(_NO_PRINCIPAL)
        await self._changed("disable_principal" if disabled else "enable_principal", ctx, name)
        stored = {one.name: one for one in await self._store.principals()}
        return principal_view(name, self.directory, stored.get(name))

    async def delete_principal(self, name: str, ctx: RequestContext) -> None:
        """Delete a principal that was made by the API, with its keys. Its runtimes keep their owner."""
        if not await self._store.delete_principal(name):
            if name in self.directory.declared:
                raise errors.StateConflict(f"The settings declare the principal {name}; remove it there.")
            raise errors.NotFound(_NO_PRINCIPAL)
        await self._changed("delete_principal", ctx, name)

    def _refuse_declared_key(self, key_id: str) -> None:
        for view in declared_keys(self.directory.declared_keys):
            if view.id == key_id:
                raise errors.StateConflict(f"The settings declare this key of {view.principal}; change it there.")

    async def _changed(self, action: str, ctx: RequestContext, principal: str, key_id: str | None = None) -> None:
        ctx.changes = {"principal": principal} if key_id is None else {"principal": principal, "key": key_id}
        self._observer.changed(action, ctx.principal, principal, key_id)
        with suppress(errors.StoreUnavailable):  # the change is stored; it becomes effective with the next refresh
            await self._replica.refresh()


def _generate(**fields: Any) -> tuple[str, NewKey]:
    """The text of a new key, and what is stored of it, with these fields."""
    text = f"rtgw_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(text.encode()).digest()
    return text, NewKey(id=f"key_{secrets.token_hex(6)}", digest=digest, prefix=text[:11], **fields)


def _refusal(reason: KeyRefused) -> errors.GatewayError:
    match reason:
        case KeyRefused.NO_PRINCIPAL:
            return errors.ValidationFailed.at(
                "#/principal", f"{_NO_PRINCIPAL} Send template to make it.", code="not_allowed"
            )
        case KeyRefused.OTHER_TEMPLATE:
            return errors.AlreadyExists.at(
                "#/template", "The principal exists and has another template.", code="conflict"
            )
        case KeyRefused.FULL:
            return errors.QuotaExceeded(f"The gateway stores at most {MAX_KEYS} keys, and as many principals.")
