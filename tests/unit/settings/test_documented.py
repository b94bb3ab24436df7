"""The example file and the settings page have every setting that the models have, with its default."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python
from ruamel.yaml import YAML

from adapters.registry import discover
from gateway.domain.values import TRAITS
from gateway.ports.provider_settings import ProviderSettings
from gateway.settings import Settings, StoreSettings, load_settings

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config" / "gateway.example.yaml"
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
MODELS = {api: plugin.settings for api, plugin in discover().items()}
REQUIRED = object()


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the default of every setting; ``NAME`` replaces names that the user chooses."""
    for name, field in model.model_fields.items():
        sections = list(_sections(field.annotation, f"{prefix}{name}."))
        if sections:
            for section, path in sections:
                yield from settings_of(section, path)
        if not sections or field.is_required():
            yield f"{prefix}{name}", REQUIRED if field.is_required() else field.get_default(call_default_factory=True)


def _sections(annotation: Any, path: str) -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, path
    elif get_origin(annotation) is dict:
        yield from _sections(get_args(annotation)[1], path + "NAME.")
    elif get_origin(annotation) in {Union, UnionType} or hasattr(annotation, "__metadata__"):
        for argument in get_args(annotation):
            yield from _sections(argument, path)


GENERAL = {path: default for path, default in settings_of(Settings) if not path.startswith("providers.NAME.name")}
GENERAL["version"] = REQUIRED  # in a file; settings made in code have the current version
COMMON = {path for path, _ in settings_of(ProviderSettings)}
OF_APIS = [
    (api, path, default) for api, model in MODELS.items() for path, default in settings_of(model) if path != "name"
]


def _present(values: Any, path: str) -> bool:
    name, _, rest = path.partition(".")
    if not isinstance(values, dict):
        return False
    inner = list(values.values()) if name == "NAME" else [values[name]] if name in values else []
    return any(not rest or _present(value, rest) for value in inner)


@pytest.fixture(scope="module")
def example() -> Any:
    return YAML(typ="safe", pure=True).load(EXAMPLE)


def _environ() -> dict[str, str]:
    names = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]{2,})\}", EXAMPLE.read_text(encoding="utf-8"))) - {"NAME"}
    assert names
    return {
        name: name.encode().hex().ljust(64, "0")[:64] if name.endswith("SHA256") else f"value-of-{name.lower()}"
        for name in names
    }


def test_settings_are_found_in_the_models() -> None:
    assert {"http.listen", "auth.keys.NAME.key_sha256", "providers.NAME.deadlines", "shutdown.grace"} <= set(GENERAL)
    assert {"durable", "bctrl"} <= set(MODELS)


def test_example_has_every_setting(example: Any) -> None:
    assert [path for path in GENERAL if not _present(example, path)] == []


def test_example_has_every_setting_of_every_provider_api(example: Any) -> None:
    """Those that all APIs have, of at least one provider; those of one API, of a provider of this API."""
    providers = example["providers"].values()
    missing = [
        (api, path)
        for api, path, _ in OF_APIS
        if not any((path in COMMON or entry["api"] == api) and _present(entry, path) for entry in providers)
    ]
    assert missing == []


def test_example_has_no_fault_and_shows_the_defaults() -> None:
    settings = load_settings(EXAMPLE, provider_models=MODELS, environ=_environ()).settings
    for section in ("http", "admin", "log", "shutdown", "creates"):
        assert getattr(settings, section) == Settings.model_fields[section].default
    assert settings.store == StoreSettings().relative_to(EXAMPLE.parent)
    for provider in settings.providers.values():
        for name, field in type(provider).model_fields.items():
            if not field.is_required() and name not in {"api", "scope"}:
                assert getattr(provider, name) == field.get_default(call_default_factory=True), name


def _rows(page: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `([a-zA-Z0-9_.]+)` \| `?([^|`]+?)`? \|", page, re.MULTILINE))


def _as_documented(default: Any) -> str:
    if default is REQUIRED:
        return "required"
    plain = to_jsonable_python(default.get_secret_value() if isinstance(default, SecretStr) else default)
    return plain if isinstance(plain, str) else json.dumps(plain)


def test_page_has_every_setting_with_its_default() -> None:
    rows = _rows(PAGE)
    assert {path: rows.get(path) for path in GENERAL} == {path: _as_documented(GENERAL[path]) for path in GENERAL}


@pytest.mark.parametrize("api", MODELS)
def test_page_has_every_setting_of_the_provider_api_with_its_default(api: str) -> None:
    rows = _rows(PAGE.partition(f"\n### {api}\n")[2].partition("\n#")[0])
    expected = {
        f"providers.NAME.{path}": _as_documented(default)
        for of_api, path, default in OF_APIS
        if of_api == api and path not in COMMON
    }
    assert {path: rows.get(path) for path in expected} == expected


def test_page_has_no_setting_that_does_not_exist() -> None:
    known = set(GENERAL) | {f"providers.NAME.{path}" for _, path, _ in OF_APIS}
    assert set(_rows(PAGE)) <= known


def test_page_has_the_default_deadline_of_every_operation() -> None:
    table = PAGE.split("| operations | default |")[1].split("\n\n")[0]
    documented = {
        operation: float(seconds)
        for names, seconds in re.findall(r"^\| (`.+`) \| (\d+) \|$", table, re.MULTILINE)
        for operation in re.findall(r"`(\w+)`", names)
    }
    assert documented == {operation.value: traits.deadline for operation, traits in TRAITS.items()}
