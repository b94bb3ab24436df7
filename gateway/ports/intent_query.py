"""Which intents a store lists."""

from dataclasses import dataclass

from gateway.domain.access import UNRESTRICTED, Restrictions
from gateway.domain.intents import IntentState


@dataclass(frozen=True, slots=True)
class IntentQuery:
    """A query for intents, newest first. ``before``: (created_at, id) of the last intent of the previous page.
    ``principal`` None: any."""

    states: frozenset[IntentState] = frozenset(IntentState)
    principal: str | None = None
    only: Restrictions = UNRESTRICTED
    surplus_only: bool = False
    limit: int = 50
    before: tuple[float, str] | None = None
