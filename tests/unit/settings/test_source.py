"""A source of settings notices a change of every file that it has read."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError, SettingsSource
from tests.unit.settings.conftest import AUTH, ERAS, GOOD, MODELS

FILED = (
    "version: 1\n"
    + AUTH
    + "providers: {main: {api: red, base_url: 'http://red.test', token: 'file:token', ca_file: %s}}\n"
)


@pytest.fixture
def source(tmp_path: Path, certificate: str) -> SettingsSource:
    (tmp_path / "token").write_text("t0ken")
    (tmp_path / "ca.pem").write_text(certificate)
    file = tmp_path / "gateway.yaml"
    file.write_text(FILED % (tmp_path / "ca.pem"))
    return SettingsSource(file, MODELS)


@pytest.mark.parametrize("name", ["gateway.yaml", "token", "ca.pem"])
def test_change_of_any_file_is_noticed_until_it_is_read(source: SettingsSource, tmp_path: Path, name: str) -> None:
    source.load()
    assert not source.changed()
    file = tmp_path / name
    file.write_text(file.read_text() + "\n")
    assert source.changed()
    source.load()
    assert not source.changed()


def test_file_replaced_with_the_same_content_is_a_change(source: SettingsSource, tmp_path: Path) -> None:
    """Kubernetes updates a mounted secret in this way, through a link to another folder."""
    source.load()
    other = tmp_path / "other"
    other.write_text("t0ken")
    other.replace(tmp_path / "token")
    assert source.changed()


def test_files_of_faulty_settings_are_watched_too(source: SettingsSource, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    with pytest.raises(SettingsError):
        source.load()
    assert not source.changed()
    (tmp_path / "token").write_text("t0ken")
    assert source.changed()
    assert source.load().settings.providers["main"].token.get_secret_value() == "t0ken"


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_unusable_certificate_is_a_fault_until_it_is_replaced(
    source: SettingsSource, tmp_path: Path, certificate: str, content: str | None
) -> None:
    """A file that is only half written must not replace working connections."""
    (tmp_path / "ca.pem").unlink()
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(SettingsError) as refused:
        source.load()
    assert [problem.path for problem in refused.value.problems] == ["providers.main.ca_file"]
    assert not source.changed()
    (tmp_path / "ca.pem").write_text(certificate)
    assert source.changed()
    source.load()


def test_relative_certificate_file_starts_at_the_settings_folder(tmp_path: Path, certificate: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD.replace("scope: one", "scope: one, ca_file: ca.pem"))
    (tmp_path / "ca.pem").write_text(certificate)
    assert SettingsSource(file, MODELS).load().settings.providers["main"].ca_file == str(tmp_path / "ca.pem")


def test_flags_override_the_file_at_every_load(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD)
    source = SettingsSource(file, MODELS, {"log.level": "debug"})
    assert source.load().settings.log.level == "debug"
    file.write_text(GOOD + "log: {level: error}\n")
    assert source.load().settings.log.level == "debug"


def test_unknown_era_is_a_fault_at_every_load(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD)
    source = SettingsSource(file, MODELS, {}, ERAS)
    source.load()
    file.write_text(GOOD + "dialects: {shades: {routes: [{scope: one, provider: main, era: grey}]}}\n")
    with pytest.raises(SettingsError, match=r"dialects\.shades\.routes\.0\.era: .*one of: dark, light"):
        source.load()
