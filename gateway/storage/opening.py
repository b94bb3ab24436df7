"""Makes the store and its sealer from the settings."""

from pathlib import Path

from pydantic import SecretStr

from gateway.ports.sealing import Sealer
from gateway.settings import Problem, SettingsError, StoreSettings
from gateway.storage.sealing import Keyring, KeyUnusable, key_from_file
from gateway.storage.sql_store import SqlStore
from gateway.storage.sqlite import SqliteStore


def store_of(settings: StoreSettings) -> SqlStore:
    """The store that the settings describe. It connects only in its own ``open``."""
    if settings.file is not None:
        return SqliteStore(settings.file, timeout=settings.timeout)
    from gateway.storage.postgres import PostgresStore  # noqa: PLC0415 (asyncpg costs memory, and SQLite does not need it)

    return PostgresStore(settings.url, connections=settings.connections, timeout=settings.timeout)


def open_store(settings: StoreSettings) -> tuple[SqlStore, Sealer]:
    """The store that the settings describe, and its sealer. Call it before an upgrade creates a database: a database
    needs a key.

    If the settings have no key for a SQLite store, the key is read from its key file, which is created if neither it
    nor the database exists. Raises :class:`SettingsError` if there is no usable key.
    """
    try:
        file = settings.file
        keys = settings.encryption_keys or ([_key_beside(file)] if file is not None else [])
        return store_of(settings), Keyring(keys)
    except KeyUnusable as exc:
        raise _fault(exc) from exc


def require_key(settings: StoreSettings) -> None:
    """Raise :class:`SettingsError` if :func:`open_store` would find no usable key. Creates nothing."""
    file = settings.file
    if settings.encryption_keys or file is None:
        return
    try:
        if _exists(file) or _exists(key_file(file)):
            _key_beside(file)
    except KeyUnusable as exc:
        raise _fault(exc) from exc


def key_file(database: Path) -> Path:
    """The path of a SQLite store's key file, which is used if the settings have no key."""
    return database.with_name(f"{database.name}.key")


def _key_beside(database: Path) -> SecretStr:
    path = key_file(database)
    if _exists(database) and not _exists(path):
        raise KeyUnusable(
            f"the store {database} exists but its key file {path} does not: restore it, or set store.encryption_keys"
        )
    try:
        return key_from_file(path)
    except OSError as exc:
        raise KeyUnusable(f"the key file {path} cannot be read or created: {exc.strerror}") from exc


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:
        raise KeyUnusable(f"{path} cannot be read: {exc.strerror}") from exc


def _fault(exc: KeyUnusable) -> SettingsError:
    return SettingsError([Problem("store.encryption_keys", str(exc))])
