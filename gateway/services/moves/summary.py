"""What a plan says about a move as a whole: its digest, and what does not go with the runtimes."""

import hashlib
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence

import msgspec

from gateway.domain.access import Principal
from gateway.domain.moves import CreateMove, ItemState
from gateway.ports.moves import StoredItem
from gateway.ports.sealing import Sealer
from gateway.services.moves.describing import MoveBetween
from gateway.services.moves.documents import shown
from gateway.services.moves.planned import item_view, unsealed
from gateway.services.moves.recreating import semantics_of


async def digest_of(request: CreateMove, items: AsyncIterable[StoredItem], sealer: Sealer) -> str:
    """The digest of a plan: over everything that it shows, and the creates without their secrets."""
    digest = hashlib.sha256(_canonical(shown(request.model_dump(mode="json"))))
    async for item in items:
        if item.state is not ItemState.SKIPPED:
            planned = unsealed(item, sealer)
            view = item_view(item, planned, request.target.provider)
            digest.update(_canonical([view, shown(planned.create), planned.bindings]))
    return f"sha256:{digest.hexdigest()}"


def side_effects(between: MoveBetween, scopes: Sequence[str], principals: Iterable[Principal]) -> Iterator[str]:
    """What stays in the account of the source, and who does not see the runtimes any longer."""
    source, target = between.source, between.target
    semantics = semantics_of(source.adapter)
    if semantics is not None and semantics.account:
        yield f"Not moved from the account of {source.name}: {'; '.join(semantics.account)}."
    for principal in principals:
        for scope in scopes:
            goes_to = between.target_scope(scope)
            if principal.sees(source.name, scope) and not principal.sees(target.name, goes_to):
                yield f"The principal {principal.name} may use {source.name}, but not {target.name} in {goes_to}."
                break


def _canonical(document: object) -> bytes:
    return msgspec.json.encode(document, order="sorted")
