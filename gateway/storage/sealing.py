"""Sealing with AES-256-GCM, under keys that can be rotated, and the file that keeps a key where none is configured."""

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
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from gateway.domain.digests import DIGEST_RULE, request_digest
from gateway.ports.sealing import KEY_BYTES, Cell, Sealer, Unreadable, key_bytes

_FORMAT: Final = b"\x01"
_ID: Final = 6  # bytes
_NONCE: Final = 12  # bytes; random ones are good for 2**32 seals with one key


class KeyUnusable(ValueError):
    """A key, or the file that it is in, cannot be used. Says why, and nothing of the key."""


class _Key:
    """One secret, and what is derived from it for each purpose, so that no purpose weakens another."""

    def __init__(self, secret: bytes) -> None:
        self.id = _derived(secret, b"id")[:_ID]
        self.aead = AESGCM(_derived(secret, b"seal"))
        self.digest = _derived(secret, b"digest")


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"runtime-gateway store " + purpose, hashlib.sha256)


class Keyring(Sealer):
    """Keys of which the first seals and all open: ``[new, old]``. Each is 32 random bytes in base64.

    Sealed: a byte for the format, the id of the key, the nonce, and AES-256-GCM of the text with its cell, the format
    and the key's id as associated data. Raises :class:`KeyUnusable`.
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

    def unseal(self, sealed: bytes, cell: Cell) -> bytes:
        head, rest = sealed[: 1 + _ID], sealed[1 + _ID :]
        key = self._keys.get(head[1:])
        if head[:1] != _FORMAT or key is None:
            raise Unreadable("sealed with a key that is not known here")
        try:
            return key.aead.decrypt(rest[:_NONCE], rest[_NONCE:], _bound(head, cell))
        except (InvalidTag, ValueError) as exc:
            raise Unreadable("changed since it was sealed, or sealed for another place") from exc

    @property
    def digest_version(self) -> str:
        return f"{DIGEST_RULE}.{self._newest.id.hex()}"

    def digest(self, operation: str, document: Mapping[str, Any], version: str) -> bytes:
        rule, _, key_id = version.partition(".")
        key = next((key for key in self._keys.values() if key.id.hex() == key_id), None)
        if rule != DIGEST_RULE or key is None:
            raise Unreadable("a digest of a rule or key that is not known here")
        return request_digest(operation, document, key.digest)


def _bound(head: bytes, cell: Cell) -> bytes:
    return head + msgspec.json.encode([cell.table, cell.row, cell.column])


def _decoded(key: SecretStr) -> bytes:
    try:
        return key_bytes(key.get_secret_value())
    except ValueError as exc:
        raise KeyUnusable(str(exc)) from None


def new_key() -> SecretStr:
    """A fresh key."""
    return SecretStr(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())


def key_from_file(path: Path) -> SecretStr:
    """The key that the file keeps; a file that is not there is made, for its owner only (0600).

    Processes that start at the same moment get the same key. Raises :class:`KeyUnusable` when others may read or write
    the file, or it holds no key; ``OSError`` when it cannot be made or read.
    """
    if not path.exists():
        _make(path)
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise KeyUnusable(f"others may use the key file {path} (mode {mode:04o}): chmod 600 it")
        key = SecretStr(file.read().decode("ascii", "replace").strip())
    _decoded(key)
    return key


def _make(path: Path) -> None:
    """Write a key beside the path and link it there, so that nobody ever reads half of one."""
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
            return  # another process was first, and its key is the one
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink()
