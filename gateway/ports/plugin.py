"""What an adapter package declares about itself, in the ``PLUGIN`` of its ``__init__``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from gateway.ports.dialect import Dialect
from gateway.ports.provider import ProviderAdapter
from gateway.ports.provider_settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class Demo:
    """The provider that ``runtime-gateway demo`` configures for the adapter's emulator.

    ``base_path`` is appended to the emulator's address; ``options`` are further provider settings.
    """

    provider: str
    scope: str
    base_path: str = ""
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AdapterPlugin:
    """One provider API. ``api`` equals the name of the adapter's folder.

    ``emulator`` is ``module:function``, which is imported only when an emulator runs. The function takes the keyword
    arguments ``token`` (the only credential that it accepts) and ``personality`` (the chosen value by name) and returns
    an aiohttp application. ``emulator_options`` are its further keyword arguments, with their values in ``emulate`` and
    ``demo``. The module also defines ``PERSONALITIES``. ``dialect`` serves the API to its clients; None
    where the gateway does not.
    """

    api: str
    adapter: type[ProviderAdapter[Any]]
    settings: type[ProviderSettings]
    emulator: str
    demo: Demo
    dialect: type[Dialect] | None = None
    emulator_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def personalities(self) -> Mapping[str, tuple[str, ...]]:
        """The possible values of each personality, the default first, as the emulator's module declares them. Imports
        that module."""
        module, _, _ = self.emulator.partition(":")
        declared: Mapping[str, tuple[str, ...]] = import_module(module).PERSONALITIES
        return declared
