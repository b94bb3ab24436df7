"""The location of the store, and the rules for its secrets."""

import base64
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from gateway.settings import Settings, SettingsError, StoreSettings, effective, load_store_settings

from .conftest import GOOD, Faults, Load

KEY, OTHER = (base64.b64encode(bytes([number] * 32)).decode() for number in (1, 2))
POSTGRES = "postgresql://gateway:s3cr3t@db.test:5432/gateway?password=s3cr3t"


def test_default_store_is_a_file_in_the_settings_folder(load: Load, tmp_path: Path) -> None:
    loaded = load(GOOD)
    assert loaded.settings.store.file == tmp_path / "runtime-gateway.db"
    assert ("store.url", f"sqlite:///{tmp_path}/runtime-gateway.db", "default") in effective(loaded)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///store.db", "{folder}/store.db"),
        ("sqlite:///data/a b#%20.db", "{folder}/data/a b#%20.db"),
        ("sqlite:////var/lib/store.db", "/var/lib/store.db"),
    ],
)
def test_relative_store_file_starts_at_the_settings_folder(load: Load, tmp_path: Path, url: str, file: str) -> None:
    settings = load(GOOD + f"store: {{url: '{url}'}}\n").settings
    assert str(settings.store.file) == file.format(folder=tmp_path)


def test_store_file_of_settings_made_in_code_is_unchanged(load: Load, tmp_path: Path) -> None:
    """Without a settings file, a relative file starts at the working directory."""
    settings = Settings.model_validate({**dict(load(GOOD).settings), "store": StoreSettings.in_file(tmp_path / "x.db")})
    assert settings.store.file == tmp_path / "x.db"
    assert StoreSettings().file == Path("runtime-gateway.db")


def test_postgresql_address_and_keys_are_secrets(load: Load, tmp_path: Path) -> None:
    """They may come from files and variables, and are never shown."""
    (tmp_path / "address").write_text(POSTGRES + "\n")
    (tmp_path / "key").write_text(KEY + "\n")
    loaded = load(
        GOOD + "store: {url: 'file:address', encryption_keys: ['file:key', '${OTHER}']}\n",
        {"OTHER": OTHER, "RTGW_STORE__MIGRATE": "manual", "RTGW_CREATES__WAIT_OUT": "2"},
    )
    store = loaded.settings.store
    assert (store.file, store.url.get_secret_value(), store.migrate) == (None, POSTGRES, "manual")
    assert [key.get_secret_value() for key in store.encryption_keys] == [KEY, OTHER]
    assert loaded.settings.creates.wait_out == 2
    shown = effective(loaded)
    assert [item.value for item in shown if item.path == "store.url"] == ["**********"]
    for text in (str(shown), repr(loaded), loaded.settings.model_dump_json(), str(loaded.settings.model_dump())):
        assert not any(secret in text for secret in ("s3cr3t", KEY, OTHER))


def test_keys_may_come_from_a_variable(load: Load) -> None:
    environ = {"RTGW_STORE__URL": POSTGRES, "RTGW_STORE__ENCRYPTION_KEYS": f'["{KEY}"]'}
    assert load(GOOD, environ).settings.store.encryption_keys == [SecretStr(KEY)]


@pytest.mark.parametrize(
    ("store", "path", "message"),
    [
        ("url: 'sqlite:///'", "url", "a SQLite store must be a file"),
        ("url: 'sqlite:////'", "url", "a SQLite store must be a file"),
        ("url: 'sqlite:///folder/'", "url", "a SQLite store must be a file"),
        ("url: 'sqlite:///:memory:'", "url", "a SQLite store must be a file"),
        ("url: 'sqlite:///s3cr3t.db?mode=ro'", "url", "a SQLite store must be a file"),
        ("url: 'sqlite://s3cr3t.db'", "url", "the store must be sqlite:///FILE or"),
        ("url: 'mysql://u:s3cr3t@h/d'", "url", "the store must be sqlite:///FILE or"),
        ("url: 'postgresql://u:s3cr3t@h:port/d'", "url", "the host or the port"),
        ("url: 'postgresql://u:s3cr3t@[h/d'", "url", "the host or the port"),
        ("url: 'postgresql://u:s3cr3t@h/d'", "encryption_keys", "at least one key is required for PostgreSQL"),
        ("encryption_keys: [s3cr3t]", "encryption_keys", "an encryption key has to be base64"),
        (f"encryption_keys: ['{KEY[:-4]}']", "encryption_keys", "an encryption key has to be 32 bytes in base64"),
        (f"encryption_keys: ['{KEY}', '{KEY}']", "encryption_keys", "an encryption key is given twice"),
        ("migrate: never", "migrate", "input should be 'auto' or 'manual'"),
        ("timeout: 0", "timeout", "input should be greater than or equal to 0.1"),
        ("connections: 0", "connections", "input should be greater than or equal to 1"),
    ],
)
def test_unusable_store_settings_are_reported_without_secrets(
    faults: Faults, store: str, path: str, message: str
) -> None:
    ((found_path, found),) = faults(GOOD + f"store: {{{store}}}\n").items()
    assert found_path == f"store.{path}"
    assert found.startswith(message)
    assert "s3cr3t" not in found
    assert KEY[:8] not in found


@pytest.mark.parametrize(
    ("setting", "bad"),
    [
        *(("wait_out", value) for value in (0, 43_201)),
        *(("join_wait", value) for value in (-1, 61)),
        *(("send_within", value) for value in (0, 61)),
        *(("lease_margin", value) for value in (0, 601)),
        *(("retention", value) for value in (59, 2_592_001)),
        *(("settle_every", value) for value in (0, 61)),
        *(("settling_in_flight", value) for value in (0, 65)),
    ],
)
def test_creates_setting_out_of_bounds_is_refused(faults: Faults, setting: str, bad: float) -> None:
    assert list(faults(GOOD + f"creates: {{{setting}: {bad}}}\n")) == [f"creates.{setting}"]


def test_postgresql_without_a_key_is_refused_even_in_code() -> None:
    with pytest.raises(ValidationError, match="at least one key is required for PostgreSQL"):
        StoreSettings(url=SecretStr(POSTGRES))


def test_store_is_read_without_the_other_sections(tmp_path: Path) -> None:
    """Their faults do not matter, nor do secrets that only the gateway can read."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "version: 1\n"
        "auth: {keys: {ci: {key: '${NOT_SET}'}}}\n"
        "providers: {main: {api: none, token: 'file:missing', base_url: '${NOT_SET}'}, main: 1}\n"
        "unknown: 1\n"
        "store: {url: '${URL}', migrate: auto}\n"
    )
    environ = {"URL": "sqlite:///data/x.db", "RTGW_STORE__MIGRATE": "manual", "RTGW_PROVIDERS__MAIN__ORDER": "x"}
    store = load_store_settings(file, environ=environ)
    assert (store.file, store.migrate) == (tmp_path / "data" / "x.db", "manual")


@pytest.mark.parametrize(
    ("text", "environ", "fault"),
    [
        ("version: 1\nstore: {url: '${NOT_SET}'}\n", {}, "store.url: the environment variable NOT_SET is not set"),
        ("version: 1\nstore: {url: 'file:missing'}\n", {}, "store.url: the file "),
        ("version: 1\nstore: {urls: 1}\n", {}, "store.urls: there is no setting of this name"),
        ("version: 1\nstore: 1\n", {}, "store: this must be a mapping of settings"),
        ("version: 1\nstore: {}\nstore: {}\n", {}, "store: repeated in line 3; first given in line 2"),
        ("version: 1\n", {"RTGW_STORE__NONE": "1"}, "store.none: there is no setting of this name"),
        ("version: 2\n", {}, "version: this gateway reads version 1 only"),
        ("store: {}\n", {}, "version: this setting is required"),
        ("version: 1\nstore: [\n", {}, "{file}:"),
        ("- 1\n", {}, "{file}:1: is not a mapping of settings"),
    ],
)
def test_fault_of_the_store_is_reported_without_the_other_sections(
    tmp_path: Path, text: str, environ: dict[str, str], fault: str
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as failed:
        load_store_settings(file, environ=environ)
    (problem,) = failed.value.problems
    assert str(problem).startswith(fault.format(file=file))


def test_missing_settings_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file or directory"):
        load_store_settings(tmp_path / "none.yaml", environ={})
