"""Authentication of callers: a gateway key as ``Authorization: Bearer`` or ``X-API-Key``, or a token of an issuer. The
wrong keys of a client address are counted, which limits guesses."""

import asyncio
import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import count
from typing import Final

from aiohttp import web
from cachetools import TTLCache
from multidict import MultiMapping, istr

from gateway.domain.access import ANONYMOUS, Principal, share
from gateway.domain.errors import FieldError, InvalidRequest, Overloaded, RateLimited, Unauthenticated
from gateway.http.cors import Cors, refuse_cross_site, refuse_other_hosts
from gateway.ports.clock import Clock
from gateway.services.access.directory import Directory, WrongKey
from gateway.services.access.tokens import KeysPending, Tokens
from gateway.settings import CorsSettings
from gateway.settings.access import JwtSettings
from gateway.telemetry.metrics import Metrics

MOST: Final = 20
"""Wrong keys of one address in :data:`WINDOW` seconds that are 401; more are 429. Several workers share them."""
WINDOW: Final = 60.0
ADDRESSES: Final = 10_000
"""Addresses that are counted at the same time; the one that was not seen for the longest time is forgotten first."""


class WrongKeys:
    """The wrong keys of the last minute. A right key is not affected by them."""

    def __init__(self, metrics: Metrics, clock: Clock, workers: int = 1) -> None:
        self._clock = clock
        self._most = share(MOST, workers)
        self._wrong = metrics.wrong_keys
        # Per address: the end of its window, and the number of its next wrong key. Counting does not renew an entry.
        self._seen: TTLCache[str, tuple[float, count[int]]] = TTLCache(ADDRESSES, WINDOW, timer=clock.monotonic)

    def count(self, address: str) -> None:
        """Count a wrong key. Raises :class:`RateLimited` for the next one after :data:`MOST`."""
        self._wrong.inc()
        now = self._clock.monotonic()
        end, seen = self._seen.setdefault(address, (now + WINDOW, count(1)))
        if next(seen) > self._most:
            detail = f"More than {self._most} wrong keys came from this address within a minute."
            raise RateLimited(detail, retry_after=max(end - now, 1.0))


MAX_WAITING: Final = 100
"""Requests that wait at the same time for the key that their token is signed with."""

_NO_PAGES: Final = Cors(CorsSettings())
_AUTHORIZATION: Final = istr("Authorization")
_API_KEY: Final = istr("X-API-Key")
_BEGIN: Final = "ey"  # the beginning of a JSON object in base64


class Authenticator:
    """Finds the principal of a request in ``directory``, where it declares ``keys``: the principal of each key of the
    settings by the SHA-256 digest of the key. None requires no key, and then pages of other sites may call only if
    ``cors`` lists their origin. ``wrong_keys`` limits guesses; None does not. ``tokens`` verifies the tokens of
    ``issuers``; None accepts no token."""

    def __init__(
        self,
        keys: Mapping[bytes, Principal] | None,
        directory: Directory | None = None,
        wrong_keys: WrongKeys | None = None,
        tokens: Tokens | None = None,
        *,
        cors: Cors = _NO_PAGES,
        issuers: Sequence[JwtSettings] = (),
    ) -> None:
        self._directory = Directory.without_store() if directory is None else directory
        self._wrong_keys = wrong_keys
        self._tokens = tokens
        self._cors = cors
        self._waiting = 0
        self.replace(keys, issuers)

    def replace(self, keys: Mapping[bytes, Principal] | None, issuers: Sequence[JwtSettings] = ()) -> None:
        self._required = keys is not None
        self._directory.declare(keys or {})
        if self._tokens is not None:
            self._tokens.replace(issuers)

    def admit(self, headers: MultiMapping[str]) -> None:
        """Raise :class:`PermissionDenied` if no key is required and the request is for another host than loopback."""
        if not self._required:
            refuse_other_hosts(headers)

    def principal(self, headers: MultiMapping[str], peer: web.BaseRequest | None = None) -> Principal:
        """Return the principal whose key or token the caller sent.

        Without required keys it is ``anonymous``, and :class:`PermissionDenied` is raised for the request of a page
        of another site that is not listed. Raises :class:`Unauthenticated` without a known key, :class:`RateLimited`
        for one more wrong key of the same client, :class:`StoreUnavailable` for a key that cannot be checked now, and
        :class:`InvalidRequest` that names the header if the request carries two different keys. Keys are found by their
        digest: the time that this takes reveals nothing about the text of a key. :class:`KeysPending` asks to call
        :meth:`principal_after` instead.
        """
        if not self._required:
            if not self._cors.lists(headers):
                refuse_cross_site(headers)
            return ANONYMOUS
        token = _token(headers)
        digest = sha256(token.encode(errors="surrogateescape")).digest()
        try:
            found = None
            if self._tokens is not None and token.startswith(_BEGIN):
                found = self._tokens.find(token, digest)
            return found or self._directory.find(digest)
        except WrongKey as wrong:
            if self._wrong_keys is not None and peer is not None:
                self._wrong_keys.count(peer.remote or "")
            raise Unauthenticated(str(wrong) or "The key is not one of this gateway.") from wrong

    async def principal_after(
        self, pending: KeysPending, headers: MultiMapping[str], peer: web.BaseRequest | None = None
    ) -> Principal:
        """:meth:`principal`, after the fetch that may bring the key of the caller's token."""
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many requests wait for the keys of the issuer of their tokens.", retry_after=1)
        self._waiting += 1
        try:
            await asyncio.wait([pending.fetch])
        finally:
            self._waiting -= 1
        try:
            return self.principal(headers, peer)
        except KeysPending as again:
            raise Unauthenticated("The token is signed with a key that its issuer does not have.") from again


def _token(headers: MultiMapping[str]) -> str:
    """The one gateway key of a request. Empty headers and other schemes of ``Authorization`` are ignored: a proxy may
    use that header for its own credentials. Any number of equal keys is one key."""
    found: str | None = None
    for name, key in _keys(headers):
        if found is not None and not hmac.compare_digest(_raw(found), _raw(key)):
            detail = f"The request carries different keys; the second one is in {name}. Send one of them."
            raise InvalidRequest(detail, errors=[FieldError(detail, "conflict", header=str(name))])
        found = key
    if found is None:
        if headers.get(_AUTHORIZATION):
            raise Unauthenticated("The Authorization header has to be: Bearer <key>.")
        raise Unauthenticated("Send a gateway key as Authorization: Bearer <key>, or as X-API-Key.")
    return found


def _keys(headers: MultiMapping[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for authorization in headers.getall(_AUTHORIZATION, ()):
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer" and (token := token.strip()):
            found.append((_AUTHORIZATION, token))
    return found + [(_API_KEY, key) for key in map(str.strip, headers.getall(_API_KEY, ())) if key]


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
