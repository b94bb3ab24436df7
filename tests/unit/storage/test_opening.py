"""Making the store and its sealer from the settings, and the errors without a usable key."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.ports.sealing import Cell, Unreadable
from gateway.settings import SettingsError, StoreSettings
from gateway.storage.opening import key_file, open_store, require_key
from gateway.storage.postgres import PostgresStore
from gateway.storage.sqlite import SqliteStore

KEY = SecretStr(base64.b64encode(bytes(range(32))).decode())
CELL = Cell("intents", "in_1", "request")


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    return StoreSettings.in_file(tmp_path / "store.db")


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_a_sqlite_store_without_a_key_gets_a_key_file_and_keeps_it(
    settings: StoreSettings, tmp_path: Path
) -> None:
    """No other file is created before the store is opened or upgraded."""
    store, sealer = open_store(settings)
    assert isinstance(store, SqliteStore)
    assert modes(tmp_path) == {"store.db.key": 0o600}
    sealed = sealer.seal(b"plain", CELL)
    await store.upgrade()
    again, other = open_store(settings)
    assert other.unseal(sealed, CELL) == b"plain"
    assert (await again.schema()).fault is None


def test_a_key_in_the_settings_replaces_the_key_file(settings: StoreSettings, tmp_path: Path) -> None:
    _, sealer = open_store(settings.model_copy(update={"encryption_keys": [KEY]}))
    assert modes(tmp_path) == {}
    _, kept = open_store(settings)
    with pytest.raises(Unreadable):
        kept.unseal(sealer.seal(b"plain", CELL), CELL)


async def test_a_missing_key_file_of_an_existing_database_is_not_recreated(
    settings: StoreSettings, tmp_path: Path
) -> None:
    """With another key, sealed values would be lost and repeated requests not be recognised."""
    store, _ = open_store(settings)
    await store.upgrade()
    key_file(tmp_path / "store.db").unlink()
    with pytest.raises(SettingsError, match=r"its key file .*store\.db\.key does not"):
        open_store(settings)
    assert not key_file(tmp_path / "store.db").exists()


def test_a_missing_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"store\.db\.key cannot be read or created: No such file or directory$"):
        open_store(StoreSettings.in_file(tmp_path / "none" / "store.db"))


async def test_a_check_of_the_key_finds_what_a_start_would_and_creates_nothing(
    settings: StoreSettings, tmp_path: Path
) -> None:
    require_key(settings)
    require_key(StoreSettings.in_file(tmp_path / "none" / "store.db"))
    assert modes(tmp_path) == {}
    store, _ = open_store(settings)
    require_key(settings)
    await store.upgrade()
    require_key(settings)
    key = key_file(tmp_path / "store.db")
    for mode in (0o640, 0o604, 0o620, 0o601):
        key.chmod(mode)
        with pytest.raises(SettingsError, match="chmod 600"):
            require_key(settings)
    key.chmod(0o600)
    key.write_text("no key")
    with pytest.raises(SettingsError, match=r"store\.db\.key contains no key") as caught:
        require_key(settings)
    assert [problem.path for problem in caught.value.problems] == ["store.encryption_keys"]
    key.unlink()
    for check in (require_key, open_store):
        with pytest.raises(SettingsError, match=r"its key file .*store\.db\.key does not"):
            check(settings)
    key.mkdir()
    with pytest.raises(SettingsError, match="cannot be read or created: Is a directory"):
        require_key(settings)
    require_key(settings.model_copy(update={"encryption_keys": [KEY]}))


def test_a_path_below_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be read or created: Not a directory"):
        open_store(StoreSettings.in_file(tmp_path / "file" / "store.db"))


def test_a_url_selects_postgresql(tmp_path: Path) -> None:
    url = SecretStr("postgresql://gateway:s3cr3t@db.test/gateway")
    store, _ = open_store(StoreSettings(url=url, encryption_keys=[KEY]))
    assert isinstance(store, PostgresStore)
    assert "s3cr3t" not in repr(vars(store))


def test_a_file_store_does_not_import_asyncpg() -> None:
    """The driver costs memory."""
    code = "import sys, gateway.storage.opening; sys.exit('asyncpg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
