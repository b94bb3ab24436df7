"""The cursor of a list over all providers: the progress at each of them, and a checksum that covers the filters
(docs/adr/0003-list-cursor.md)."""

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.domain.errors import FieldError, InvalidRequest
from gateway.domain.ids import b64url_bytes, bytes_from_b64url
from gateway.domain.list_progress import Progress
from gateway.services.access.cursors import CursorSeal

if TYPE_CHECKING:
    from gateway.services.listing import ListQuery

_CHECK_BYTES: Final = 8
_MAX_CURSOR: Final = 6000


def _fingerprint(query: "ListQuery") -> bytes:
    wanted = query.filter
    sets = map(sorted, (query.providers, query.scopes, wanted.kinds, wanted.states))
    shape = msgspec.json.encode([*sets, wanted.name, wanted.project, query.owner, sorted(query.labels)])
    return hashlib.blake2b(shape, digest_size=_CHECK_BYTES).digest()


def encode_cursor(query: "ListQuery", progress: dict[str, Progress], seal: CursorSeal | None) -> str:
    """The cursor of the next page. Raises :class:`InvalidRequest` if it would be too long."""
    payload = msgspec.msgpack.encode(progress)
    plain = hashlib.blake2b(payload, key=_fingerprint(query), digest_size=_CHECK_BYTES).digest() + payload
    cursor = b64url_bytes(plain) if seal is None else seal.seal(plain)
    if len(cursor) > _MAX_CURSOR:
        detail = "The list covers too much for one cursor: restrict it to fewer scopes or providers."
        raise InvalidRequest(detail, errors=[FieldError(detail, "too_many", parameter="scope")])
    return cursor


def decode_cursor(query: "ListQuery", seal: CursorSeal | None) -> dict[str, Progress]:
    """The progress in a cursor. Its checksum covers the filters, so the cursor of another list is invalid too. The
    checksum detects mistakes, not forgery: a forged cursor can only query what its caller may query anyway. Raises
    :class:`InvalidRequest`."""
    if query.cursor is None:
        return {}
    try:
        opened = bytes_from_b64url if seal is None else seal.unseal
        raw = opened(query.cursor) if len(query.cursor) <= _MAX_CURSOR else b""
        check, payload = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != hashlib.blake2b(payload, key=_fingerprint(query), digest_size=_CHECK_BYTES).digest():
            raise ValueError("check")  # noqa: TRY301 (one error for all invalid cursors)
        return msgspec.msgpack.decode(payload, type=dict[str, Progress])
    except (ValueError, msgspec.MsgspecError) as exc:
        detail = "The cursor was not returned by this list: keep the filters, and pass next_cursor unchanged."
        raise InvalidRequest(detail, errors=[FieldError(detail, "invalid", parameter="cursor")]) from exc
