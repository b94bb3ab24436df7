"""Tokens of issuers as credentials: who calls with a JSON Web Token, and what that caller may do (docs/access.md)."""

import asyncio
import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
from cachetools import LRUCache

from gateway.domain.access import Principal, with_implied
from gateway.domain.errors import ProviderUnavailable, Source, Unauthenticated
from gateway.domain.values import Permission
from gateway.ports.clock import Clock
from gateway.services.access.directory import Directory, WrongKey
from gateway.services.access.key_sets import ALGORITHMS, KeySets
from gateway.settings.access import JwtSettings

MAX_TOKEN: Final = 8192
"""Characters of a token."""
MAX_VERIFIED: Final = 10_000
"""Tokens whose signature is not checked again while they are used."""

_LATEST: Final = 253_370_764_800  # the year 9999; a later end could not be shown
_CLAIM: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")
_OPTIONS: Final[Any] = {
    "require": ["exp", "iss", "aud"],
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
    "enforce_minimum_key_length": True,
}


class KeysPending(Exception):
    """The key of a token may be in the key set that is being fetched: wait for ``fetch``, and try again."""

    def __init__(self, fetch: asyncio.Task[None]) -> None:
        super().__init__()
        self.fetch = fetch


class _Header(msgspec.Struct, frozen=True):
    """What is read of a token's header. All that names a key elsewhere (``jku``, ``x5u``, ``jwk``) is ignored."""

    alg: str
    kid: str | None = None
    crit: Any = None


class _Claims(msgspec.Struct, frozen=True):
    """The claims that select an issuer, before the signature is checked."""

    iss: str
    aud: str | list[str] = ""


class Tokens:
    """Verifies tokens, and keeps those that were verified by the SHA-256 digest of their text. They are forgotten when
    the settings, their templates or the keys of an issuer change."""

    def __init__(self, directory: Directory, clock: Clock, key_sets: KeySets) -> None:
        self.key_sets = key_sets
        self._directory = directory
        self._clock = clock
        self._issuers: Sequence[JwtSettings] = ()
        self._verified: LRUCache[bytes, Principal] = LRUCache(MAX_VERIFIED)

    def replace(self, issuers: Sequence[JwtSettings]) -> None:
        """Replace the issuers. The principals of the settings have to be replaced before."""
        self._issuers = issuers
        self._directory.templates = {one.name: one.template for one in issuers}
        self._verified.clear()
        self.key_sets.replace({one.name: one.jwks for one in issuers}, self._verified.clear)

    def find(self, text: str, digest: bytes) -> Principal | None:
        """The principal of a token; None if it is no token of a configured issuer.

        Raises :class:`WrongKey` for a token that its issuer has not signed or not for this gateway,
        :class:`Unauthenticated` for one that is not valid now, :class:`KeysPending`, and :class:`ProviderUnavailable`
        while the issuer's keys are not known.
        """
        found = self._verified.get(digest)
        if found is None:
            found = self._verify(text)
            if found is None:
                return None
            self._verified[digest] = found
        if found.expires is not None and self._clock.now() >= found.expires:
            raise Unauthenticated("The token has expired.")
        if self._directory.is_disabled(found.name):
            raise Unauthenticated("The principal of this token is disabled.")
        return found

    def _verify(self, text: str) -> Principal | None:
        if len(text) > MAX_TOKEN or text.count(".") != 2 or not self._issuers:
            return None
        try:
            encoded_header, encoded_claims, _ = text.split(".")
            claims = msgspec.json.decode(_decoded(encoded_claims), type=_Claims)
            header = msgspec.json.decode(_decoded(encoded_header), type=_Header)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        issuers = [one for one in self._issuers if one.issuer == claims.iss]
        if not issuers:
            return None
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        for issuer in issuers:
            if issuer.audience in audiences:
                return self._verify_with(issuer, header, text)
        raise WrongKey("The token is for another audience.")

    def _verify_with(self, issuer: JwtSettings, header: _Header, text: str) -> Principal:
        import jwt  # noqa: PLC0415 (its import is slow, and most gateways have no issuers)

        if header.alg not in ALGORITHMS or header.crit is not None:
            raise WrongKey("The token's algorithm or a critical header is not supported.")
        keys = self.key_sets[issuer.name]
        key = None if keys.current is None else keys.current.key(header.kid, header.alg)
        if key is None:
            if (fetch := keys.refresh_for_unknown_key()) is not None:
                raise KeysPending(fetch)
            if keys.current is None:
                detail = "The token cannot be checked, because the keys of its issuer cannot be fetched."
                raise ProviderUnavailable(detail, source=Source.GATEWAY, retry_after=5.0)
            raise WrongKey("The token is signed with a key that its issuer does not have.")
        try:
            claims = jwt.decode(
                text,
                key,
                algorithms=[header.alg],
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=issuer.leeway,
                options=_OPTIONS,
            )
        except jwt.ExpiredSignatureError as exc:
            raise Unauthenticated("The token has expired.") from exc
        except jwt.ImmatureSignatureError as exc:
            raise Unauthenticated("The token is not valid yet.") from exc
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as exc:
            raise WrongKey("The token is not valid.") from exc
        return self._principal(issuer, claims)

    def _principal(self, issuer: JwtSettings, claims: dict[str, Any]) -> Principal:
        """The caller: bounded by the template, as it is declared now."""
        template = self._directory.declared.get(issuer.template)
        if template is None:
            raise Unauthenticated(f"The settings do not contain the rights of the tokens of {issuer.name}.")
        ends = min(int(claims["exp"]), _LATEST) + issuer.leeway
        principal = replace(
            template,
            name=f"{issuer.name}/{_claim(claims, issuer.principal)}",
            expires=ends if template.expires is None else min(ends, template.expires),
        )
        if issuer.own_group is not None:
            principal = replace(principal, group=f"{issuer.name}/{_claim(claims, issuer.own_group)}")
        if issuer.scopes is not None and issuer.scopes in claims:
            words = _words(claims[issuer.scopes], issuer.scopes)
            permissions = {each for each in Permission if each.value in words} & template.permissions
            principal = replace(principal, permissions=with_implied(permissions))
        self._directory.learn_owner(principal)
        return principal


def _decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment.encode("ascii") + b"==")


def _claim(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not _CLAIM.match(value):
        raise Unauthenticated(f"The token's claim {name} must be 1 to 255 printable ASCII characters without spaces.")
    return value


def _words(value: Any, name: str) -> frozenset[str]:
    """The words of a claim: separated by spaces, or a list."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Unauthenticated(f"The token's claim {name} must be words separated by spaces, or a list of words.")
    return frozenset(words)
