"""A keyed digest of what the caller sent, before any default, to recognise a repeated create.

Unset, null and empty are different requests. The order of keys does not matter, and ``1`` and ``1.0`` are the same
number. The digest is keyed so that someone with a copy of the store cannot test guesses of a password in a request.
"""

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import rfc8785
from pydantic import BaseModel, SecretStr

from gateway.domain.config import RuntimeConfig

DIGEST_RULE: Final = "1"
"""The version of the digest rule. It is stored with every digest, and changes whenever the digest of a request may
differ from what the previous version computed."""

_LARGEST: Final = 2**53 - 1  # the largest integer that RFC 8785 represents exactly


def request_document(request: BaseModel) -> dict[str, Any]:
    """What was sent, as plain JSON: only the fields that were sent, with secrets, and a config exactly as written."""
    return {field: _plain(getattr(request, field)) for field in request.model_fields_set}


def _plain(value: Any) -> Any:
    if isinstance(value, RuntimeConfig):
        return value.document
    if isinstance(value, BaseModel):
        return request_document(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def canonical(document: Any) -> bytes:
    """RFC 8785 of a JSON value, followed by the path and value of every integer that a double cannot represent.

    RFC 8785 has only doubles, but two requests that differ in such an integer are different requests. Raises
    ``ValueError`` for values that JSON cannot represent: NaN, infinities and lone surrogates.
    """
    if _is_plain(document):
        with suppress(UnicodeEncodeError):  # rfc8785 raises ValueError for a lone surrogate
            return msgspec.json.encode(document, order="sorted")
    large: list[str] = []
    text = rfc8785.dumps(_doubles(document, large, ""))
    return b"\n".join([text, *(line.encode() for line in sorted(large))])


def _is_plain(value: Any) -> bool:
    """Whether msgspec, which is ten times as fast, encodes this value exactly as RFC 8785: no doubles, only integers
    that a double can represent, and only ASCII keys, whose order is the same in UTF-8 and UTF-16."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-_LARGEST <= value <= _LARGEST)
    if kind is dict:
        return all(type(key) is str and key.isascii() and _is_plain(item) for key, item in value.items())
    return (kind is list or kind is tuple) and all(map(_is_plain, value))


def _doubles(value: Any, large: list[str], at: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _doubles(item, large, f"{at}/{len(key)}:{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_doubles(item, large, f"{at}/{index}") for index, item in enumerate(value)]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        try:
            nearest = float(value)
        except OverflowError:
            nearest = 0.0
        if nearest != value:
            large.append(f"{at}={value:x}")
        return nearest
    return value


def request_digest(operation: str, document: Mapping[str, Any], key: bytes) -> bytes:
    """HMAC-SHA-256 of a request to ``operation``. ``document`` is :func:`request_document` of the request; waits,
    request ids and headers are not included. Compare digests with :func:`hmac.compare_digest`."""
    return hmac.digest(key, canonical([DIGEST_RULE, str(operation), document]), hashlib.sha256)
