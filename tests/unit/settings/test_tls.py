"""The certificate of a listener: which files are usable, and what is reported about others."""

import ssl
from pathlib import Path

import pytest

from gateway.settings import SettingsError, SettingsSource
from tests.certificates import write_certificate

from .conftest import GOOD, MODELS, Faults, Load

TLS = GOOD + "http: {tls: {cert: one.crt, key: one.key}}\n"


def test_files_start_at_the_settings_folder(load: Load, tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    tls = load(TLS).settings.http.tls
    assert (tls.cert, tls.key) == (str(cert), str(key))
    context = tls.context()
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_without_files_there_is_no_tls(load: Load) -> None:
    assert load(GOOD).settings.http.tls.context() is None


@pytest.mark.parametrize("given", ["cert: one.crt", "key: one.key"])
def test_one_file_alone_is_refused(faults: Faults, given: str) -> None:
    assert list(faults(GOOD + f"http: {{tls: {{{given}}}}}\n")) == ["http.tls"]


@pytest.mark.parametrize(
    ("file", "content", "setting", "message"),
    [
        ("one.crt", None, "cert", "the file one.crt cannot be read: No such file or directory"),
        ("one.key", None, "key", "the file one.key cannot be read: No such file or directory"),
        ("one.crt", "", "cert", "the file one.crt holds no readable certificate in PEM format"),
        ("one.crt", "-----BEGIN CERTIFICATE-----\nMIIB", "cert", "the file one.crt holds no readable certificate"),
        ("one.key", "no key", "key", "the file one.key holds no readable private key in PEM format"),
        ("one.key", "other.key", "key", "the key in one.key is not that of the first certificate"),
        ("one.key", "secret.key", "key", "the file one.key holds no readable private key in PEM format"),
    ],
)
def test_unusable_file_is_a_fault_that_names_it(
    faults: Faults, tmp_path: Path, file: str, content: str | None, setting: str, message: str
) -> None:
    """A key with a passphrase counts as unreadable: nobody could enter it."""
    write_certificate(tmp_path)
    write_certificate(tmp_path, "other")
    write_certificate(tmp_path, "secret", passphrase=b"1234")
    if content is None:
        (tmp_path / file).unlink()
    else:
        named = tmp_path / content
        (tmp_path / file).write_text(named.read_text() if content.endswith(".key") else content)
    ((path, found),) = faults(TLS).items()
    assert path == f"http.tls.{setting}"
    assert found.startswith(message)


@pytest.mark.parametrize("name", ["one.crt", "one.key"])
def test_replaced_file_is_a_change_of_the_settings(tmp_path: Path, name: str) -> None:
    write_certificate(tmp_path)
    file = tmp_path / "gateway.yaml"
    file.write_text(TLS)
    source = SettingsSource(file, MODELS)
    source.load()
    assert not source.changed()
    (tmp_path / name).write_text("half of a file")
    assert source.changed()
    with pytest.raises(SettingsError):
        source.load()
    assert not source.changed()
    write_certificate(tmp_path)
    assert source.changed()
    source.load()
