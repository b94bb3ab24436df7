"""Authentication of callers: a gateway key as ``Authorization: Bearer`` or ``X-API-Key``."""

import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Final

from multidict import MultiMapping, istr

from gateway.domain.access import Principal
from gateway.domain.errors import FieldError, InvalidRequest, Unauthenticated
from gateway.http.browsers import refuse_cross_site, refuse_other_hosts
from gateway.http.cors import Cors
from gateway.settings import CorsSettings

ANONYMOUS: Final = Principal("anonymous")

_NO_PAGES: Final = Cors(CorsSettings())
_AUTHORIZATION: Final = istr("Authorization")
_API_KEY: Final = istr("X-API-Key")


class Authenticator:
    """Finds the principal of a request. ``keys`` maps the SHA-256 digest of each key to its principal; None requires
    no key, and then pages of other sites may call only if ``cors`` lists their origin."""

    def __init__(
        self, keys: Mapping[bytes, Principal] | None, now: Callable[[], float] = time.time, *, cors: Cors = _NO_PAGES
    ) -> None:
        self._now = now  # seconds since the epoch
        self._cors = cors
        self.replace(keys)

    def replace(self, keys: Mapping[bytes, Principal] | None) -> None:
        """Accept these keys from now on, and no others."""
        self._keys = keys

    def admit(self, headers: MultiMapping[str]) -> None:
        """Raise :class:`PermissionDenied` if no key is required and the request is for another host than loopback."""
        if self._keys is None:
            refuse_other_hosts(headers)

    def principal(self, headers: MultiMapping[str]) -> Principal:
        """Return the principal whose key the caller sent.

        Without required keys it is ``anonymous``, and :class:`PermissionDenied` is raised for the request of a page
        of another site that is not listed. Raises :class:`Unauthenticated` without a known key, and
        :class:`InvalidRequest` that names the header if the request carries two different keys. Keys are found by their
        digest: the time that this takes reveals nothing about the text of a key.
        """
        if self._keys is None:
            if not self._cors.lists(headers):
                refuse_cross_site(headers)
            return ANONYMOUS
        token = _token(headers)
        digest = sha256(token.encode(errors="surrogateescape")).digest()
        found = self._keys.get(digest)
        if found is None:
            raise Unauthenticated("The key is not one of this gateway.")
        if found.expires is not None and self._now() >= found.expires:
            raise Unauthenticated("The key has expired.")
        return found


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


def _keys(headers: MultiMapping[str]) -> Iterator[tuple[str, str]]:
    for authorization in headers.getall(_AUTHORIZATION, ()):
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer" and (token := token.strip()):
            yield _AUTHORIZATION, token
    for api_key in headers.getall(_API_KEY, ()):
        if api_key := api_key.strip():
            yield _API_KEY, api_key


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
