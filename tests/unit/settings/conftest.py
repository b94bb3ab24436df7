"""A settings file in a folder of its own, and a way to load it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import SecretStr

from gateway.ports.provider_settings import ProviderSettings
from gateway.settings import LoadedSettings, Problem, SettingsError, load_settings


class RedSettings(ProviderSettings):
    api: Literal["red"]
    passphrase: SecretStr | None = None
    shades: list[str] = []


class BlueSettings(ProviderSettings):
    api: Literal["blue"]


MODELS: Mapping[str, type[ProviderSettings]] = {"red": RedSettings, "blue": BlueSettings}

AUTH = "auth: {keys: {ci: {key: 0123456789abcdef-ci}}}\n"
PROVIDERS = "providers: {main: {api: red, base_url: 'http://red.test', token: t0ken, scope: one}}\n"
GOOD = "version: 1\n" + AUTH + PROVIDERS

Load = Callable[..., LoadedSettings]
Faults = Callable[..., dict[str, str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loading(
        text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
    ) -> LoadedSettings:
        file = tmp_path / "gateway.yaml"
        file.write_text(text, encoding="utf-8")
        return load_settings(file, provider_models=MODELS, environ=environ or {}, overrides=overrides)

    return loading


@pytest.fixture
def faults(load: Load, tmp_path: Path) -> Faults:
    """Loads, expects to fail, and gives the message of each fault by its path; the folder is cut out of both."""

    def failing(text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        with pytest.raises(SettingsError) as caught:
            load(text, environ)
        found = [Problem(*(part.replace(f"{tmp_path}/", "") for part in p)) for p in caught.value.problems]
        assert len(dict(found)) == len(found), "no place is told twice"
        return dict(found)

    return failing
