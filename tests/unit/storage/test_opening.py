"""From the settings to a store: its key, and what is said when there is none to be had."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.ports.sealing import Cell, Unreadable
from gateway.settings import StoreSettings
from gateway.storage.opening import key_file, open_store
from gateway.storage.postgres import PostgresStore
from gateway.storage.sealing import KeyUnusable
from gateway.storage.sqlite import SqliteStore

KEY = SecretStr(base64.b64encode(bytes(range(32))).decode())
CELL = Cell("intents", "in_1", "request")


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    return StoreSettings.in_file(tmp_path / "store.db")


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_a_file_gets_a_key_beside_it_which_stays(settings: StoreSettings, tmp_path: Path) -> None:
    """And nothing else happens before the store is opened or upgraded."""
    store, sealer = open_store(settings)
    assert isinstance(store, SqliteStore)
    assert modes(tmp_path) == {"store.db.key": 0o600}
    sealed = sealer.seal(b"plain", CELL)
    await store.upgrade()
    again, other = open_store(settings)
    assert other.unseal(sealed, CELL) == b"plain"
    assert (await again.schema()).fault is None


def test_a_key_of_the_settings_is_used_instead(settings: StoreSettings, tmp_path: Path) -> None:
    _, sealer = open_store(settings.model_copy(update={"encryption_keys": [KEY]}))
    assert modes(tmp_path) == {}
    _, kept = open_store(settings)
    with pytest.raises(Unreadable):
        kept.unseal(sealer.seal(b"plain", CELL), CELL)


async def test_a_database_without_its_key_file_gets_no_new_one(settings: StoreSettings, tmp_path: Path) -> None:
    """What is sealed in it would be lost, and repeated requests would not be told apart."""
    store, _ = open_store(settings)
    await store.upgrade()
    key_file(tmp_path / "store.db").unlink()
    with pytest.raises(KeyUnusable, match=r"its key file .*store\.db\.key is not"):
        open_store(settings)
    assert not key_file(tmp_path / "store.db").exists()


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match=r"store\.db\.key cannot be read or made: No such file or directory$"):
        open_store(StoreSettings.in_file(tmp_path / "none" / "store.db"))


def test_an_address_is_postgresqls(tmp_path: Path) -> None:
    url = SecretStr("postgresql://gateway:s3cr3t@db.test/gateway")
    store, _ = open_store(StoreSettings(url=url, encryption_keys=[KEY]))
    assert isinstance(store, PostgresStore)
    assert "s3cr3t" not in repr(vars(store))


def test_a_file_needs_nothing_of_postgresql() -> None:
    """A driver that is not needed is not in memory."""
    code = "import sys, gateway.storage.opening; sys.exit('asyncpg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
