"""What a provider's runtimes do by themselves, and what of them exists only there: the plan of a move compares them
(docs/moves.md).

An adapter that declares nothing can be moved from and to as well; the plan then says that these rules are unknown.
"""

from abc import ABC
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from gateway.domain.moves import Lost
from gateway.domain.runtime import Runtime
from gateway.ports.transport import Call

ReferenceKind: TypeAlias = Literal[
    "secret_ids", "projects", "profile_ids", "extension_ids", "capabilities", "build_sources"
]
"""What a value in a create refers to, by the name of its mapping in the request of a plan."""


class Topic(StrEnum):
    """What the rules are about, and APIs differ in."""

    CREATE = "create"  # what a create starts
    LIFETIME = "lifetime"  # what ends the compute, and when
    PAUSE = "pause"  # what a pause keeps
    STOP = "stop"  # what the end of the compute discards
    RESTART = "restart"  # what stays the same after a restart
    PERSISTENCE = "persistence"  # what is kept if a create does not say it


class ProviderSemantics(ABC):
    """The semantics of one provider API. ``rules`` has a sentence for each topic; equal sentences mean the same.
    ``account`` is what belongs to the account, and does not go with its runtimes. ``unreported`` are pointers to
    members of a create that no read returns."""

    rules: ClassVar[Mapping[Topic, str]]
    account: ClassVar[tuple[str, ...]] = ()
    unreported: ClassVar[tuple[str, ...]] = ()

    def losses(self, runtime: Runtime) -> Iterable[Lost]:
        """What of a runtime does not exist at any other place. ``logins`` are not lost where the create at the target
        starts from a saved state (:meth:`start_from`). No I/O."""
        del runtime
        return ()

    def members(self, runtime: Runtime) -> dict[str, Any]:
        """Members of a create of the same runtime that are reported in the provider's own way. No I/O."""
        del runtime
        return {}

    def start_from(self, saved: str) -> dict[str, Any]:
        """The members of a create that let it start from a saved state of the account, by its id; empty if the API has
        none. No I/O."""
        del saved
        return {}

    async def has_reference(self, adapter: Any, kind: ReferenceKind, value: str, scope: str, call: Call) -> bool | None:
        """Whether what a create in this scope refers to exists at the provider of ``adapter``; None if the API has no
        such read. Raises as any read does."""
        del adapter, kind, value, scope, call
        return None


@runtime_checkable
class SupportsStateExport(Protocol):
    """The semantics of an API in which a create can start from the state of another runtime of the account
    (:meth:`ProviderSemantics.start_from`)."""

    def saved_state(self, runtime: Runtime, *, ended: bool) -> str | None:
        """The id of the saved state of a runtime; None if it has none. ``ended``: as it is when the compute that runs
        now has ended. No I/O."""

    def start_from(self, saved: str) -> dict[str, Any]:
        """As :meth:`ProviderSemantics.start_from`."""


@runtime_checkable
class DeclaresSemantics(Protocol):
    """Declares its semantics, in the file ``semantics.py`` of its folder."""

    semantics: ClassVar[ProviderSemantics]
