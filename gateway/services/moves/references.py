"""What the creates of a move refer to in the account of the source, and what takes its place at the target."""

import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gateway.domain.constraints import BUILTIN
from gateway.domain.errors import pointer
from gateway.domain.moves import Blocker, Mappings
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.semantics import ReferenceKind
from gateway.services.fleet import Fleet, Provider
from gateway.services.moves.recreating import semantics_of

_OF_ACCOUNT: Final = frozenset({"secret_ids", "profile_ids", "extension_ids", "build_sources"})
"""Ids that the account gave: the same text means something else, or nothing, in another account."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A value in a create that refers to something. ``replace`` puts another value in its place."""

    kind: ReferenceKind
    value: str
    replace: Callable[[str], None] = field(compare=False)


@dataclass(slots=True)
class Mapped:
    """What happened to the references of a create."""

    blocked: list[Blocker] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def block(self, code: str, detail: str, reference: Reference) -> None:
        """The reference prevents the move until its mapping is changed."""
        self.blocked.append(
            Blocker(code=code, detail=detail, pointer=pointer("mappings", reference.kind, reference.value))
        )

    def blocks(self, kind: ReferenceKind) -> bool:
        """Whether a reference of this kind prevents the move."""
        return any((each.pointer or "").startswith(pointer("mappings", kind)) for each in self.blocked)


class References:
    """Maps the references of one move. What the target was asked for is asked once."""

    def __init__(self, fleet: Fleet, source: Provider, target: Provider, mappings: Mappings) -> None:
        self._fleet = fleet
        self._source = source
        self._target = target
        self._mappings = mappings
        self._known: dict[tuple[str, str, str], bool | None] = {}
        self._same_account: bool | None = None

    async def same_account(self, ctx: RequestContext) -> bool:
        """Whether source and target are one account, so that ids of the account mean the same."""
        if self._same_account is None:
            ours, theirs = self._source.adapter.settings, self._target.adapter.settings
            self._same_account = ours.api == theirs.api and ours.address == theirs.address
            tokens = (each.token.get_secret_value().encode() for each in (ours, theirs))
            if self._same_account and not hmac.compare_digest(*tokens):
                accounts = [await self._account(each, ctx) for each in (self._source, self._target)]
                self._same_account = bool(accounts[0]) and accounts[0] == accounts[1]
        return self._same_account

    async def _account(self, provider: Provider, ctx: RequestContext) -> str:
        async with self._fleet.call_scope(provider, Operation.GET, ctx) as call:
            return await provider.adapter.account(call)

    async def map(self, create: dict[str, Any], scope: str, ctx: RequestContext) -> Mapped:
        """Replace the references in a create for the target in a scope, as far as they can be."""
        mapped = Mapped()
        for reference in list(references(create)):
            await self._map_one(reference, scope, mapped, ctx)
        return mapped

    async def capability(self, name: str, scope: str, mapped: Mapped, ctx: RequestContext) -> str:
        """The name at the target of a capability; empty if it is not to be installed there."""
        names = [name]
        await self._map_one(Reference("capabilities", name, partial(names.__setitem__, 0)), scope, mapped, ctx)
        return names[0]

    async def _map_one(self, reference: Reference, scope: str, mapped: Mapped, ctx: RequestContext) -> None:
        kind, value = reference.kind, reference.value
        to = getattr(self._mappings, kind).get(value)
        if to is None and kind in _OF_ACCOUNT and await self.same_account(ctx):
            return
        if to is not None:
            reference.replace(to)
        if to == "":
            return
        exists = await self._exists(kind, value if to is None else to, scope, ctx)
        where = f"{self._target.name} in {scope}"
        if exists is False and to is not None:
            mapped.block("not_found", f"{where} has no {to}, to which this is mapped.", reference)
        elif exists is False or (exists is None and to is None and kind in _OF_ACCOUNT):
            mapped.block("mapping_required", f"Map this to what it is at {where}, or to an empty text.", reference)
        elif exists is None:
            mapped.unknown.append(f"whether {where} has {kind}: {value if to is None else to}")

    async def _exists(self, kind: ReferenceKind, value: str, scope: str, ctx: RequestContext) -> bool | None:
        semantics, key = semantics_of(self._target.adapter), (kind, value, scope)
        if semantics is None:
            return None
        if key not in self._known:
            async with self._fleet.call_scope(self._target, Operation.GET, ctx) as call:
                self._known[key] = await semantics.has_reference(self._target.adapter, kind, value, scope, call)
        return self._known[key]


def references(create: dict[str, Any]) -> Iterator[Reference]:
    """The references in a create that the gateway knows. An empty mapping removes one."""
    if create.get("project"):
        yield Reference("projects", create["project"], _setter(create, "project"))
    config = create.get("config") or {}
    yield from _listed("secret_ids", config.get("secrets"), "secret_ids")
    for capability in [*(config.get("capabilities") or ())]:
        if isinstance(capability, dict) and capability.get("name"):
            yield Reference("capabilities", capability["name"], _renamer(config["capabilities"], capability))
    defaults = config.get("defaults") or {}
    if defaults.get("capability"):
        yield Reference("capabilities", defaults["capability"], _setter(defaults, "capability"))
    source = (config.get("build") or {}).get("source") or {}
    if source.get("kind", BUILTIN) != BUILTIN:
        yield Reference("build_sources", f"{source['kind']}/{source.get('ref', '')}", _source_setter(config["build"]))
    launch = create.get("launch") or {}
    if launch.get("profile_id"):
        yield Reference("profile_ids", launch["profile_id"], _setter(launch, "profile_id"))
    yield from _listed("extension_ids", launch, "extension_ids")
    yield from _listed("extension_ids", create.get("provider_options"), "extensions")


def _listed(kind: ReferenceKind, holder: Mapping[str, Any] | None, name: str) -> Iterator[Reference]:
    """The last first, so that removing one does not move those that follow."""
    values = (holder or {}).get(name) or []
    for index in reversed(range(len(values))):
        yield Reference(kind, values[index], partial(_swap, values, index))


def _swap(values: list[Any], index: int, to: str) -> None:
    values[index : index + 1] = [to] if to else []


def _setter(holder: dict[str, Any], name: str) -> Callable[[str], None]:
    def put(to: str) -> None:
        holder.pop(name)
        if to:
            holder[name] = to

    return put


def _renamer(capabilities: list[Any], capability: dict[str, Any]) -> Callable[[str], None]:
    def rename(to: str) -> None:
        if to:
            capability["name"] = to
        else:
            capabilities.remove(capability)

    return rename


def _source_setter(build: dict[str, Any]) -> Callable[[str], None]:
    """Mapped to the text ``kind/ref``."""

    def put(to: str) -> None:
        kind, _, ref = to.partition("/")
        build.pop("source")
        if to:
            build["source"] = {"kind": kind, **({"ref": ref} if ref else {})}

    return put
