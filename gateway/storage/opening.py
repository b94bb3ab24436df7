"""From the settings to a store and what seals for it."""

from pathlib import Path

from pydantic import SecretStr

from gateway.ports.sealing import Sealer
from gateway.settings import StoreSettings
from gateway.storage.sealing import Keyring, KeyUnusable, key_from_file
from gateway.storage.sql_store import SqlStore
from gateway.storage.sqlite import SqliteStore


def store_of(settings: StoreSettings) -> SqlStore:
    """The store that the settings describe. Nothing is connected to before its own ``open``."""
    if settings.file is not None:
        return SqliteStore(settings.file, timeout=settings.timeout)
    from gateway.storage.postgres import PostgresStore  # noqa: PLC0415 (asyncpg costs memory where it is not needed)

    return PostgresStore(settings.url, connections=settings.connections, timeout=settings.timeout)


def open_store(settings: StoreSettings) -> tuple[SqlStore, Sealer]:
    """That store, and what seals for it. Call it before an upgrade makes a database, which has to have a key.

    Where a SQLite store has no key in the settings, its key file is read, or made where there is no database yet.
    Raises :class:`KeyUnusable`, in one line, when that cannot be done.
    """
    file = settings.file
    keys = settings.encryption_keys or ([_kept_beside(file)] if file is not None else [])
    return store_of(settings), Keyring(keys)


def key_file(database: Path) -> Path:
    """Where a SQLite store keeps its key, if it is not in the settings."""
    return database.with_name(f"{database.name}.key")


def _kept_beside(database: Path) -> SecretStr:
    path = key_file(database)
    if database.exists() and not path.exists():
        raise KeyUnusable(
            f"the store {database} is there and its key file {path} is not: put it back, or set store.encryption_keys"
        )
    try:
        return key_from_file(path)
    except OSError as exc:
        raise KeyUnusable(f"the key file {path} cannot be read or made: {exc.strerror}") from exc
