"""The keys of specs in the store: the namespace of a runtime, and the provider's id of it."""

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from gateway.domain.intents import namespace_of
from gateway.ports.provider import ProviderAdapter
from gateway.ports.sealing import Cell


class SpecKey(NamedTuple):
    """The key of a spec. ``runtime_id`` is the provider's."""

    namespace: str
    runtime_id: str

    @property
    def cell(self) -> Cell:
        """The cell to which its sealed value is bound."""
        return Cell("specs", msgspec.json.encode(self).decode(), "sealed")


@lru_cache(maxsize=1024)
def namespace_at(api: str, address: str, scope: str) -> str:
    return namespace_of(api, address, "", scope)


def key_of(adapter: ProviderAdapter[Any], scope: str, runtime_id: str) -> SpecKey:
    return SpecKey(namespace_at(adapter.api, adapter.settings.address, scope), runtime_id)
