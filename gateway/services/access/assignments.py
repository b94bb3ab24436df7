"""Assigning runtimes to owners, for those that exist already and for changes of responsibility."""

from dataclasses import dataclass

from gateway.domain.requests import AssignOwner
from gateway.domain.runtime import Runtime
from gateway.ports.context import RequestContext
from gateway.ports.principals import OwnerStore
from gateway.services.data_plane.service import DataPlane
from gateway.services.fleet import Fleet
from gateway.services.lifecycle import LifecycleService


@dataclass(slots=True, eq=False, repr=False)
class OwnerService:
    """Assigns runtimes to owners. An assignment wins over the suffix of the runtime's name."""

    _fleet: Fleet
    _lifecycle: LifecycleService
    _store: OwnerStore
    _plane: DataPlane | None = None

    async def assign(self, runtime_id: str, request: AssignOwner, ctx: RequestContext) -> Runtime:
        """Assign a runtime to an owner, or with None remove its assignment, and return it as it is afterwards. One
        that has moved is assigned under all its ids, so that it keeps the owner when it moves back. This
        process knows the change at once, other replicas a few seconds later. All addresses of the data plane that it
        had are void. Raises as a read of the runtime does, and :class:`StoreUnavailable`."""
        resolved = self._lifecycle.resolve(runtime_id, ctx)
        runtime_id = (await self._lifecycle.read(resolved, ctx)).id
        ctx.changes = {"owner": request.owner}
        for known in self._fleet.moves.ids_of(runtime_id):
            if request.owner is None:
                await self._store.forget_owner(known)
            else:
                await self._store.assign_owner(known, request.owner, ctx.principal.name)
            self._fleet.owners.assign_one(known, request.owner)
        if self._plane is not None:  # also the connections of the owner before, and of its group
            await self._plane.make_void(runtime_id)
        self._fleet.wrote(resolved.provider.name, resolved.ref)
        return await self._lifecycle.read(resolved, ctx)
