"""The times of the create promise. All are seconds."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class CreateRules:
    """How long is waited for what; the settings' ``creates`` section.

    ``wait_out`` (W): as long may a request that was sent still be carried out by the provider. ``join_wait``: so long
    waits a caller for another one that is at the same create. ``send_within``: what was written down is stale for
    sending after so long. ``lease_margin`` is what a lease lasts beyond that and the provider's time limit.
    ``retention``: so long is a settled create remembered, and its key answered again. ``settle_every``: how often due
    intents are looked for. ``settling_in_flight``: how many are settled side by side.
    """

    wait_out: float = 300.0
    join_wait: float = 10.0
    send_within: float = 5.0
    lease_margin: float = 30.0
    retention: float = 86_400.0
    settle_every: float = 1.0
    settling_in_flight: int = 4

    @property
    def settling_lease(self) -> float:
        """For how long the reconciler takes a create that is due, which nobody else can go on with meanwhile: long
        enough to find out where it is and to look, and no longer, because it may die."""
        return self.lease_margin + min(2 * LOOK_SECONDS, self.wait_out)


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


def pause_before(look: int, wait_out: float) -> float:
    """How long to wait before the next look when there were ``look`` ones: from a moment to a minute, and never longer
    than the wait-out is."""
    first = min(2.0, wait_out / 4)
    return float(min(first * 2**look, LONGEST_PAUSE, max(wait_out, first)))
