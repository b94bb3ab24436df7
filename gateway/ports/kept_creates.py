"""The store's interface for kept creates: what the gateway sent to make the runtimes that exist, for moves whose source
cannot be reached (docs/moves.md). The rules of :mod:`gateway.ports.store` apply."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import msgspec


class StoredCreate(msgspec.Struct, frozen=True, kw_only=True):
    """The create of a runtime. ``request`` is as it is sealed in the intent ``intent_id``, or, if that is empty, the
    sealed line of an import. ``config`` is the sealed document of the last config that replaced the one of the create,
    if any."""

    provider: str
    runtime_id: str
    scope: str
    kind: str
    name: str
    namespace: str
    intent_id: str
    principal: str
    created_at: float
    request: bytes
    config: bytes | None = None


class StoredSpec(NamedTuple):
    """What was sent in the create of a runtime and its provider does not report, sealed."""

    namespace: str
    runtime_id: str
    sealed: bytes


class KeptCreateStore(ABC):
    """Stores the creates of runtimes: in their intents, and after those are purged in a table of their own."""

    @abstractmethod
    async def kept_creates(
        self, provider: str, *, scope: str | None = None, only: str | None = None, after: str = "", limit: int = 500
    ) -> Sequence[StoredCreate]:
        """A page of the creates, whose requests are kept, of runtimes of a provider (by its configured name), in the
        order of their ids, above ``after``; one for each runtime, the newest. ``only`` is one id. Without
        those of :meth:`drop_kept_create`."""

    @abstractmethod
    async def keep_create(self, create: StoredCreate) -> None:
        """Store a create that was imported, in place of what is known of its runtime. Its ``created_at`` is the time of
        the import."""

    @abstractmethod
    async def keep_config(self, provider: str, runtime_id: str, scope: str, sealed: bytes) -> None:
        """Store the config that replaced the one of the runtime's create, or a later one."""

    @abstractmethod
    async def drop_kept_create(self, provider: str, runtime_id: str) -> None:
        """The runtime was deleted: its create is not listed any longer, also if its intent ends later. An
        imported create is not dropped: it is one of a runtime that is gone."""
