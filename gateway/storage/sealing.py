"""Sealing with AES-256-GCM or AES-SIV and rotatable keys, and the key file that is used if no key is configured."""

import base64
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from pydantic import SecretStr

from gateway.domain.digests import DIGEST_RULE, request_digest
from gateway.ports.sealing import KEY_BYTES, Cell, Sealer, Unreadable, key_bytes

_FORMAT: Final = b"\x01"
_FIXED_FORMAT: Final = b"\x02"
_ID: Final = 6  # bytes
_NONCE: Final = 12  # bytes; with random nonces, one key is safe for 2**32 seals


class KeyUnusable(ValueError):
    """A key or its file cannot be used. The message says why, and contains nothing of the key."""


class _Key:
    """One secret, and a separate derived key for each purpose, so that no purpose weakens another."""

    def __init__(self, secret: bytes) -> None:
        self.id = _derived(secret, b"id")[:_ID]
        self.aead = AESGCM(_derived(secret, b"seal"))
        self.siv = AESSIV(_derived(secret, b"seal-fixed"))
        self.digest = _derived(secret, b"digest")
        self.tags = AESGCM(_derived(secret, b"tags"))


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"runtime-gateway store " + purpose, hashlib.sha256)


class Keyring(Sealer):
    """The first key seals, and all keys unseal: ``[new, old]``. Each key is 32 random bytes in base64.

    A sealed value is one byte for the format, the id of the key, the nonce, and the AES-256-GCM ciphertext. Its
    associated data are the cell, the format and the key's id. Fixed values have another format byte, no nonce, and
    AES-SIV (RFC 5297). Raises :class:`KeyUnusable`.
    """

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        if not keys:
            raise KeyUnusable("at least one encryption key is needed")
        known = [_Key(_decoded(key)) for key in keys]
        self._newest = known[0]
        self._keys = {key.id: key for key in known}
        if len(self._keys) < len(known):
            raise KeyUnusable("an encryption key is given twice")

    def seal(self, plain: bytes, cell: Cell) -> bytes:
        head = _FORMAT + self._newest.id
        nonce = secrets.token_bytes(_NONCE)
        return head + nonce + self._newest.aead.encrypt(nonce, plain, _bound(head, cell))

    def seal_fixed(self, plain: bytes, cell: Cell) -> bytes:
        head = _FIXED_FORMAT + self._newest.id
        return head + self._newest.siv.encrypt(plain, [_bound(head, cell)])

    def unseal(self, sealed: bytes, cell: Cell) -> bytes:
        head, rest = sealed[: 1 + _ID], sealed[1 + _ID :]
        known = self._keys.get(head[1:])
        key = known or self._newest  # an unknown key causes the same work; the associated data are wrong then
        try:
            if head[:1] == _FIXED_FORMAT:
                return key.siv.decrypt(rest, [_bound(head, cell)])
            return key.aead.decrypt(rest[:_NONCE], rest[_NONCE:], _bound(head, cell))
        except (InvalidTag, ValueError) as exc:
            if known is None or head[:1] not in {_FORMAT, _FIXED_FORMAT}:
                raise Unreadable("sealed with a key that is not configured") from exc
            raise Unreadable("changed since it was sealed, or sealed for another cell") from exc

    def tag(self, document: bytes) -> str:
        # GMAC takes a tenth of the time of SHA-256. As its nonce is always the same, two tags would reveal its key; the
        # hash over them prevents that.
        checksum = self._newest.tags.encrypt(bytes(_NONCE), b"", document)
        return hashlib.sha256(checksum).hexdigest()[:32]

    @property
    def digest_version(self) -> str:
        return f"{DIGEST_RULE}.{self._newest.id.hex()}"

    def digest(self, operation: str, document: Mapping[str, Any], version: str) -> bytes:
        rule, _, key_id = version.partition(".")
        key = next((key for key in self._keys.values() if key.id.hex() == key_id), None)
        if rule != DIGEST_RULE or key is None:
            raise Unreadable("a digest of an unknown rule or of a key that is not configured")
        return request_digest(operation, document, key.digest)


def _bound(head: bytes, cell: Cell) -> bytes:
    return head + msgspec.json.encode([cell.table, cell.row, cell.column])


def _decoded(key: SecretStr) -> bytes:
    try:
        return key_bytes(key.get_secret_value())
    except ValueError as exc:
        raise KeyUnusable(str(exc)) from None


def new_key() -> SecretStr:
    return SecretStr(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())


def key_from_file(path: Path) -> SecretStr:
    """The key in a file. The file is created with mode 0600 and a new key if it does not exist.

    Processes that start at the same moment get the same key. Raises :class:`KeyUnusable` if other users may access the
    file or it contains no key, and ``OSError`` if it cannot be created or read.
    """
    if not path.exists():
        _make(path)
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise KeyUnusable(f"other users may access the key file {path} (mode {mode:04o}): chmod 600 it")
        key = SecretStr(file.read().decode("ascii", "replace").strip())
    try:
        _decoded(key)
    except KeyUnusable as exc:
        raise KeyUnusable(f"the key file {path} contains no key: {exc}") from None
    return key


def _make(path: Path) -> None:
    """Write a key to a temporary file and link it to the path, so that no process ever reads half a key."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(new_key().get_secret_value().encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return  # another process was first, and its key is used
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink()
