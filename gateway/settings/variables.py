"""What each ``RTGW_…`` variable sets. Only a process that has such a variable imports this module."""

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Any

from pydantic import create_model
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from gateway.ports.provider_settings import ProviderSettings
from gateway.settings.document import did_you_mean
from gateway.settings.model import Settings


class _Shape(BaseSettings, defer_build=True):
    """The sections and fields, which only have to be known: the values are validated later."""


class _OneVariable(EnvSettingsSource):
    """Reads a single variable, so that each value and each fault can be attributed to one variable."""

    def __init__(self, shape: type[BaseSettings], name: str, value: str, prefix: str) -> None:
        self._variable = {name.lower(): value}
        super().__init__(shape, env_prefix=prefix.lower(), env_nested_delimiter="__")

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the lists and mappings that are JSON. Other text stays as written: a key may consist of digits."""
        decoded = super().decode_complex_value(field_name, field, value)
        return value if isinstance(decoded, int | float | str) else decoded

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variable


def variable_values(
    variables: Mapping[str, str], prefix: str, provider_models: Mapping[str, type[ProviderSettings]]
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield each variable with the values that it sets, by section and name; None if it is not the JSON that it must
    be."""
    shape = _shape(provider_models)
    for name, value in variables.items():
        try:
            yield name, _OneVariable(shape, name, value, prefix)()
        except SettingsError:
            yield name, None


def _shape(provider_models: Mapping[str, type[ProviderSettings]]) -> type[BaseSettings]:
    fields: dict[str, Any] = {
        name: (field.annotation, None) for name, field in Settings.model_fields.items() if name != "version"
    }
    provider: Any = reduce(or_, provider_models.values(), ProviderSettings)
    fields["providers"] = (dict[str, provider], None)
    return create_model("Environment", __base__=_Shape, **fields)


def meant(variable: str, prefix: str) -> str:
    """The end of the message about a variable that may be misspelt."""
    _, separator, rest = variable.partition("__")
    known = [f"{prefix}{section.upper()}{separator}{rest}" for section in Settings.model_fields]
    for section, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", ())
        known += [f"{prefix}{section.upper()}__{name.upper()}" for name in inner]
    return did_you_mean(variable, known, at_least=0.8)
