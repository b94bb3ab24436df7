"""The settings of callers: principals and their keys, and issuers whose tokens callers may send instead."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, SecretStr, Tag, field_validator, model_validator

from gateway.domain.access import DEFAULT_PERMISSIONS, PRINCIPAL_PATTERN, Principal, Restrictions, with_implied
from gateway.domain.base_urls import is_unprotected, require_base_url
from gateway.domain.key_requests import Expiry
from gateway.domain.public_view import PublicView
from gateway.domain.values import Kind, Permission
from gateway.ports.sealing import key_bytes
from gateway.ports.section import Section
from gateway.settings.allow import AllowSettings
from gateway.settings.document import Path
from gateway.settings.limits import PrincipalLimits


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.fragment:
        raise ValueError("the address of a key set has no fragment")
    require_base_url(parts._replace(query="").geturl())
    if is_unprotected(value):
        raise ValueError("keys are fetched over https://; http:// is for loopback addresses only")
    return value


Text = Annotated[str, Field(min_length=1, max_length=1000)]
ClaimName = Annotated[str, Field(min_length=1, max_length=200)]


class JwtSettings(Section):
    """An issuer of tokens, and what its tokens give. ``issuer`` and ``audience`` are compared with ``iss`` and ``aud``
    exactly; ``jwks`` is the address of its keys. ``name`` begins the names of its principals and groups. ``principal``,
    ``scopes`` and ``own_group`` are the claims with these values; without ``scopes`` or ``own_group``, they are the
    template's. ``template`` is the principal of the settings whose rights bound everything. ``leeway`` is by how many
    seconds the clocks may differ."""

    issuer: Text
    audience: Text
    jwks: Annotated[str, AfterValidator(_address)]
    name: Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
    template: Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
    principal: ClaimName = "sub"
    scopes: ClaimName | None = None
    own_group: ClaimName | None = None
    leeway: Annotated[float, Field(ge=0, le=300)] = 30


def issuer_faults(issuers: Sequence[JwtSettings], principals: Mapping[str, Principal]) -> Iterator[tuple[Path, str]]:
    """Yield the path and message of each issuer that contradicts another one, or its template."""
    names: set[str] = set()
    accepted: set[tuple[str, str]] = set()
    for index, one in enumerate(issuers):
        at = ("auth", "jwt", str(index))
        template = principals.get(one.template)
        if one.name in names:
            yield (*at, "name"), "another issuer has this name; every issuer needs a name of its own"
        if (one.issuer, one.audience) in accepted:
            yield at, "another entry has the same issuer and audience; keep one of the two"
        if template is None:
            yield (*at, "template"), f"auth.principals and auth.keys have no principal {one.template}"
        elif one.own_group is not None and not template.own_only:
            yield (*at, "own_group"), f"this has a meaning only with own_only: true at the template {one.template}"
        names.add(one.name)
        accepted.add((one.issuer, one.audience))


ONE: Final = "[one]"
MANY: Final = "[list]"
"""The branches of a setting that is one value or a list. They occur in the paths of pydantic's faults."""

_KEY: Final = re.compile(r"[\x21-\x7e]{16,512}\Z")

KeyName = Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
"""The name of a principal or of a provider in a rule."""

ScopeName = Annotated[str, Field(min_length=1, max_length=200)]
"""A scope of a provider, as the API shows it."""


def _well_formed(value: SecretStr) -> SecretStr:
    if not _KEY.match(value.get_secret_value()):
        raise ValueError("a key must be 16 to 512 printable ASCII characters without spaces")
    return value


def _branch(value: Any) -> str:
    return MANY if isinstance(value, list) else ONE


KeyText = Annotated[SecretStr, AfterValidator(_well_formed)]
KeyDigest = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
OneOrMoreKeys = Annotated[
    Annotated[KeyText, Tag(ONE)] | Annotated[list[KeyText], Field(min_length=1), Tag(MANY)], Discriminator(_branch)
]


class GatewayKey(Section):
    """The short form of a principal: its key or keys, or the SHA-256 of the text of its key in hex."""

    key: OneOrMoreKeys | None = None
    key_sha256: KeyDigest | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("give exactly one of key and key_sha256")
        return self

    def principal(self, name: str, _view: PublicView | None = None) -> Principal:
        """The principal of this name, with the permissions of a principal without ``scopes``."""
        return Principal(name, permissions=DEFAULT_PERMISSIONS)

    @property
    def digests(self) -> list[bytes]:
        """The SHA-256 of each key, 32 bytes."""
        if self.key_sha256 is not None:
            return [bytes.fromhex(self.key_sha256)]
        keys = self.key if isinstance(self.key, list) else [] if self.key is None else [self.key]
        return [_digest(key) for key in keys]


class Rights(Section):
    """What a principal may do. ``scopes`` are permissions (docs/access.md). ``providers``, ``kinds`` and
    ``provider_scopes`` are the only ones that it may use; left out, they mean any. ``own_only``: it sees and changes
    only the runtimes that it created, or with ``own_group`` those that the principals of this group created.
    ``allow``: what its requests may refer to, and how much they may take. ``limits``: how much it may use at a time.
    ``view``: whether its responses show providers. ``expires``: an instant, or a date and then its end in UTC."""

    scopes: Annotated[frozenset[Permission], Field(min_length=1)] | None = None
    providers: Annotated[frozenset[KeyName], Field(min_length=1)] | None = None
    kinds: Annotated[frozenset[Kind], Field(min_length=1)] | None = None
    provider_scopes: Annotated[frozenset[ScopeName], Field(min_length=1)] | None = None
    own_only: bool = False
    own_group: KeyName | None = None
    allow: AllowSettings | None = None
    limits: PrincipalLimits | None = None
    view: Literal["full", "public"] = "full"
    expires: Expiry | None = None

    @model_validator(mode="after")
    def _group_needs_own_only(self) -> Self:
        if self.own_group is not None and not self.own_only:
            raise ValueError("own_group has a meaning only with own_only: true")
        return self

    @model_validator(mode="after")
    def _public_without_admin(self) -> Self:
        if self.view == "public" and self.scopes is not None and Permission.ADMIN in self.scopes:
            raise ValueError("a principal with view: public cannot have the scope admin, which shows providers")
        return self

    def principal(self, name: str, view: PublicView | None = None) -> Principal:
        """The principal of this name with these rights. ``view`` is the public one, for those that have it."""
        return Principal(
            name,
            permissions=DEFAULT_PERMISSIONS if self.scopes is None else with_implied(self.scopes),
            restrictions=Restrictions(providers=self.providers, kinds=self.kinds, scopes=self.provider_scopes),
            own_only=self.own_only,
            group=self.own_group,
            allow=None if self.allow is None else self.allow.allowance,
            limits=None if self.limits is None else self.limits.limits,
            view=view if self.view == "public" else None,
            expires=None if self.expires is None else self.expires.timestamp(),
        )


class PrincipalSettings(Rights):
    """A principal with any number of keys: their texts, and the SHA-256 of texts in hex. At least one is needed."""

    keys: Annotated[list[KeyText], Field(min_length=1)] | None = None
    keys_sha256: Annotated[list[KeyDigest], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if self.keys is None and self.keys_sha256 is None:
            raise ValueError("give keys, keys_sha256 or both")
        return self

    @property
    def digests(self) -> list[bytes]:
        """The SHA-256 of each key, 32 bytes."""
        return [*map(_digest, self.keys or []), *map(bytes.fromhex, self.keys_sha256 or [])]


class AuthSettings(Section):
    """The principals, by name. A principal's name identifies the caller in logs, idempotency keys and creates; its
    keys only authenticate it, so they can be replaced. ``keys`` is the short form of ``principals``. ``jwt`` are the
    issuers whose tokens callers may send instead. ``public_id_key``, 32 bytes in base64, seals the ids that principals
    with ``view: public`` see."""

    keys: Annotated[dict[KeyName, GatewayKey], Field(min_length=1)] = {}
    principals: Annotated[dict[KeyName, PrincipalSettings], Field(min_length=1)] = {}
    jwt: Annotated[list[JwtSettings], Field(max_length=20)] = []
    public_id_key: SecretStr | None = None

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.keys and not self.principals:
            raise ValueError("give principals or keys")
        public = [name for name, one in self.principals.items() if one.view == "public"]
        if public and self.public_id_key is None:
            raise ValueError(f"view: public of {public[0]} requires public_id_key: 32 random bytes in base64")
        return self

    @field_validator("public_id_key")
    @classmethod
    def _usable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            key_bytes(key.get_secret_value())
        return key

    def view(self, words: frozenset[str] = frozenset()) -> PublicView | None:
        """The public view, in which these words do not occur; None without a key."""
        key = self.public_id_key
        return None if key is None else PublicView(key_bytes(key.get_secret_value()), words)

    def digests_by_principal(self, words: frozenset[str] = frozenset()) -> dict[Principal, frozenset[bytes]]:
        """The SHA-256 of each key of each principal. ``words`` are those that the public view hides."""
        entries: Mapping[str, GatewayKey | PrincipalSettings] = {**self.keys, **self.principals}
        view = self.view(words)
        return {entry.principal(name, view): frozenset(entry.digests) for name, entry in entries.items()}

    def principals_by_digest(self, words: frozenset[str] = frozenset()) -> dict[bytes, Principal]:
        """The principal of each key, by the SHA-256 of the key. ``words`` are those that the public view hides."""
        found = self.digests_by_principal(words)
        return {digest: principal for principal, digests in found.items() for digest in digests}


def ambiguous_principals(auth: AuthSettings) -> Iterator[tuple[Path, str]]:
    """Yield the path and message of each name that both sections have, and of each key that two principals have."""
    owners: dict[bytes, str] = {}
    sections: Mapping[str, Mapping[str, GatewayKey | PrincipalSettings]]
    sections = {"keys": auth.keys, "principals": auth.principals}
    for section, entries in sections.items():
        for name, entry in entries.items():
            at = ("auth", section, name)
            if section == "principals" and name in auth.keys:
                yield at, "auth.keys has a principal of the same name; keep one of the two"
                continue
            others = {owners.setdefault(digest, name) for digest in entry.digests} - {name}
            if others:
                yield at, f"{' and '.join(sorted(others))} has the same key; every name needs a key of its own"


def _digest(key: SecretStr) -> bytes:
    return hashlib.sha256(key.get_secret_value().encode()).digest()
