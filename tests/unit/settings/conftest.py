"""Fixtures that write a settings file in a temporary folder and load it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import SecretStr

from gateway.ports.provider_settings import ProviderSettings
from gateway.settings import LoadedSettings, Problem, SettingsError, load_settings


class RedSettings(ProviderSettings):
    own_paths: ClassVar[tuple[str, ...]] = ("/v1",)

    api: Literal["red"]
    passphrase: SecretStr | None = None
    shades: list[str] = []


class BlueSettings(ProviderSettings):
    api: Literal["blue"]


MODELS: Mapping[str, type[ProviderSettings]] = {"red": RedSettings, "blue": BlueSettings}

ERAS = {"shades": {"dark", "light"}, "plain": set[str]()}
AUTH = "auth: {keys: {ci: {key: 0123456789abcdef-ci}}}\n"
PROVIDERS = "providers: {main: {api: red, base_url: 'http://red.test', token: t0ken, scope: one}}\n"
GOOD = "version: 1\n" + AUTH + PROVIDERS

Load = Callable[..., LoadedSettings]
Faults = Callable[..., dict[str, str]]


@pytest.fixture(scope="session")
def certificate() -> str:
    """A self-signed certificate, in PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + timedelta(days=2))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loading(
        text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
    ) -> LoadedSettings:
        file = tmp_path / "gateway.yaml"
        file.write_text(text, encoding="utf-8")
        return load_settings(
            file, provider_models=MODELS, environ=environ or {}, overrides=overrides, dialect_eras=ERAS
        )

    return loading


@pytest.fixture
def faults(load: Load, tmp_path: Path) -> Faults:
    """Loads settings that must have faults, and returns their messages by path; the folder is removed from both."""

    def failing(text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        with pytest.raises(SettingsError) as caught:
            load(text, environ)
        found = [Problem(*(part.replace(f"{tmp_path}/", "") for part in p)) for p in caught.value.problems]
        assert len(dict(found)) == len(found), "a path is reported twice"
        return dict(found)

    return failing
