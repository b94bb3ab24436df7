"""Authentication of callers: a gateway key as ``Authorization: Bearer`` or ``X-API-Key``."""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from multidict import istr

from gateway.domain.errors import FieldError, InvalidRequest, Unauthenticated

ANONYMOUS: Final = "anonymous"

_AUTHORIZATION: Final = istr("Authorization")
_API_KEY: Final = istr("X-API-Key")


class Authenticator:
    """Finds the principal of a request. ``keys`` maps each key's name to its SHA-256 digest; None requires no key."""

    def __init__(self, keys: Mapping[str, bytes] | None) -> None:
        self.replace(keys)

    def replace(self, keys: Mapping[str, bytes] | None) -> None:
        """Accept these keys from now on, and no others."""
        self._keys = None if keys is None else tuple(keys.items())

    def principal(self, headers: Mapping[str, str]) -> str:
        """The name of the caller's key.

        Raises :class:`Unauthenticated` without a known key, and :class:`InvalidRequest` for two different keys. Every
        key is compared, each in constant time.
        """
        if self._keys is None:
            return ANONYMOUS
        token = _token(headers)
        digest = sha256(token.encode(errors="surrogateescape")).digest()
        found = None
        for name, known in self._keys:
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            raise Unauthenticated("The key is not one of this gateway.")
        return found


def _token(headers: Mapping[str, str]) -> str:
    authorization, api_key = headers.get(_AUTHORIZATION), headers.get(_API_KEY)
    if authorization is None:
        if not api_key:
            raise Unauthenticated("Send a gateway key as Authorization: Bearer <key>, or as X-API-Key.")
        return api_key
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("The Authorization header has to be: Bearer <key>.")
    if api_key is not None and not hmac.compare_digest(_raw(api_key), _raw(token)):
        detail = "Authorization and X-API-Key carry different keys; send one of them."
        raise InvalidRequest(detail, errors=[FieldError(detail, "conflict", header="X-API-Key")])
    return token


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
