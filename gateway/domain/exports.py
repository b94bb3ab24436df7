"""Exported runtimes: the lines of an export, and the body and the result of an import (docs/moves.md)."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gateway.domain.moves import Blocker, Mappings, Move
from gateway.domain.pages import Incomplete
from gateway.domain.requests import ProviderName
from gateway.domain.runtime import CapabilityBinding, Model
from gateway.domain.validation import Input, optional
from gateway.domain.values import State

_MAX: int = 1000  # runtimes of one import
_Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class ExportedRuntime(Model, frozen=True, kw_only=True):
    """A runtime. ``create`` is the body of the create that would make it again, with its name at the provider, and
    ``{"$secret": NAME}`` in place of every secret. ``bindings`` are its capabilities, None where it has none.
    ``unknown`` are pointers into ``create`` to what cannot be read."""

    object: Literal["exported_runtime"] = "exported_runtime"
    id: str
    kind: str
    api: str
    provider: str
    scope: str
    provider_id: str
    name: str | None
    owner: str | None
    state: State
    create: dict[str, Any]
    bindings: list[CapabilityBinding] | None = None
    unknown: list[str] = []


class NotExported(Model, frozen=True, kw_only=True):
    """A runtime that could not be read."""

    object: Literal["not_exported"] = "not_exported"
    id: str
    problem: Blocker


class ExportProgress(Model, frozen=True, kw_only=True):
    """All runtimes before this line are exported: ``cursor`` continues after it."""

    object: Literal["export_progress"] = "export_progress"
    cursor: str


class ExportEnd(Model, frozen=True, kw_only=True):
    """The last line of an export that is complete but for ``incomplete``, providers that could not be listed."""

    object: Literal["export_end"] = "export_end"
    runtimes: int
    incomplete: list[Incomplete] = []


class ImportedBinding(Input):
    """A capability to install. Members that only describe it are ignored."""

    name: _Text
    version: _Text
    enabled: bool = True
    flags: Annotated[dict[str, bool], Field(max_length=_MAX)] | None = None
    id: str = ""
    artifact_id: str = ""
    component_counts: dict[str, int] | None = None
    description: str | None = None
    latest_version: str | None = None
    source: str | None = None


class ImportedRuntime(Input):
    """A line of an export. ``api``, ``name`` and ``unknown`` are ignored."""

    object: Literal["exported_runtime"] = "exported_runtime"
    id: Annotated[str, Field(min_length=1, max_length=4200, pattern=r"^[^\x00]*$")]
    kind: _Text
    api: str = ""
    provider: ProviderName
    scope: _Text
    provider_id: _Text
    name: str | None = None
    owner: _Text | None = None
    state: _Text = optional(State.UNKNOWN.value)
    create: dict[str, Any]
    bindings: Annotated[list[ImportedBinding], Field(max_length=_MAX)] | None = None
    unknown: list[str] = []


class ImportRuntimes(Input):
    """Create runtimes of an export, which come from one provider, at another one. They keep their ids. ``secrets`` are
    the values of the references. ``dry_run``: only plan it."""

    provider: ProviderName
    scope: Annotated[str, Field(min_length=1, max_length=200)] = optional("")
    dry_run: bool = False
    runtimes: Annotated[list[ImportedRuntime], Field(min_length=1, max_length=_MAX)]
    secrets: Annotated[dict[str, str], Field(max_length=_MAX)] = {}
    mappings: Mappings = Mappings.model_construct()
    on_name_conflict: Literal["fail", "adopt"] = "fail"

    @model_validator(mode="after")
    def _of_one_provider(self) -> "ImportRuntimes":
        if len({runtime.id for runtime in self.runtimes}) < len(self.runtimes):
            raise ValueError("an id is in it twice")
        if len({runtime.provider for runtime in self.runtimes}) > 1:
            raise ValueError("import the runtimes of one provider at a time")
        return self

    def secret_values(self) -> list[str]:
        """The values that must not be logged or returned."""
        return list(self.secrets.values())


class RefusedImport(Model, frozen=True, kw_only=True):
    """A line that is not imported. ``pointer`` leads into the body."""

    id: str
    problem: Blocker


class Import(Model, frozen=True, kw_only=True):
    """What becomes of an import: the move of its runtimes, and the lines that are refused. Unless it is a dry run, the
    move is applied as soon as it is planned."""

    object: Literal["import"] = "import"
    move: Move
    refused: list[RefusedImport] = []
