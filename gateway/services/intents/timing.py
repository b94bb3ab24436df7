"""The times of the create promise beside those of the settings' ``creates`` section. All are seconds."""

from typing import Final

from gateway.settings import CreatesSettings

SURPLUS_KEPT: Final = 30 * 86_400.0
"""Intents with a surplus runtime, and what was sent at creation, are kept so long."""

LOOK_SECONDS: Final = 10.0
"""The time limit of one look for what became of a create."""


def settling_lease(settings: CreatesSettings) -> float:
    """The lease under which the reconciler settles a create: long enough to resolve the target and look the name up,
    and no longer, because the process may die and nobody else can settle the create meanwhile."""
    return settings.lease_margin + min(2 * LOOK_SECONDS, settings.wait_out)
