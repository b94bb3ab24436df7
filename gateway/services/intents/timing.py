"""The times of the create promise beside those of the settings' ``creates`` section. All are seconds."""

from typing import Final

from gateway.settings import CreatesSettings

REPLAY_AGE: Final = 3600.0
"""Older creates are not sent again, whatever the provider remembers."""

GIVE_UP: Final = 86_400.0
"""After so long a person decides, and late evidence is not looked for any more."""

SURPLUS_KEPT: Final = 30 * 86_400.0
"""Intents with a surplus runtime, and what was sent at creation, are kept so long."""

LOOK_SECONDS: Final = 10.0
"""The time limit of one look for what became of a create."""

LONGEST_PAUSE: Final = 60.0
"""Between two looks for a create that is not proven."""


def backoff(look: int, wait_out: float) -> float:
    """How long to wait before the next look when there were ``look`` ones: from a moment to a minute, and never longer
    than the wait-out is."""
    first = min(2.0, wait_out / 4)
    return float(min(first * 2**look, LONGEST_PAUSE, max(wait_out, first)))


def settling_lease(settings: CreatesSettings) -> float:
    """The lease under which the reconciler settles a create: long enough to resolve the target and look the name up,
    and no longer, because the process may die and nobody else can settle the create meanwhile."""
    return settings.lease_margin + min(2 * LOOK_SECONDS, settings.wait_out)
