"""What an adapter folder declares about itself, in the ``PLUGIN`` of its ``__init__``."""

from collections.abc import Mapping
from dataclasses import dataclass
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
    """One provider API. ``api`` equals the folder's name.

    ``emulator`` is ``module:function``, imported only when an emulator runs; the function takes the keyword arguments
    ``token`` (the one credential it accepts) and ``personality`` (a mapping of choices) and returns an aiohttp
    application. The module also defines ``PERSONALITIES``. ``dialect`` is the API spoken inbound.
    """

    api: str
    adapter: type[ProviderAdapter[Any]]
    settings: type[ProviderSettings]
    emulator: str
    demo: Demo
    dialect: type[Dialect] | None = None

    @property
    def personalities(self) -> Mapping[str, tuple[str, ...]]:
        """The choices of each personality, the default first, as the emulator's module declares them. Imports it."""
        module, _, _ = self.emulator.partition(":")
        declared: Mapping[str, tuple[str, ...]] = import_module(module).PERSONALITIES
        return declared
